package dlp

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// alphabet is an encoding in which every symbol stands for the same number of bits.
type alphabet struct {
	name   string
	width  int
	shifts []int // where in a byte a symbol may begin
	mask   byte  // of the shifts, the highest bit for none
	prefix bool  // 0x, which is no symbol
	values [256]byte
}

// What a character is that is no symbol; the x in a prefix is another one.
const (
	noSymbol   = 0xFF
	prefixMark = 0xFE
)

func newAlphabet(name string, width int, shifts []int, spellings ...string) *alphabet {
	a := &alphabet{name: name, width: width, shifts: shifts}
	for _, shift := range shifts {
		a.mask |= 0x80 >> shift
	}
	for i := range a.values {
		a.values[i] = noSymbol
	}
	for _, spelling := range spellings {
		for value, c := range []byte(spelling) {
			a.values[c] = byte(value)
		}
	}
	return a
}

const (
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// squeeze appends the values of every symbol in src, whatever stands between them.
func (a *alphabet) squeeze(dst, src []byte) []byte {
	dst = slices.Grow(dst, len(src)+8)
	room := dst[len(dst):cap(dst)]
	n := 0
	if a.prefix {
		return dst[:len(dst)+a.squeezePrefixed(room, src)]
	}
	const mixed = 64 // bytes to go on with one by one, where not all are symbols
	for len(src) >= 8 {
		all := a.squeezeAll(room[n:], src)
		n, src = n+all, src[all:]
		some := min(mixed, len(src))
		n, src = n+a.squeezeSome(room[n:], src[:some]), src[some:]
	}
	n += a.squeezeSome(room[n:], src)
	return dst[:len(dst)+n]
}

// squeezeAll writes the values of the beginning of src, as far as all of it is symbols, and
// says how far, in steps of eight.
func (a *alphabet) squeezeAll(room, src []byte) int {
	i, values := 0, &a.values
	for ; i+8 <= len(src); i += 8 {
		s := src[i : i+8 : i+8]
		w := uint64(values[s[0]]) | uint64(values[s[1]])<<8 | uint64(values[s[2]])<<16 | uint64(values[s[3]])<<24 |
			uint64(values[s[4]])<<32 | uint64(values[s[5]])<<40 | uint64(values[s[6]])<<48 | uint64(values[s[7]])<<56
		if w&highBits != 0 {
			break
		}
		binary.LittleEndian.PutUint64(room[i:], w)
	}
	return i
}

// squeezeSome writes the values of the symbols in src, and says how many they are. room has
// a byte for each of src.
func (a *alphabet) squeezeSome(room, src []byte) (n int) {
	i, values := 0, &a.values
	for ; i+4 <= len(src); i += 4 { // with one index to wait for
		s := src[i : i+4 : i+4]
		v, w, x, y := values[s[0]], values[s[1]], values[s[2]], values[s[3]]
		r := room[n : n+4 : n+4] // n is never ahead of the place in src
		r[0] = v                 // overwritten if it is none
		k := int(v>>7) ^ 1
		r[k] = w
		k += int(w>>7) ^ 1
		r[k&3] = x
		k += int(x>>7) ^ 1
		r[k&3] = y
		n += k + (int(y>>7) ^ 1)
	}
	for _, c := range src[i:] {
		v := values[c]
		room[n] = v
		n += int(v>>7) ^ 1
	}
	return n
}

// squeezePrefixed does so where a zero with an x behind it is no symbol.
func (a *alphabet) squeezePrefixed(room, src []byte) int {
	n, before := 0, byte(noSymbol)
	for _, c := range src {
		v := a.values[c]
		room[n] = v
		n += int(v>>7) ^ 1
		if v == prefixMark && before == 0 {
			n--
		}
		before = v
	}
	return n
}

// pack appends the bits of symbols.
func (a *alphabet) pack(dst, symbols []byte) []byte {
	width := a.width
	dst = slices.Grow(dst, len(symbols)*width/8+9)
	for ; len(symbols) >= 8; symbols = symbols[8:] {
		s := symbols[:8:8]
		w := uint64(s[0])<<(3*width) | uint64(s[1])<<(2*width) | uint64(s[2])<<width | uint64(s[3])
		w = w<<width | uint64(s[4])
		w = w<<width | uint64(s[5])
		w = w<<width | uint64(s[6])
		w = w<<width | uint64(s[7])
		dst = binary.BigEndian.AppendUint64(dst, w<<(64-8*width))
		dst = dst[:len(dst)-8+width]
	}
	var pending uint64
	for _, s := range symbols {
		pending = pending<<width | uint64(s)
	}
	for have := len(symbols) * width; have > 0; have -= 8 {
		if have < 8 {
			return append(dst, byte(pending<<(8-have)))
		}
		dst = append(dst, byte(pending>>(have-8)))
	}
	return dst
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// sameBytes has the highest bit of each byte of a word that is c, and no other.
func sameBytes(w uint64, c byte) uint64 {
	x := w ^ uint64(c)*lowBits
	return ^(x&^highBits + ^uint64(highBits) | x) & highBits
}

// place is where in src the n-th symbol stands.
func (a *alphabet) place(src []byte, n int) int {
	for i, c := range src {
		if a.values[c] >= prefixMark || i+1 < len(src) && a.values[c] == 0 && a.values[src[i+1]] == prefixMark {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return len(src)
}

// span is where in src the symbols of the bytes from start to end stand, which were
// read shift bits late.
func (a *alphabet) span(src []byte, shift, start, end int) (int, int) {
	first := (start*8 + shift) / a.width
	last := (end*8 + shift - 1) / a.width
	return a.place(src, first), min(a.place(src, last)+1, len(src))
}

// shifted writes src, read some bits late, to dst.
func shifted(dst, src []byte, by int) []byte {
	if by == 0 || len(src) == 0 {
		return append(dst, src...)
	}
	i := 0
	for ; i+9 <= len(src); i += 8 {
		w := binary.BigEndian.Uint64(src[i:])<<by | uint64(src[i+8])>>(8-by)
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	for ; i+1 < len(src); i++ {
		dst = append(dst, src[i]<<by|src[i+1]>>(8-by))
	}
	return dst
}

// textRuns yields the runs of text in data that have least bytes or more, of printable
// ASCII at first and of whatever runes around it. Eight bytes are judged at a time,
// since most data is no text.
func textRuns(data []byte, least int, yield func(start, end int)) {
	const high, low = 0x8080808080808080, 0x0101010101010101
	recent, done := uint32(0), 0
	for i := 0; i < len(data); i += 8 {
		var w uint64
		if i+8 <= len(data) {
			w = binary.LittleEndian.Uint64(data[i:])
		} else {
			var rest [8]byte
			copy(rest[:], data[i:])
			w = binary.LittleEndian.Uint64(rest[:])
		}
		printable := ((w | high) - 0x20*low) &^ w & high
		blank := (w & (0xF8 * low)) ^ 0x08*low // eight to fifteen: tabs and ends of lines
		spaces := ^((blank | high) - low) &^ blank & high
		mask := uint32(((printable | spaces) >> 7) * 0x0102040810204080 >> 56)
		recent = recent>>8 | mask<<24
		runs := recent & (recent >> 1)
		runs &= runs >> 2
		runs &= runs >> 4
		if least >= 16 {
			runs &= runs >> 8
		}
		if runs == 0 {
			continue
		}
		p := i - 24 + bits.TrailingZeros32(runs)
		if p < done {
			continue
		}
		start, end := around(data, p)
		if end-start >= least {
			yield(start, end)
		}
		if done = end; done > i+16 {
			i = done&^7 - 8
			recent = 0
		}
	}
}

// minWide is how many bytes a disguised secret has at least: two or three for each of
// its characters.
const minWide = 40

// wideStep is how far apart the looks are that show each such run.
const wideStep = minWide - 10

// wideRuns yields the runs of text that are mostly beyond ASCII, which textRuns does not
// see. Few of them are longer than a look at each minWide bytes would show.
func wideRuns(data []byte, yield func(start, end int)) {
	const high = 0x8080808080808080
	for i := 0; i+8 <= len(data); i += wideStep {
		if binary.LittleEndian.Uint64(data[i:])&high == 0 {
			continue
		}
		p := wideAt(data, i)
		if p < 0 {
			continue
		}
		start, end := around(data, p)
		if end-start >= minWide {
			yield(start, end)
		}
		i = max(i, end-wideStep)
	}
}

// around is the run of text that the byte at i belongs to.
func around(data []byte, i int) (start, end int) {
	for start = i; start > 0; {
		size := lastText(data[:start])
		if size == 0 {
			break
		}
		start -= size
	}
	return start, i + textLen(data[i:])
}

// textLen is how much of the beginning of data is text.
func textLen(data []byte) int {
	for i := 0; i < len(data); {
		if c := data[i]; c < utf8.RuneSelf {
			if !isText(c) {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError {
			return i
		}
		i += size
	}
	return len(data)
}

func lastText(data []byte) int {
	c := data[len(data)-1]
	if c < utf8.RuneSelf {
		if isText(c) {
			return 1
		}
		return 0
	}
	r, size := utf8.DecodeLastRune(data)
	if r == utf8.RuneError {
		return 0
	}
	return size
}

func isText(c byte) bool { return c >= 0x20 && c < 0x80 || c&0xF8 == 0x08 }
