package dlp

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape searches a view with its escapes undone: those of URLs, HTML, JSON and other
// languages together, those of quoted-printable apart, since they eat what is none. It
// reports whether that was nearly all of a large view, so that the rest need not be
// decoded with them.
func (c *scan) unescape(v *view, depth int) (most bool) {
	if depth <= 0 {
		return false
	}
	for _, kind := range kinds(v.data) {
		if !c.work(len(v.data) / 2) {
			return false
		}
		plain, places := undo(c.borrow(), v.data, kind.one, kind.next)
		if len(places) == 0 {
			c.giveBack(plain)
			continue
		}
		child := v.child(kind.name, plain, func(start, end int) (int, int) { return undoSpan(v.data, kind.one, start, end) })
		child.turned = v.turned
		parts, searched := neighbourhoods(plain, places)
		for _, p := range parts {
			start, end := p.first, p.last
			if !c.decode(end - start) {
				break
			}
			part := child.part(start, end)
			part.turned = v.turned && end-start > smallView
			part.escaped = true
			part.cutOut = v.cutOut || len(plain) > smallView
			c.view(part, depth-1)
		}
		c.giveBack(plain)
		most = most || len(v.data) > smallView && searched == len(plain)
	}
	return most
}

// kind is a family of escapes that are undone together.
type kind struct {
	name string
	one  func(src []byte, i int, dst []byte) ([]byte, int)
	next func(src []byte, i int) int
}

// kinds are the families to try. Where a text has several, any may be what was there
// before the others came, so that they are also undone by themselves; of a large text not
// the backslashes, which are in nearly all JSON.
func kinds(src []byte) []kind {
	list := []kind{{"escapes", unescapeOne, nextEscape}, {"quoted-printable", unquoteOne, nextQuoted}}
	percent, entity, backslash := bytes.IndexByte(src, '%') >= 0, bytes.IndexByte(src, '&') >= 0, bytes.IndexByte(src, '\\') >= 0
	if backslash && (percent || entity) {
		list = append(list, kind{"escapes", only("%&"), nextMark})
		if len(src) <= smallView {
			list = append(list, kind{"escapes", only(`\`), nextEscape})
		}
	}
	if percent && entity && len(src) <= maxApart {
		list = append(list, kind{"escapes", only("%"), nextMark}, kind{"escapes", only("&"), nextMark})
	}
	return list
}

// maxApart is how long a text may be for URLs and HTML to be undone by themselves.
const maxApart = 64 << 10

// only undoes escapes that begin with one of the marks.
func only(marks string) func(src []byte, i int, dst []byte) ([]byte, int) {
	return func(src []byte, i int, dst []byte) ([]byte, int) {
		if strings.IndexByte(marks, src[i]) < 0 {
			return dst, 0
		}
		return unescapeOne(src, i, dst)
	}
}

const (
	// near is how far from an escape a text is another than before, for who looks for a
	// token; farWord is the same where no blank ends it.
	near    = 256
	farWord = 4 << 10
	// dense is how close to each other places are told as one.
	dense = 32
)

// place is where text was changed, or where that was done many times.
type place struct{ first, last int }

// appendPlace adds a place behind the others.
func appendPlace(places []place, at int) []place {
	if n := len(places); n > 0 && at < places[n-1].last+dense {
		places[n-1].last = at
		return places
	}
	return append(places, place{at, at})
}

// neighbourhood is the part of plain around the first of the places, and around those
// after it that are not far from each other, and which places are left.
func neighbourhood(plain []byte, places []place) (start, end int, rest []place) {
	start = reach(plain[:places[0].first], true)
	for {
		last := places[0].last
		end = last + reach(plain[last:], false)
		next, _ := slices.BinarySearchFunc(places, end+near, func(p place, at int) int { return p.first - at })
		if next <= 1 {
			return start, end, places[1:]
		}
		places = places[next-1:]
	}
}

// neighbourhoods are the parts of plain around places, or all of it where they are nearly
// that, and how much they are.
func neighbourhoods(plain []byte, places []place) (parts []place, size int) {
	for len(places) > 0 {
		var start, end int
		start, end, places = neighbourhood(plain, places)
		parts, size = append(parts, place{start, end}), size+end-start
	}
	if 10*size > 9*len(plain) {
		return []place{{0, len(plain)}}, len(plain)
	}
	return parts, size
}

// reach is where, from one end of text, near and the word that goes on there end.
func reach(text []byte, backwards bool) int {
	at := func(n int) int {
		if backwards {
			return len(text) - 1 - n
		}
		return n
	}
	n := min(near, len(text))
	for n < min(farWord, len(text)) && text[at(n)] > ' ' {
		n++
	}
	if backwards {
		return len(text) - n
	}
	return n
}

// undo appends src with every escape replaced, and says where they were. It appends
// nothing if there is none.
func undo(dst, src []byte, one func([]byte, int, []byte) ([]byte, int), next func([]byte, int) int) (out []byte, places []place) {
	var room [8]byte
	from := 0
	for i := 0; i < len(src); {
		if i = next(src, i); i == len(src) {
			break
		}
		decoded, size := one(src, i, room[:0])
		if size == 0 {
			i++
			continue
		}
		dst = append(dst, src[from:i]...)
		places = appendPlace(places, len(dst))
		dst = append(dst, decoded...)
		i += size
		from = i
	}
	if from == 0 {
		return dst, nil
	}
	return append(dst, src[from:]...), places
}

// nextEscape is where an escape may begin, at i or behind it. Eight bytes are looked at
// at a time.
func nextEscape(src []byte, i int) int {
	const high, low = 0x8080808080808080, 0x0101010101010101
	for ; i+8 <= len(src); i += 8 {
		w := binary.LittleEndian.Uint64(src[i:])
		percent, ampersand, backslash := w^'%'*low, w^'&'*low, w^'\\'*low
		found := ((percent-low)&^percent | (ampersand-low)&^ampersand | (backslash-low)&^backslash) & high
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(src); i++ {
		if c := src[i]; c == '%' || c == '&' || c == '\\' {
			return i
		}
	}
	return i
}

// nextMark is where an escape may begin that is none of a backslash.
func nextMark(src []byte, i int) int {
	const high, low = 0x8080808080808080, 0x0101010101010101
	for ; i+8 <= len(src); i += 8 {
		w := binary.LittleEndian.Uint64(src[i:])
		percent, ampersand := w^'%'*low, w^'&'*low
		if found := ((percent-low)&^percent | (ampersand-low)&^ampersand) & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(src); i++ {
		if c := src[i]; c == '%' || c == '&' {
			return i
		}
	}
	return i
}

func nextQuoted(src []byte, i int) int {
	if n := bytes.IndexByte(src[i:], '='); n >= 0 {
		return i + n
	}
	return len(src)
}

func escapes(c byte) bool { return c == '%' || c == '\\' || c == '&' || c == '=' }

// undoSpan goes the way of undo again, to where a part of its result came from.
func undoSpan(src []byte, one func([]byte, int, []byte) ([]byte, int), start, end int) (int, int) {
	first, last := len(src), len(src)
	var room [8]byte
	for i, n := 0, 0; i < len(src) && n < end; {
		out, size := 1, 0
		if escapes(src[i]) {
			var decoded []byte
			if decoded, size = one(src, i, room[:0]); size > 0 {
				out = len(decoded)
			}
		}
		size = max(size, 1)
		if n <= start && start < n+out {
			first = i
		}
		i, n = i+size, n+out
		last = i
	}
	return first, last
}

// unescapeOne appends what the escape at i stands for and says how long it is, zero if
// there is none.
func unescapeOne(src []byte, i int, dst []byte) ([]byte, int) {
	rest := src[i+1:]
	switch src[i] {
	case '%':
		if len(rest) > 0 && rest[0]|0x20 == 'u' {
			return appendUnit(dst, src, i, 4)
		}
		if value, ok := parse(rest, 2, 16); ok {
			return append(dst, byte(value)), 3
		}
	case '&':
		return unentity(rest, dst)
	case '\\':
		return unslash(src, i, dst)
	}
	return dst, 0
}

func unslash(src []byte, i int, dst []byte) ([]byte, int) {
	if i+1 == len(src) {
		return dst, 0
	}
	rest := src[i+1:]
	switch c := rest[0]; c {
	case 'u':
		return appendUnit(dst, src, i, 4)
	case 'U':
		return appendUnit(dst, src, i, 8)
	case 'x':
		if value, ok := parse(rest[1:], 2, 16); ok {
			return append(dst, byte(value)), 4
		}
	case 'n', 'r', 't', 'b', 'f', 'v':
		return append(dst, '\n'), 2
	case '"', '\\', '/', '\'', '`':
		return append(dst, c), 2
	case '\n':
		return dst, 2
	case '0', '1', '2', '3', '4', '5', '6', '7':
		for n := 3; n > 0; n-- {
			if value, ok := parse(rest, n, 8); ok && value < 256 {
				return append(dst, byte(value)), 1 + n
			}
		}
	}
	return dst, 0
}

// appendUnit undoes \u0041, \u{41} and %u0041, and two halves of a rune.
func appendUnit(dst, src []byte, i, width int) ([]byte, int) {
	rest := src[i+2:]
	if len(rest) > 2 && rest[0] == '{' {
		if end := bytes.IndexByte(rest[:min(len(rest), 9)], '}'); end > 1 {
			if value, ok := parse(rest[1:], end-1, 16); ok {
				return utf8.AppendRune(dst, rune(value)), 2 + end + 1
			}
		}
		return dst, 0
	}
	value, ok := parse(rest, width, 16)
	if !ok {
		return dst, 0
	}
	if utf16.IsSurrogate(rune(value)) && len(rest) >= 10 && rest[4] == src[i] && rest[5] == src[i+1] {
		if second, ok := parse(rest[6:], 4, 16); ok {
			if r := utf16.DecodeRune(rune(value), rune(second)); r != utf8.RuneError {
				return utf8.AppendRune(dst, r), 12
			}
		}
	}
	return utf8.AppendRune(dst, rune(value)), 2 + width
}

// parse reads exactly n digits.
func parse(b []byte, n, base int) (int, bool) {
	if len(b) < n || n == 0 {
		return 0, false
	}
	value := 0
	for _, c := range b[:n] {
		digit := 99
		switch {
		case isDigit(c):
			digit = int(c - '0')
		case isLetter(c):
			digit = int(c|0x20-'a') + 10
		}
		if digit >= base {
			return 0, false
		}
		value = value*base + digit
	}
	return value, true
}

// maxEntity bounds the search for the end of an HTML entity.
const maxEntity = 12

func unentity(rest, dst []byte) ([]byte, int) {
	if len(rest) > 2 && rest[0] == '#' {
		base, skip := 10, 1
		if rest[1]|0x20 == 'x' {
			base, skip = 16, 2
		}
		n := 0
		for n < maxEntity && skip+n < len(rest) {
			if _, ok := parse(rest[skip+n:], 1, base); !ok {
				break
			}
			n++
		}
		value, ok := parse(rest[skip:], n, base)
		if !ok || value > utf8.MaxRune {
			return dst, 0
		}
		size := 1 + skip + n
		if skip+n < len(rest) && rest[skip+n] == ';' {
			size++
		}
		return utf8.AppendRune(dst, rune(value)), size
	}
	end := bytes.IndexByte(rest[:min(len(rest), maxEntity)], ';')
	if end < 1 {
		return dst, 0
	}
	if c := entity(string(rest[:end])); c != 0 {
		return append(dst, c), end + 2
	}
	return dst, 0
}

// entity is the ASCII character of a name, zero if it is no such name.
func entity(name string) byte {
	switch name {
	case "Tab":
		return '\t'
	case "NewLine":
		return '\n'
	case "nbsp":
		return ' '
	case "excl":
		return '!'
	case "quot", "QUOT":
		return '"'
	case "num":
		return '#'
	case "dollar":
		return '$'
	case "percnt":
		return '%'
	case "amp", "AMP":
		return '&'
	case "apos":
		return '\''
	case "lpar":
		return '('
	case "rpar":
		return ')'
	case "ast", "midast":
		return '*'
	case "plus":
		return '+'
	case "comma":
		return ','
	case "hyphen", "dash":
		return '-'
	case "period":
		return '.'
	case "sol":
		return '/'
	case "colon":
		return ':'
	case "semi":
		return ';'
	case "lt", "LT":
		return '<'
	case "equals":
		return '='
	case "gt", "GT":
		return '>'
	case "quest":
		return '?'
	case "commat":
		return '@'
	case "lsqb", "lbrack":
		return '['
	case "bsol":
		return '\\'
	case "rsqb", "rbrack":
		return ']'
	case "Hat":
		return '^'
	case "lowbar", "UnderBar":
		return '_'
	case "grave", "DiacriticalGrave":
		return '`'
	case "lcub", "lbrace":
		return '{'
	case "verbar", "vert", "VerticalLine":
		return '|'
	case "rcub", "rbrace":
		return '}'
	}
	return 0
}

// unquoteOne undoes quoted-printable.
func unquoteOne(src []byte, i int, dst []byte) ([]byte, int) {
	if src[i] != '=' {
		return dst, 0
	}
	rest := src[i+1:]
	if value, ok := parse(rest, 2, 16); ok {
		return append(dst, byte(value)), 3
	}
	if bytes.HasPrefix(rest, []byte("\r\n")) {
		return dst, 3
	}
	if bytes.HasPrefix(rest, []byte("\n")) {
		return dst, 2
	}
	return dst, 0
}
