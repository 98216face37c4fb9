package egress

import (
	"bytes"
	"html"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// echoes finds our real values in what upstreams answer: as they are, in base64 and hex, and
// spelled out in part or in whole as JSON, HTML, JavaScript, C or URLs do, up to
// maxSpelled times over; and pieces of those that the bottle may have cut off. It is immutable and
// may be used concurrently; nil finds nothing.
type echoes struct {
	exact  *finder
	folded *finder // without regard to case, for the names of headers
	pieces bool    // some forms are pieces of others: stars on one must not hide the next

	buffers sync.Pool // of *[sieveSize]byte
}

// maxSpelled is how often a value may have been escaped: a document in a string in a
// document.
const maxSpelled = 3

// maxCharacter is how many bytes may stand for one of a value, spelled out like that.
const maxCharacter = 20

func newEchoes(needles []needle) *echoes {
	var forms, folded [][]byte
	for _, n := range needles {
		if n.real {
			forms = append(forms, n.forms...)
		}
	}
	if len(forms) == 0 {
		return nil
	}
	for _, form := range forms {
		folded = append(folded, bytes.ToLower(form))
	}
	for _, n := range needles {
		forms = append(forms, n.pieces...)
	}
	return &echoes{exact: newFinder(forms), folded: newFinder(folded), pieces: len(forms) > len(folded), buffers: sync.Pool{New: func() any { return new([sieveSize]byte) }}}
}

// mask overwrites what is found, byte for byte, so that lengths stay right (ATTACKS C3).
func (e *echoes) mask(data []byte) {
	if e == nil || len(data) < e.exact.least {
		return
	}
	raw := data
	if e.pieces {
		raw = bytes.Clone(data)
	}
	e.maskAs(data, raw)
}

// maskAs overwrites what is found in raw, which is data before anything of it was.
func (e *echoes) maskAs(data, raw []byte) {
	if e == nil || len(raw) < e.exact.least {
		return
	}
	find(e.exact, raw, func(from, to int) { stars(data[from:to]) })
	for v := (spelled{text: raw}); v.undo(); {
		find(e.exact, v.text, func(from, to int) { stars(data[v.source(from):v.source(to)]) })
	}
}

func stars(data []byte) {
	for i := range data {
		data[i] = '*'
	}
}

// maskText is mask for a text that mostly holds nothing.
func (e *echoes) maskText(text string) string {
	if e == nil || len(text) < e.exact.least || !strings.ContainsAny(text, `\%&`) && !e.exact.in(text) {
		return text
	}
	data := []byte(text)
	e.mask(data)
	return string(data)
}

// names reports whether the name of a header, which cannot be masked, holds a value.
func (e *echoes) names(name string) bool {
	return e != nil && len(name) >= e.folded.least && e.folded.in(strings.ToLower(name))
}

// begun is how much of data's end may be the beginning of a value, of which at least so
// many characters have come. Where one is enough, it may be one that is spelled out, and cut short.
func (e *echoes) begun(data []byte, characters int) int {
	if e == nil {
		return 0
	}
	data = data[max(0, len(data)-e.exact.reach()):]
	held := e.exact.begun(data, characters)
	for v := (spelled{text: data, more: true}); v.undo(); {
		cut := v.open < len(v.text)
		v.text = v.text[:v.open]
		if n := e.exact.begun(v.text, characters); n > 0 || cut && characters == 1 {
			held = max(held, len(data)-v.source(len(v.text)-n))
		}
	}
	return held
}

// finder looks for any of many forms in one pass, skipping what cannot be part of one (S. Wu
// and U. Manber, "A fast algorithm for multi-pattern searching", 1994, with blocks of two
// bytes).
type finder struct {
	forms       [][]byte
	least, most int                  // lengths of the shortest and the longest
	shift       [1 << 16]uint8       // by block: how far on the first least bytes of a form may end
	ends        map[uint16][]int     // forms by the block that ends their first least bytes
	begins      map[uint16][]int     // forms by their first block
	first       [1 << 16 / 64]uint64 // the set of these
}

func newFinder(forms [][]byte) *finder {
	f := &finder{forms: forms, least: len(forms[0]), ends: map[uint16][]int{}, begins: map[uint16][]int{}}
	for _, form := range forms {
		f.least, f.most = min(f.least, len(form)), max(f.most, len(form))
	}
	f.least = min(f.least, 255)
	for i := range f.shift {
		f.shift[i] = uint8(f.least - 1)
	}
	for n, form := range forms {
		for i := range f.least - 1 {
			b := block(form, i)
			f.shift[b] = min(f.shift[b], uint8(f.least-2-i))
		}
		end := block(form, f.least-2)
		f.ends[end] = append(f.ends[end], n)
		first := block(form, 0)
		f.begins[first] = append(f.begins[first], n)
		f.first[first/64] |= 1 << (first % 64)
	}
	return f
}

func block[T string | []byte](text T, i int) uint16 { return uint16(text[i])<<8 | uint16(text[i+1]) }

// reach is how long a value can be that is spelled out as long as can be.
func (f *finder) reach() int { return min(f.most*maxCharacter, 32<<10) }

// find calls hit for each form in text.
func find[T string | []byte](f *finder, text T, hit func(from, to int)) {
	for i := f.least - 2; i+1 < len(text); {
		b := block(text, i)
		if skip := f.shift[b]; skip > 0 {
			i += int(skip)
			continue
		}
		from := i - (f.least - 2)
		for _, n := range f.ends[b] {
			if form := f.forms[n]; len(form) <= len(text)-from && string(text[from:from+len(form)]) == string(form) {
				hit(from, from+len(form))
			}
		}
		i++
	}
}

func (f *finder) in(text string) (found bool) {
	find(f, text, func(int, int) { found = true })
	return found
}

// begun is the length of the longest end of text with which a form begins, and that has at
// least so many characters.
func (f *finder) begun(text []byte, characters int) int {
	for i := max(0, len(text)-f.most+1); i <= len(text)-characters; i++ {
		if i+1 == len(text) { // there is no whole block
			if slices.ContainsFunc(f.forms, func(form []byte) bool { return form[0] == text[i] }) {
				return 1
			}
			break
		}
		b := block(text, i)
		if f.first[b/64]>>(b%64)&1 == 0 {
			continue
		}
		for _, n := range f.begins[b] {
			if form := f.forms[n]; len(form) > len(text)-i && bytes.HasPrefix(form, text[i:]) {
				return len(text) - i
			}
		}
	}
	return 0
}

// spelled is a text with escapes undone, each time undo is called once more.
type spelled struct {
	text   []byte
	more   bool // text may go on
	open   int  // where in text an escape begins that is cut short by its end
	levels [][]stretch
}

// stretch is where more of the source stood for less of the text.
type stretch struct{ at, more int } // from this index on, so much more in all

// undo undoes every escape once, and reports whether there was one, or the beginning of one
// at the end, which stays as it is.
func (v *spelled) undo() bool {
	if len(v.levels) == maxSpelled {
		return false
	}
	if bytes.IndexByte(v.text, '\\') < 0 && bytes.IndexByte(v.text, '%') < 0 && bytes.IndexByte(v.text, '&') < 0 {
		return false
	}
	i := nextEscape(v.text, 0)
	out, level, more := make([]byte, 0, len(v.text)), []stretch(nil), 0
	from, open := 0, -1
	for i < len(v.text) {
		var buffer [utf8.UTFMax]byte
		plain, size := unescape(v.text[i:], &buffer)
		if (size == 0 || v.more && i+size == len(v.text) && v.text[i] == '&') && cutShort(v.text[i:]) {
			open = len(out) + i - from
			break
		}
		if size == 0 {
			i = nextEscape(v.text, i+1)
			continue
		}
		out = append(append(out, v.text[from:i]...), plain...)
		more += size - len(plain)
		level = append(level, stretch{len(out), more})
		from = i + size
		i = nextEscape(v.text, from)
	}
	if level == nil && open < 0 {
		return false
	}
	v.text, v.levels = append(out, v.text[from:]...), append(v.levels, level)
	if v.open = open; open < 0 {
		v.open = len(v.text)
	}
	return true
}

// cutShort reports whether more could make an escape of all of text.
func cutShort(text []byte) bool {
	if len(text) >= maxEntity {
		return false
	}
	digits := func(s []byte, most int) bool {
		return len(s) < most && len(bytes.Trim(s, "0123456789abcdefABCDEF")) == 0
	}
	switch {
	case text[0] == '%':
		return digits(text[1:], 2)
	case text[0] == '&':
		return len(bytes.Trim(text[1:], "#"+letters)) == 0
	case len(text) == 1:
		return true
	case text[1] == 'x':
		return digits(text[2:], 2)
	case bytes.HasPrefix(text, []byte(`\u{`)):
		return digits(text[3:], 7)
	case text[1] == 'u':
		return digits(text[2:], 4)
	case text[1] == 'U':
		return digits(text[2:], 8)
	}
	return text[1] >= '0' && text[1] <= '3' && digits(text[1:], 3)
}

// nextEscape is where the next escape may begin.
func nextEscape(text []byte, from int) int {
	for from < len(text) && text[from] != '\\' && text[from] != '%' && text[from] != '&' {
		from++
	}
	return from
}

// source is where in the first text a place in the last one is.
func (v *spelled) source(i int) int {
	for _, level := range slices.Backward(v.levels) {
		n, exact := slices.BinarySearchFunc(level, i, func(s stretch, i int) int { return s.at - i })
		if exact {
			n++
		}
		if n > 0 {
			i += level[n-1].more
		}
	}
	return i
}

// unescape undoes one escape at the beginning of text, and returns its size there: 0 for
// none.
func unescape(text []byte, buffer *[utf8.UTFMax]byte) (plain []byte, size int) {
	switch text[0] {
	case '%':
		return hexByte(text, 1, buffer)
	case '\\':
		return unescapeBackslash(text, buffer)
	default:
		return unescapeEntity(text, buffer)
	}
}

func hexByte(text []byte, at int, buffer *[utf8.UTFMax]byte) ([]byte, int) {
	n, digits := number(text[min(at, len(text)):], 2, 16)
	if digits != 2 {
		return nil, 0
	}
	buffer[0] = byte(n)
	return buffer[:1], at + 2
}

// number reads up to so many digits.
func number(text []byte, most, base int) (n, digits int) {
	for digits < min(most, len(text)) {
		d := strings.IndexByte("0123456789abcdef", text[digits]|0x20)
		if c := text[digits]; c < '0' || d < 0 || d >= base {
			break
		}
		n, digits = n*base+d, digits+1
	}
	return n, digits
}

func unescapeBackslash(text []byte, buffer *[utf8.UTFMax]byte) ([]byte, int) {
	if len(text) < 2 {
		return nil, 0
	}
	switch c := text[1]; {
	case c == 'x':
		return hexByte(text, 2, buffer)
	case c == 'u' || c == 'U':
		return unescapeRune(text, buffer)
	case c >= '0' && c <= '3':
		n, digits := number(text[1:], 3, 8)
		if digits != 3 {
			return nil, 0
		}
		buffer[0] = byte(n)
		return buffer[:1], 4
	case strings.IndexByte(`\/"'-`, c) >= 0:
		buffer[0] = c
		return buffer[:1], 2
	}
	return nil, 0
}

// unescapeRune undoes \u0073, \U00000073 and \u{73}.
func unescapeRune(text []byte, buffer *[utf8.UTFMax]byte) ([]byte, int) {
	want, at, after := 4, 2, 0
	if text[1] == 'U' {
		want = 8
	}
	if len(text) > 2 && text[2] == '{' {
		want, at, after = 6, 3, 1
	}
	n, digits := number(text[at:], want, 16)
	switch {
	case after == 0 && digits != want || digits == 0 || n > utf8.MaxRune:
		return nil, 0
	case after == 1 && (at+digits >= len(text) || text[at+digits] != '}'):
		return nil, 0
	}
	return buffer[:utf8.EncodeRune(buffer[:], rune(n))], at + digits + after
}

// maxEntity is how long a character's name can be, with what is around it.
const maxEntity = 34

// unescapeEntity undoes &#115; &#x73; and names. Browsers take the numbers without the
// semicolon as well.
func unescapeEntity(text []byte, buffer *[utf8.UTFMax]byte) ([]byte, int) {
	if !bytes.HasPrefix(text, []byte("&#")) {
		return unescapeName(text)
	}
	base, at := 10, 2
	if len(text) > 2 && text[2]|0x20 == 'x' {
		base, at = 16, 3
	}
	n, digits := number(text[at:], 7, base)
	if digits == 0 || n > utf8.MaxRune {
		return nil, 0
	}
	if at += digits; at < len(text) && text[at] == ';' {
		at++
	}
	return buffer[:utf8.EncodeRune(buffer[:], rune(n))], at
}

func unescapeName(text []byte) ([]byte, int) {
	end := bytes.IndexByte(text[:min(maxEntity, len(text))], ';') + 1
	if end < 3 || len(bytes.Trim(text[1:end-1], letters)) > 0 {
		return nil, 0
	}
	entity := string(text[:end])
	plain := html.UnescapeString(entity)
	if plain == entity || len(plain) > len(entity) {
		return nil, 0
	}
	return []byte(plain), end
}

const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
