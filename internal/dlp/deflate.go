package dlp

import "errors"

// errCorrupt says that compressed data is none.
var errCorrupt = errors.New("it is not compressed")

// inflater decodes deflate (RFC 1951) that comes in pieces, and gives all that a piece
// decodes to at once. The library's decoders keep up to 32 KiB of that until more comes:
// a secret would be seen after it has left.
type inflater struct {
	in    []byte
	at    int    // in that: the next byte
	bits  uint64 // that were taken from before it, and not used yet
	count uint
	out   []byte // the last of what was decoded, to be copied from
	given int    // bytes of out that were handed on

	block   block
	last    bool
	stored  int // bytes left of a block
	literal huffman
	far     huffman
}

// block is what is to be read next.
type block int

const (
	blockHead block = iota
	blockStored
	blockCoded
	blockEnd
)

const (
	farthest = 32 << 10 // that a copy may reach back
	handful  = 64 << 10 // is handed on at a time
)

// errMore says that the data must go on.
var errMore = errors.New("more is needed")

// write decodes as much as there is. ended says that the data was over; rest is what
// stands behind it.
func (z *inflater) write(p []byte, yield func([]byte) error) (rest []byte, ended bool, err error) {
	z.in, z.at = append(z.in[:copy(z.in, z.in[z.at:])], p...), 0
	for err == nil && z.block != blockEnd {
		err = z.step()
		if err != nil || z.block == blockEnd || len(z.out)-z.given >= handful {
			if bad := z.handOn(yield); bad != nil {
				return nil, false, bad
			}
		}
	}
	if z.block == blockEnd {
		return z.in[z.at:], true, nil
	}
	if err == errMore {
		err = nil
	}
	return nil, false, err
}

func (z *inflater) handOn(yield func([]byte) error) error {
	fresh := z.out[z.given:]
	if len(fresh) > 0 {
		if err := yield(fresh); err != nil {
			return err
		}
	}
	if over := len(z.out) - farthest; over > 0 {
		z.out = z.out[:copy(z.out, z.out[over:])]
	}
	z.given = len(z.out)
	return nil
}

// step decodes a block's head, or some of what is in it. With an error nothing was taken
// that cannot be taken again.
func (z *inflater) step() error {
	switch z.block {
	case blockHead:
		return z.whole(z.head)
	case blockStored:
		return z.copyStored()
	}
	for range 128 {
		if err := z.whole(z.symbol); err != nil || z.block != blockCoded {
			return err
		}
	}
	return nil
}

// whole does what read does, or nothing.
func (z *inflater) whole(read func() error) error {
	at, bits, count := z.at, z.bits, z.count
	err := read()
	if err != nil {
		z.at, z.bits, z.count = at, bits, count
	}
	return err
}

// need fills in bits.
func (z *inflater) need(n uint) bool {
	for z.count < n {
		if z.at == len(z.in) {
			return false
		}
		z.bits |= uint64(z.in[z.at]) << z.count
		z.count += 8
		z.at++
	}
	return true
}

func (z *inflater) take(n uint) (int, error) {
	if !z.need(n) {
		return 0, errMore
	}
	value := int(z.bits & (1<<n - 1))
	z.drop(n)
	return value, nil
}

func (z *inflater) drop(n uint) { z.bits, z.count = z.bits>>n, z.count-n }

// align goes on at the next whole byte.
func (z *inflater) align() {
	z.at -= int(z.count / 8)
	z.bits, z.count = 0, 0
}

func (z *inflater) head() error {
	kind, err := z.take(3)
	if err != nil {
		return err
	}
	next := blockCoded
	switch kind >> 1 {
	case 0:
		next, err = blockStored, z.storedHead()
	case 1:
		z.literal, z.far = fixedCodes()
	case 2:
		err = z.codes()
	default:
		err = errCorrupt
	}
	if err == nil {
		z.last, z.block = kind&1 == 1, next
	}
	return err
}

func (z *inflater) storedHead() error {
	z.align()
	size, err := z.take(16)
	if err != nil {
		return err
	}
	inverse, err := z.take(16)
	if err == nil && size != inverse^0xFFFF {
		err = errCorrupt
	}
	z.stored = size
	return err
}

func (z *inflater) copyStored() error {
	n := min(z.stored, len(z.in)-z.at, handful)
	z.out = append(z.out, z.in[z.at:z.at+n]...)
	z.at, z.stored = z.at+n, z.stored-n
	if z.stored == 0 {
		z.endBlock()
	} else if n == 0 {
		return errMore
	}
	return nil
}

func (z *inflater) endBlock() {
	z.block = blockHead
	if z.last {
		z.block = blockEnd
		z.align()
	}
}

// symbol decodes a literal, a copy or a block's end.
func (z *inflater) symbol() error {
	s, err := z.decode(&z.literal)
	switch {
	case err != nil:
		return err
	case s < 256:
		z.out = append(z.out, byte(s))
		return nil
	case s == 256:
		z.endBlock()
		return nil
	case s > 285:
		return errCorrupt
	}
	length, err := z.extra(lengths()[s-257])
	if err != nil {
		return err
	}
	s, err = z.decode(&z.far)
	if err != nil || s > 29 {
		return orCorrupt(err)
	}
	distance, err := z.extra(distances()[s])
	if err != nil || distance > len(z.out) {
		return orCorrupt(err)
	}
	for from := len(z.out) - distance; length > 0; length-- {
		z.out = append(z.out, z.out[from])
		from++
	}
	return nil
}

func orCorrupt(err error) error {
	if err == nil {
		return errCorrupt
	}
	return err
}

// span is a base and the bits that are added to it.
type span struct {
	base int
	bits uint
}

func (z *inflater) extra(s span) (int, error) {
	more, err := z.take(s.bits)
	return s.base + more, err
}

func lengths() *[29]span {
	return &[29]span{
		{3, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}, {8, 0}, {9, 0}, {10, 0}, {11, 1}, {13, 1}, {15, 1}, {17, 1}, {19, 2}, {23, 2}, {27, 2},
		{31, 2}, {35, 3}, {43, 3}, {51, 3}, {59, 3}, {67, 4}, {83, 4}, {99, 4}, {115, 4}, {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0},
	}
}

func distances() *[30]span {
	return &[30]span{
		{1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 1}, {7, 1}, {9, 2}, {13, 2}, {17, 3}, {25, 3}, {33, 4}, {49, 4}, {65, 5}, {97, 5}, {129, 6},
		{193, 6}, {257, 7}, {385, 7}, {513, 8}, {769, 8}, {1025, 9}, {1537, 9}, {2049, 10}, {3073, 10}, {4097, 11}, {6145, 11},
		{8193, 12}, {12289, 12}, {16385, 13}, {24577, 13},
	}
}
