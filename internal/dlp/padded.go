package dlp

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// mayHoldWideText reports whether somewhere in packed symbols, however late they are read,
// there may be text in UTF-16 or UTF-32: eight zero bits, minPadded times, sixteen bits from
// each other. Three of them are in one of the words that are looked at.
func mayHoldWideText(packed []byte) bool {
	for at := 0; at+8 <= len(packed); at += 8 {
		zeros := ^binary.BigEndian.Uint64(packed[at:])
		zeros &= zeros >> 1
		zeros &= zeros >> 2
		zeros &= zeros >> 4
		for found := zeros & (zeros >> 16) & (zeros >> 32); found != 0; found &= found - 1 {
			if zerosApart(packed, at*8+24-bits.TrailingZeros64(found)) >= minPadded {
				return true
			}
		}
	}
	return false
}

// minPadded is less than any secret has letters.
const minPadded = 6

// zerosApart counts the zero octets that stand sixteen bits from each other, of which the one
// at a bit is the first of three.
func zerosApart(packed []byte, bit int) int {
	n := 0
	for b := bit; n < minPadded && zeroOctet(packed, b); b += 16 {
		n++
	}
	for b := bit - 16; n < minPadded && zeroOctet(packed, b); b -= 16 {
		n++
	}
	return n
}

func zeroOctet(packed []byte, bit int) bool {
	i, late := bit>>3, uint(bit&7)
	if bit < 0 || i >= len(packed) || late > 0 && i+1 == len(packed) {
		return false
	}
	return packed[i]<<late == 0 && (late == 0 || packed[i+1]>>(8-late) == 0)
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
