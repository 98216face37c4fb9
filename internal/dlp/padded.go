package dlp

import (
	"bytes"
	"encoding/binary"
)

// mayHoldWideText reports whether somewhere in packed symbols, however late they are read,
// there may be text in UTF-16 or UTF-32: eight zero bits, three times, sixteen bits from
// each other.
func mayHoldWideText(packed []byte) bool {
	for ; len(packed) >= 8; packed = packed[8:] {
		zeros := ^binary.BigEndian.Uint64(packed)
		zeros &= zeros >> 1
		zeros &= zeros >> 2
		zeros &= zeros >> 4
		if zeros&(zeros>>16)&(zeros>>32) != 0 {
			return true
		}
	}
	return false
}

// maxPadding is how many zeros stand between two characters of UTF-32.
const maxPadding = 3

// paddedRuns yields text in which zeros stand between all characters, as in UTF-16 and
// UTF-32. Who looks at it leaves them out.
func paddedRuns(data []byte, least int, yield func(start, end int)) {
	for at := 0; ; {
		next := bytes.IndexByte(data[at:], 0)
		if next < 0 {
			return
		}
		start := at + next
		if start > at && isText(data[start-1]) {
			start--
		}
		end, letters := padded(data, start)
		if letters >= least {
			yield(start, end)
		}
		at = end
	}
}

// padded is where text that begins at start, with zeros in it, ends, and how many
// characters it has.
func padded(data []byte, start int) (end, letters int) {
	zeros, after := 0, true // after a zero, or at the beginning
	for end = start; end < len(data); end++ {
		switch {
		case data[end] == 0 && zeros < maxPadding:
			zeros, after = zeros+1, true
		case isText(data[end]) && after:
			zeros, after, letters = 0, false, letters+1
		default:
			return max(end, start+1), letters
		}
	}
	return end, letters
}
