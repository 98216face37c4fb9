package dlp

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// late is packed symbols, read some bits late. Most of what symbols decode to is noise in
// all the ways that it can be read: whether there is anything to look at is asked before
// the bytes are shifted to where they would be.
type late struct {
	packed []byte
	shift  int
}

// at is the i-th byte.
func (l late) at(i int) byte {
	if l.shift == 0 {
		return l.packed[i]
	}
	return l.packed[i]<<l.shift | l.packed[i+1]>>(8-l.shift)
}

func (l late) len() int {
	if l.shift == 0 {
		return len(l.packed)
	}
	return max(len(l.packed)-1, 0)
}

// word is the eight bytes from the i-th, the first one highest.
func (l late) word(i int) uint64 {
	w := binary.BigEndian.Uint64(l.packed[i:])
	if l.shift == 0 {
		return w
	}
	return w<<l.shift | uint64(l.packed[i+8])>>(8-l.shift)
}

// part is the bytes from start to end.
func (l late) part(dst []byte, start, end int) []byte {
	if l.shift > 0 {
		end++
	}
	return shifted(dst, l.packed[start:min(end, len(l.packed))], l.shift)
}

// eachText yields a place in each run of text that textRuns would find at one of the
// shifts asked for, which is no more asked for when yield says so; it goes on behind the
// place that yield names. The first bit of eight bytes on end, all zero in text, is asked
// for all shifts at once; where runs may be short, that of four.
func eachText(packed []byte, asked byte, least int, yield func(l late, i int) (behind int, more bool)) {
	need := 8
	if least >= 16 {
		need = 16
	}
	var done [8]int
	for i := 0; i < len(packed) && asked != 0; i += 8 {
		w := wordOrLess(packed[i:])
		w |= w >> 8
		w |= w >> 16
		first, second := byte(w>>32), byte(w)
		maybe := asked &^ (first | second)
		if need == 8 {
			maybe = asked &^ (first & second)
		}
		for ; maybe != 0; maybe &= maybe - 1 {
			l := late{packed, 7 - bits.TrailingZeros8(maybe)}
			for j := i + 3; j <= i+4; j++ {
				if j < done[l.shift] || !l.textAround(j, need) {
					continue
				}
				behind, more := yield(l, j)
				if done[l.shift] = behind; !more {
					asked &^= maybe & -maybe
					break
				}
			}
		}
	}
}

// wordOrLess is eight bytes, those that are not there as if they were no text.
func wordOrLess(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	rest := [8]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	copy(rest[:], b)
	return binary.BigEndian.Uint64(rest[:])
}

// textAround reports whether the i-th byte belongs to so much ASCII text.
func (l late) textAround(i, need int) bool {
	start, end := i, i
	for ; end < l.len() && isText(l.at(end)); end++ {
		if end+1-start >= need {
			return true
		}
	}
	if end == i {
		return false
	}
	for ; start > 0 && isText(l.at(start-1)); start-- {
		if end-start+1 >= need {
			return true
		}
	}
	return false
}

// hasWide reports whether wideRuns would find a run. Few of the places that it looks at
// have leading bytes and continuation bytes in the right order.
func (l late) hasWide() bool {
	const high, five = 0x8080808080808080, 0x0080808080800000
	const reach = 2 * minWide
	var room [2*reach + 1]byte
	for i := 0; i+8 <= l.len(); i += wideStep {
		w := l.word(i)
		more, begin := w&high&^(w<<1), w&high&(w<<1)
		if more|begin == 0 || ((begin>>8)&^more|more&^((begin|more)>>8))&five != 0 {
			continue
		}
		p := wideAt(l.part(room[:0], i, min(l.len(), i+16)), 0)
		if p < 0 {
			continue
		}
		from := max(0, i-reach)
		start, end := around(l.part(room[:0], from, min(l.len(), i+reach)), i-from+p)
		if end-start >= minWide {
			return true
		}
		i = max(i, from+end-wideStep)
	}
	return false
}

// wideAt is where, at i or soon behind it, text may begin that is not all ASCII; -1 if
// there is none.
func wideAt(data []byte, i int) int {
	p := i
	for p < i+3 && !utf8.RuneStart(data[p]) {
		p++
	}
	if _, size := utf8.DecodeRune(data[p:]); size < 2 && !isText(data[p]) || textLen(data[p:]) < 6 {
		return -1
	}
	return p
}

// magics tells, of twelve bits at the end of any pair of bytes, in the first of which
// compressed data, read some bits late, may begin: where these are even, and any.
type magics struct{ even, any [1 << magicBits]bool }

const magicBits = 12

// headers are what compressed data begins with: gzip, zstd, zip and zlib.
func headers() [7]uint16 { return [7]uint16{0x1F8B, 0x28B5, 0x504B, 0x7801, 0x785E, 0x789C, 0x78DA} }

func newMagics() *magics {
	m := &magics{}
	for pair := range 1 << 16 {
		for _, header := range headers() {
			for shift := range 8 {
				if uint16(pair)&(0xFFFF>>shift) != header>>shift {
					continue
				}
				end := pair & (1<<magicBits - 1)
				m.any[end] = true
				m.even[end] = m.even[end] || shift%2 == 0
			}
		}
	}
	return m
}

// each yields the places in packed where compressed data may begin, read late as the
// alphabet wants it.
func (m *magics) each(packed []byte, a *alphabet, yield func(l late, i int)) {
	set := &m.even
	if a.width%2 == 1 {
		set = &m.any
	}
	look := func(i int) {
		if i+1 >= len(packed) {
			return
		}
		three := uint32(packed[i])<<16 | uint32(packed[i+1])<<8
		if i+2 < len(packed) {
			three |= uint32(packed[i+2])
		}
		for _, shift := range a.shifts {
			if l := (late{packed, shift}); magic(uint16(three>>(8-shift)), i == 0) && i+1 < l.len() {
				yield(l, i)
			}
		}
	}
	look(0)
	const end = 1<<magicBits - 1
	i := 1
	for ; i+8 <= len(packed); i += 6 {
		w := binary.BigEndian.Uint64(packed[i:])
		if !set[w>>48&end] && !set[w>>40&end] && !set[w>>32&end] && !set[w>>24&end] && !set[w>>16&end] && !set[w>>8&end] {
			continue
		}
		for j := range 6 {
			if set[w>>(48-8*j)&end] {
				look(i + j)
			}
		}
	}
	for ; i+1 < len(packed); i++ {
		if set[binary.BigEndian.Uint16(packed[i:])&end] {
			look(i)
		}
	}
}

// magic reports whether two bytes can begin one of the formats, or are the first and look
// like zlib's.
func magic(pair uint16, first bool) bool {
	switch pair {
	case 0x1F8B, 0x28B5, 0x504B, 0x7801, 0x785E, 0x789C, 0x78DA:
		return true
	}
	return first && pair>>8&0x8F == 8 && pair%31 == 0
}
