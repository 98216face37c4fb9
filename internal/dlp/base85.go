package dlp

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// base85Runs decodes base85 in three alphabets, in the long runs. Each place is asked whether the five
// symbols there and the five behind them stand for text; the whole run is then decoded
// at that alignment. Runs that could be nothing but base64 are passed over.
func (c *scan) base85Runs(v *view, depth int, long []run) {
	if !c.work(len(v.data) / 4) {
		return
	}
	for _, one := range long {
		c.base85Run(v, depth, one.start, one.end)
	}
}

// plainStretch is how long a stretch without any mark may be in base85. What is random
// has a mark in every forty symbols, but what says the same over and over may have none.
const plainStretch = 4 << 10

// base85Run cuts long stretches without marks out of a run and decodes the rest.
func (c *scan) base85Run(v *view, depth, start, end int) {
	if end-start <= 2*plainStretch {
		c.base85Part(v, depth, start, end)
		return
	}
	from, last := start, start
	for i := start; i < end; i++ {
		if !c.marks[v.data[i]] {
			continue
		}
		if i-last > 2*plainStretch {
			c.base85Part(v, depth, from, min(last+plainStretch, end))
			from = i - plainStretch
		}
		last = i
	}
	if end-last > 2*plainStretch {
		end = last + plainStretch
	}
	c.base85Part(v, depth, from, end)
}

func (c *scan) base85Part(v *view, depth, start, end int) {
	if end-start < c.least*5/4 || !c.work(end-start) {
		return
	}
	for i, phases := range c.text85(v.data[start:end], c.least) {
		for phase := range 5 {
			if phases&(1<<phase) != 0 {
				c.base85From(v, depth, &c.base85[i], start+phase, end)
			}
		}
	}
}

// text85 is, for each alphabet, the set of alignments at which as many groups on end
// stand for text as the least text has whole. One of so many is looked at in any case,
// those beside it if that is text.
func (t *tables) text85(run []byte, least int) (phases [3]uint8) {
	groups := 2
	if least >= 16 {
		groups = 3
	}
	for phase := range 5 {
		for i := phase + 5*(groups-1); i+5 <= len(run); i += 5 * groups {
			for maybe := t.begin85[pair85(run[i], run[i+1])]; maybe != 0; maybe &= maybe - 1 {
				if a := bits.TrailingZeros8(maybe); textGroups(&t.base85[a], run, i, groups) {
					phases[a] |= 1 << phase
				}
			}
		}
	}
	return phases
}

// textGroups reports whether the group at i and those beside it are so many of text.
func textGroups(values *[256]byte, run []byte, i, need int) bool {
	if !textGroup(values, run[i:]) {
		return false
	}
	n := 1
	for j := i + 5; n < need && j+5 <= len(run) && textGroup(values, run[j:]); j += 5 {
		n++
	}
	for j := i - 5; n < need && j >= 0 && textGroup(values, run[j:]); j -= 5 {
		n++
	}
	return n >= need
}

// textGroup reports whether the first five symbols stand for four bytes of text.
func textGroup(values *[256]byte, run []byte) bool {
	group := uint64(0)
	for _, ch := range run[:5] {
		value := values[ch]
		if value == noSymbol {
			return false
		}
		group = group*85 + uint64(value)
	}
	return group <= math.MaxUint32 && text32(uint32(group))
}

// pair85 numbers two characters of a word, which are ASCII.
func pair85(first, second byte) int { return int(first&0x7F)<<7 | int(second&0x7F) }

// newBegin85 has, for each two characters, the base85 alphabets in which a group of text may
// begin with them: of the bytes that such groups stand for, the first two can be text.
func newBegin85(values [3][256]byte) (begin [1 << 14]uint8) {
	const third = 85 * 85 * 85
	for a := range values {
		for pair := range begin {
			first, second := values[a][pair>>7], values[a][pair&0x7F]
			if first == noSymbol || second == noSymbol {
				continue
			}
			lowest := (uint64(first)*85 + uint64(second)) * third
			for two := lowest >> 16; two <= (lowest+third-1)>>16 && two <= math.MaxUint16; two++ {
				if isText(byte(two>>8)) && isText(byte(two)) {
					begin[pair] |= 1 << a
				}
			}
		}
	}
	return begin
}

// text32 reports whether four bytes are all printable or blanks.
func text32(w uint32) bool {
	const high, low = 0x80808080, 0x01010101
	printable := ((w | high) - 0x20*low) &^ w & high
	blank := (w & (0xF8 * low)) ^ 0x08*low
	spaces := ^((blank | high) - low) &^ blank & high
	return printable|spaces == high
}

// base85From decodes groups from start; those that are none become zeros, but for what a
// shorter one before the first other symbol stands for.
func (c *scan) base85From(v *view, depth int, values *[256]byte, start, end int) {
	out := c.borrow()
	for i := start; i < end; i += 5 {
		n := 0
		for n < min(5, end-i) && values[v.data[i+n]] != noSymbol {
			n++
		}
		var group uint64
		for j := range 5 {
			value := byte(84)
			if j < n {
				value = values[v.data[i+j]]
			}
			group = group*85 + uint64(value)
		}
		whole := max(n-1, 0)
		if group > math.MaxUint32 {
			whole = 0
		}
		out = binary.BigEndian.AppendUint32(out, uint32(group)&^(math.MaxUint32>>(8*whole)))
		out = out[:len(out)-max(0, i+5-end)]
	}
	c.bytes(v.child("base85", out, func(s, e int) (int, int) {
		return start + s/4*5, min(start+(e+3)/4*5, end)
	}), depth-1)
	c.giveBack(out)
}

func symbols85() string {
	var symbols []byte
	for c := byte('!'); c <= 'u'; c++ {
		symbols = append(symbols, c)
	}
	return string(symbols)
}
