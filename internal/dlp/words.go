package dlp

import (
	"encoding/binary"
	"math/bits"
)

// run is a part of a text.
type run struct{ start, end int }

// longRuns appends the runs of characters that show, without a blank among them, that have
// least bytes or more, which are at least eight: whatever is encoded without blanks is in
// one. Eight bytes are judged at a time.
func longRuns(runs []run, text []byte, least int) []run {
	start, i := 0, 0
	add := func(end int) {
		if end-start >= least {
			runs = append(runs, run{start, end})
		}
	}
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		others := (w | (w&^highBits + lowBits) | ^(w | highBits - 0x21*lowBits)) & highBits
		if others == 0 {
			continue
		}
		add(i + bits.TrailingZeros64(others)/8)
		start = i + 8 - bits.LeadingZeros64(others)/8
	}
	for ; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c >= 0x7F {
			add(i)
			start = i + 1
		}
	}
	add(len(text))
	return runs
}
