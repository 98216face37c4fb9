package dlp

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// alphabets are the encodings of whole bits. What stands between symbols is left out,
// so that separators do not matter.
type alphabets struct {
	base64, base32, base32hex, hex *alphabet
	alnum                          *alphabet // letters and digits, each its own value
	base58                         [256]byte
	base85                         [3][256]byte // Ascii85, RFC 1924, Z85
}

func newAlphabets() alphabets {
	even := []int{0, 2, 4, 6}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	return alphabets{
		base64:    newAlphabet("base64", 6, even, upper+lower+digits+"+/", upper+lower+digits+"-_"),
		base32:    newAlphabet("base32", 5, all, upper+"234567", lower+"234567"),
		base32hex: newAlphabet("base32hex", 5, all, digits+upper[:22], digits+lower[:22]),
		hex:       newHex(),
		alnum:     newAlnum(),
		base58:    newAlphabet("base58", 0, nil, digits[1:]+"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz").values,
		base85: [3][256]byte{
			newAlphabet("base85", 0, nil, symbols85()).values,
			newAlphabet("base85", 0, nil, digits+upper+lower+"!#$%&()*+-;<=>?@^_`{|}~").values,
			newAlphabet("base85", 0, nil, digits+lower+upper+".-:+=^!/*?&<>()[]{}@%$#").values,
		},
	}
}

func newAlnum() *alphabet {
	a := newAlphabet("", 8, nil)
	for _, c := range []byte(upper + lower + digits) {
		a.values[c] = c
	}
	return a
}

// newHex is hex, also where each byte has a prefix of its own, 0x or \x.
func newHex() *alphabet {
	a := newAlphabet("hex", 4, []int{0, 4}, digits+"ABCDEF", digits+"abcdef")
	a.prefix = true
	a.values['x'], a.values['X'] = prefixMark, prefixMark
	return a
}

// symbols decodes what is written in some alphabet.
func (c *scan) symbols(v *view, depth int) {
	if depth <= 0 || len(v.data) < c.least*4/3 {
		return
	}
	c.packed(v, depth, c.base64, v.data, 0)
	c.packed(v, depth, c.hex, v.data, 0)
	c.base32Runs(v, depth)
	c.base58Runs(v, depth)
	c.base85Runs(v, depth)
	c.numbers(v, depth)
}

// packed reads the symbols of a part of the view that begins at base, at each alignment
// at which they may be something.
func (c *scan) packed(v *view, depth int, a *alphabet, part []byte, base int) {
	if !c.work(len(part)) {
		return
	}
	symbols := a.squeeze(c.borrow(), part)
	packed := a.pack(c.borrow(), symbols)
	c.giveBack(symbols)
	child := func(l late, data []byte, at int) *view {
		return v.child(a.name, data, func(start, end int) (int, int) {
			from, to := a.span(part, l.shift, at+start, at+end)
			return base + from, base + to
		})
	}
	telling := c.textLate(a, packed, depth-1, child)
	if mayHoldWideText(packed) {
		telling |= a.mask
	}
	if depth > 1 {
		telling |= c.inflateLate(v, a, packed, depth-1)
	}
	for _, shift := range a.shifts {
		l := late{packed, shift}
		if telling&(0x80>>shift) == 0 && (v.turned || len(packed) < minWide || !l.hasWide()) {
			continue
		}
		if !c.work(len(packed)) {
			break
		}
		data := l.part(c.borrow(), 0, l.len())
		c.bytes(child(l, data, 0), depth-1)
		c.giveBack(data)
	}
	c.giveBack(packed)
}

// textLate searches the short runs of text in packed symbols, and tells at which shifts
// there are longer ones.
func (c *scan) textLate(a *alphabet, packed []byte, depth int, child func(late, []byte, int) *view) (more byte) {
	const reach = 64
	eachText(packed, a.mask, c.least, func(l late, i int) (int, bool) {
		from, to := max(0, i-reach), min(l.len(), i+reach)
		near := l.part(c.borrow(), from, to)
		defer c.giveBack(near)
		start, end := around(near, i-from)
		if start < utf8.UTFMax && from > 0 || end > len(near)-utf8.UTFMax && to < l.len() {
			more |= 0x80 >> l.shift
			return 0, false
		}
		if end-start >= c.least && c.decode(end-start) {
			v := child(l, near, from)
			c.watched(v, start, end)
			c.view(v.part(start, end), depth)
		}
		return from + end, true
	})
	return more
}

// trial is how much of what may be compressed is decompressed to see whether it is.
const trial = 512

// inflateLate searches what is compressed in packed symbols, where that is no more than
// a trial shows, and tells at which shifts there may be more.
func (c *scan) inflateLate(v *view, a *alphabet, packed []byte, depth int) (more byte) {
	c.magics.each(packed, a, func(l late, i int) {
		bit := byte(0x80) >> l.shift
		if more&bit != 0 {
			return
		}
		near := l.part(c.borrow(), i, min(l.len(), i+trial))
		defer c.giveBack(near)
		if body := zlibBody(near); body != nil {
			ended := c.deflated(v.child(a.name, nil, nil).child("zlib", nil, nil), body, depth-1)
			if ended || i+trial >= l.len() && c.end == math.MaxInt {
				return
			}
		} else if near[0] == 'x' || !startsCompressed(near) {
			return
		}
		more |= bit
	})
	return more
}

// bytes searches what was decoded, which may be text in places.
func (c *scan) bytes(v *view, depth int) {
	run := func(start, end int) {
		if c.decode(end - start) {
			c.watched(v, start, end)
			c.view(v.part(start, end), depth)
		}
	}
	textRuns(v.data, c.least, run)
	if !v.parent.turned {
		wideRuns(v.data, run)
	}
	paddedRuns(v.data, c.least, run)
	c.inflate(v, depth)
}

// promising reports whether something short that was decoded is worth a view.
func (c *scan) promising(data []byte) bool {
	text := false
	eachText(data, 0x80, c.least, func(late, int) (int, bool) {
		text = true
		return 0, false
	})
	return text || startsCompressed(data)
}

// part is a view of a part of another.
func (v *view) part(start, end int) *view {
	return &view{data: v.data[start:end], parent: v, turned: v.turned, origin: func(s, e int) (int, int) { return s + start, e + start }}
}

func symbols85() string {
	var symbols []byte
	for c := byte('!'); c <= 'u'; c++ {
		symbols = append(symbols, c)
	}
	return string(symbols)
}

// base32Runs decodes runs of letters of one case and digits, with short separators.
func (c *scan) base32Runs(v *view, depth int) {
	least := c.least * 8 / 5
	if !c.work(len(v.data) / 4) {
		return
	}
	data, done := v.data, 0
	for i := least - 4; i < len(data); i += least - 4 {
		last := i
		for last > i-4 && c.kinds[data[last]] == 0 {
			last--
		}
		kind := c.kinds[data[last]]
		if kind == 0 || last < done {
			continue
		}
		start, end, symbols := c.base32Around(data, last, kind)
		if done = end; symbols >= least && start < end {
			c.packed(v, depth, c.base32, data[start:end], start)
			c.packed(v, depth, c.base32hex, data[start:end], start)
		}
	}
}

// base32Around is the run of one kind around i and how many symbols it has.
func (t *tables) base32Around(data []byte, i int, kind byte) (start, end, symbols int) {
	start, end = i, i
	both := kind
	for gap, j := 0, i; j >= 0; j-- {
		k := t.kinds[data[j]]
		if k&both == 0 {
			if gap++; k != 0 || gap > base32Gap(both, data[j]) {
				break
			}
			continue
		}
		both &= k
		start, symbols, gap = j, symbols+1, 0
	}
	for gap, j := 0, i+1; j < len(data); j++ {
		k := t.kinds[data[j]]
		if k&both == 0 {
			if gap++; k != 0 || gap > base32Gap(both, data[j]) {
				break
			}
			continue
		}
		both &= k
		end, symbols, gap = j+1, symbols+1, 0
	}
	return start, end, symbols
}

// base32Gap is how long a separator with ch may be. Rows of small letters are
// everywhere, so that only a new line separates these.
func base32Gap(kind, ch byte) int {
	switch {
	case kind != smalls:
		return 3
	case ch == '\n' || ch == '\r':
		return 2
	}
	return 0
}

const (
	capitals = 1 << iota
	smalls
)

func base32Kind(c byte) byte {
	switch {
	case isDigit(c):
		return capitals | smalls
	case c >= 'A' && c <= 'Z':
		return capitals
	case c >= 'a' && c <= 'z':
		return smalls
	}
	return 0
}

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

// base85Runs decodes base85 in three alphabets. Each place is asked whether the five
// symbols there and the five behind them stand for text; the whole run is then decoded
// at that alignment. Runs that could be nothing but base64 are passed over.
func (c *scan) base85Runs(v *view, depth int) {
	if !c.work(len(v.data) / 4) {
		return
	}
	inWord := func(i int) bool { return v.data[i] > ' ' && v.data[i] < 0x7F }
	least := c.least * 5 / 4
	for from, last := 0, least-1; last < len(v.data); last = from + least - 1 {
		start := last
		for start >= from && inWord(start) {
			start--
		}
		if start >= from {
			from = start + 1
			continue
		}
		end := last + 1
		for end < len(v.data) && inWord(end) {
			end++
		}
		c.base85Run(v, depth, from, end)
		from = end + 1
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
			for maybe := t.first85[run[i]]; maybe != 0; maybe &= maybe - 1 {
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

// newFirst85 has, for each character, the base85 alphabets in which a group of text may
// begin with it.
func newFirst85(values [3][256]byte) (first [256]byte) {
	const highest = 0x7FFFFFFF / (85 * 85 * 85 * 85) // since text is ASCII
	for a := range values {
		for ch, value := range values[a] {
			if value <= highest {
				first[ch] |= 1 << a
			}
		}
	}
	return first
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

// numbers decodes bytes written as decimal or octal numbers. It looks where more than
// a quarter of the characters are digits.
func (c *scan) numbers(v *view, depth int) {
	if !c.work(len(v.data) / 2) {
		return
	}
	const block = 64
	start, end := 0, 0
	for i := 0; i < len(v.data); i += block {
		part := v.data[i:min(i+block, len(v.data))]
		if 25*countDigits(part) < 7*len(part) {
			continue
		}
		if i > end+block {
			c.numbersIn(v, depth, start, end)
			start = max(end, i-block)
		}
		end = min(i+2*block, len(v.data))
	}
	c.numbersIn(v, depth, start, end)
}

// countDigits counts them eight bytes at a time.
func countDigits(text []byte) (n int) {
	const high, low = 0x8080808080808080, 0x0101010101010101
	i := 0
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		digits := ((w | high) - '0'*low) &^ ((w | high) - ('9'+1)*low) &^ w & high
		n += bits.OnesCount64(digits)
	}
	for _, ch := range text[i:] {
		if isDigit(ch) {
			n++
		}
	}
	return n
}

func (c *scan) numbersIn(v *view, depth, start, end int) {
	if end-start < 2*c.least || !c.work(end-start) {
		return
	}
	data := v.data[start:end]
	var list numberList
	list.decimal, list.octal = c.borrow(), c.borrow()
	flush := func() {
		if len(list.at) >= c.least {
			at := list.at
			origin := func(s, e int) (int, int) { return start + at[s], start + at[e-1] + 3 }
			c.bytes(v.child("decimal", list.decimal, origin), depth-1)
			c.bytes(v.child("octal", list.octal, origin), depth-1)
		}
		list.decimal, list.octal, list.at = list.decimal[:0], list.octal[:0], list.at[:0]
	}
	gap := 0
	for i := 0; i < len(data); {
		if !isDigit(data[i]) {
			gap++
			i++
			continue
		}
		if gap > maxNumberGap {
			flush()
		}
		first := i
		for i < len(data) && isDigit(data[i]) {
			i++
		}
		if !list.add(data[first:i], first, i < len(data) && data[i]|0x20 == 'o') {
			flush()
		}
		gap = 0
	}
	flush()
	c.giveBack(list.decimal)
	c.giveBack(list.octal)
}

// maxNumberGap is how much may stand between two numbers.
const maxNumberGap = 12

type numberList struct {
	decimal, octal []byte
	at             []int
}

// add takes one run of digits: a number, or numbers of three digits each.
func (l *numberList) add(run []byte, at int, octalMark bool) bool {
	if len(run) == 1 && run[0] == '0' && octalMark { // 0o141
		return true
	}
	if len(run) == 4 && run[0] == '0' {
		run, at = run[1:], at+1
	}
	first := len(l.at) == 0 // to which a digit may be glued that is none of it
	if odd := len(run) % 3; len(run) > 3 && odd != 0 && first {
		run, at = run[odd:], at+odd
	} else if len(run) > 3 && odd != 0 {
		return false
	}
	for len(run) > 0 {
		n := min(3, len(run))
		decimal, octal := 0, 0
		for _, c := range run[:n] {
			decimal = decimal*10 + int(c-'0')
			octal = octal*8 + int(c-'0')
			if c > '7' {
				octal = 256
			}
		}
		if first = first && len(l.at) == 0; first && decimal > 255 {
			decimal %= 100
		}
		if first && octal > 255 {
			octal %= 64
		}
		l.decimal = append(l.decimal, small(decimal))
		l.octal = append(l.octal, small(octal))
		l.at = append(l.at, at)
		run, at = run[n:], at+n
	}
	return true
}

// small is n as a byte, zero if it is none.
func small(n int) byte {
	if n > 255 {
		return 0
	}
	return byte(n)
}
