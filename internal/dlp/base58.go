package dlp

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// maxBase58 bounds what is decoded as one number, since the cost grows with the square.
const maxBase58 = 4096

// base58Runs decodes each run of the alphabet as one number.
func (c *scan) base58Runs(v *view, depth int) {
	if !c.work(len(v.data) / 4) {
		return
	}
	least := c.least * 4 / 3
	for from, last := 0, least-1; last < len(v.data); last = from + least - 1 {
		start := last
		for start >= from && c.base58[v.data[start]] != noSymbol {
			start--
		}
		if start >= from {
			from = start + 1
			continue
		}
		start, end := from, last+1
		for end < len(v.data) && c.base58[v.data[end]] != noSymbol {
			end++
		}
		from = end + 1
		if end-start > maxBase58 || !c.work((end-start)*(end-start)/32) {
			continue
		}
		number := c.number58(c.borrow(), v.data[start:end])
		if c.promising(number) {
			c.bytes(v.child("base58", number, func(int, int) (int, int) { return start, end }), depth-1)
		}
		c.giveBack(number)
	}
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
