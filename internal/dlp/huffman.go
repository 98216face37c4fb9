package dlp

// maxCode is how long a code may be.
const maxCode = 15

// fastBits is how many bits are looked up at a time; few codes are longer.
const fastBits = 9

// huffman is a set of codes (RFC 1951 §3.2.2).
type huffman struct {
	fast    [1 << fastBits]uint16 // by the next bits: the symbol, and in the low four bits its length; 0 for a longer one
	counts  [maxCode + 1]int      // codes of each length
	symbols [288]uint16           // in the order of their codes
}

// set makes codes of lengths. More codes than there can be are an error. Fewer are not:
// whoever decodes less than others do would miss something.
func (h *huffman) set(lengths []byte) error {
	*h = huffman{}
	for _, n := range lengths {
		h.counts[n]++
	}
	h.counts[0] = 0
	var first, index [maxCode + 2]int
	left := 1
	for n := 1; n <= maxCode; n++ {
		if left = left<<1 - h.counts[n]; left < 0 {
			return errCorrupt
		}
		first[n+1] = (first[n] + h.counts[n]) << 1
		index[n+1] = index[n] + h.counts[n]
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[index[n]] = uint16(symbol)
		h.quick(first[n], uint(n), symbol)
		index[n]++
		first[n]++
	}
	return nil
}

// quick enters a code under all bits that may follow it. Codes come highest bit first.
func (h *huffman) quick(code int, n uint, symbol int) {
	if n > fastBits {
		return
	}
	turned := 0
	for i := range n {
		turned |= code >> i & 1 << (n - 1 - i)
	}
	for ; turned < 1<<fastBits; turned += 1 << n {
		h.fast[turned] = uint16(symbol)<<4 | uint16(n)
	}
}

// decode reads one symbol.
func (z *inflater) decode(h *huffman) (int, error) {
	z.need(fastBits) // or as many as there are
	if entry := h.fast[z.bits&(1<<fastBits-1)]; entry != 0 && uint(entry&15) <= z.count {
		z.drop(uint(entry & 15))
		return int(entry >> 4), nil
	}
	code, first, index := 0, 0, 0
	for n := 1; n <= maxCode; n++ {
		if !z.need(uint(n)) {
			return 0, errMore
		}
		code |= int(z.bits>>(n-1)) & 1
		if code < first+h.counts[n] {
			z.drop(uint(n))
			return int(h.symbols[index+code-first]), nil
		}
		index += h.counts[n]
		first = (first + h.counts[n]) << 1
		code <<= 1
	}
	return 0, errCorrupt
}

func fixedCodes() (literal, far huffman) {
	var lengths [288]byte
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	_ = literal.set(lengths[:])
	for i := range 30 {
		lengths[i] = 5
	}
	_ = far.set(lengths[:30])
	return literal, far
}

// codes reads a block's own (RFC 1951 §3.2.7).
func (z *inflater) codes() error {
	counts, err := z.take(14)
	if err != nil {
		return err
	}
	literals, all := counts&31+257, counts&31+257+counts>>5&31+1
	var lengths [288 + 32]byte
	for i := range counts>>10 + 4 {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		lengths[[19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = byte(n)
	}
	var code huffman
	if err := code.set(lengths[:19]); err != nil {
		return err
	}
	clear(lengths[:19])
	for i := 0; i < all; {
		value, times, err := z.lengths(&code, lengths[:i])
		if err != nil || i+times > all {
			return orCorrupt(err)
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	if err := z.literal.set(lengths[:min(literals, 288)]); err != nil {
		return err
	}
	return z.far.set(lengths[literals:all])
}

// lengths reads one length, or how often one is repeated.
func (z *inflater) lengths(code *huffman, before []byte) (value byte, times int, err error) {
	s, err := z.decode(code)
	repeat := span{1, 0}
	switch {
	case err != nil:
		return 0, 0, err
	case s < 16:
		value = byte(s)
	case s == 16 && len(before) == 0:
		return 0, 0, errCorrupt
	case s == 16:
		value, repeat = before[len(before)-1], span{3, 2}
	case s == 17:
		repeat = span{3, 3}
	default:
		repeat = span{11, 7}
	}
	times, err = z.extra(repeat)
	return value, times, err
}
