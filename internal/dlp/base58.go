package dlp

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// maxBase58 bounds what is decoded as one number, since the cost grows with the square.
const maxBase58 = 4096

// base58Runs decodes each run of the alphabet, which are in the long runs, as one number.
func (c *scan) base58Runs(v *view, depth int, long []run) {
	if !c.work(len(v.data) / 4) {
		return
	}
	for _, one := range long {
		c.base58In(v.data, c.least*4/3, one, func(start, end int) { c.base58Run(v, depth, start, end) })
	}
}

// base58In yields the runs of the alphabet in a part of a text that have least symbols.
func (t *tables) base58In(text []byte, least int, in run, yield func(start, end int)) {
	for from, last := in.start, in.start+least-1; last < in.end; last = from + least - 1 {
		start := last
		for start >= from && t.base58[text[start]] != noSymbol {
			start--
		}
		if start >= from {
			from = start + 1
			continue
		}
		end := last + 1
		for end < in.end && t.base58[text[end]] != noSymbol {
			end++
		}
		yield(from, end)
		from = end + 1
	}
}

func (c *scan) base58Run(v *view, depth, start, end int) {
	if end-start > maxBase58 || !c.work((end-start)*(end-start)/32) {
		return
	}
	number := c.number58(c.borrow(), v.data[start:end])
	if c.promising(number) {
		c.bytes(v.child("base58", number, func(int, int) (int, int) { return start, end }), depth-1)
	}
	c.giveBack(number)
}

// number58 appends a number's bytes, the largest first.
func (c *scan) number58(dst, run []byte) []byte {
	const chunk = 10 // 58^10 fits a word
	var room [24]uint64
	limbs := room[:0]
	for i := 0; i < len(run); {
		scale, carry := uint64(1), uint64(0)
		for end := min(len(run), i+chunk); i < end; i++ {
			scale, carry = scale*58, carry*58+uint64(c.base58[run[i]])
		}
		for j := range limbs {
			hi, lo := bits.Mul64(limbs[j], scale)
			sum, over := bits.Add64(lo, carry, 0)
			limbs[j], carry = sum, hi+over
		}
		if carry > 0 {
			limbs = append(limbs, carry)
		}
	}
	for _, limb := range slices.Backward(limbs) {
		dst = binary.BigEndian.AppendUint64(dst, limb)
	}
	return dst
}
