package dlp

import (
	"encoding/binary"
	"math/bits"
)

// join appends text with the joints between its strings left out, so that "ab" + "cd"
// and ["ab","cd"] read abcd, and says where they were. It appends nothing if it has none.
func join(dst, text []byte) (out []byte, places []place) {
	from := 0
	for i := 0; i < len(text); i++ {
		if i = nextQuote(text, i); i == len(text) {
			break
		}
		size := joint(text[i:])
		if size == 0 {
			continue
		}
		dst = append(dst, text[from:i]...)
		places = appendPlace(places, len(dst))
		i += size - 1
		from = i + 1
	}
	if from == 0 {
		return dst, nil
	}
	return append(dst, text[from:]...), places
}

func joinSpan(text []byte, start, end int) (int, int) {
	first, last := len(text), len(text)
	for i, n := 0, 0; i < len(text) && n < end; {
		if isQuote(text[i]) {
			if size := joint(text[i:]); size > 0 {
				i += size
				continue
			}
		}
		if n == start {
			first = i
		}
		i, n = i+1, n+1
		last = i
	}
	return first, last
}

// nextQuote is where a quote is, at i or behind it.
func nextQuote(text []byte, i int) int {
	const high, low = 0x8080808080808080, 0x0101010101010101
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		double, single, back := w^'"'*low, w^'\''*low, w^'`'*low
		if found := ((double-low)&^double | (single-low)&^single | (back-low)&^back) & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && !isQuote(text[i]) {
		i++
	}
	return i
}

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// maxJoint is how much may stand between two quotes that end and begin strings.
const maxJoint = 24

// joint is the length of what begins with a quote, ends with one, and has only marks
// and blanks between that join strings; zero if there is none.
func joint(text []byte) int {
	for i := 1; i < min(len(text), maxJoint); i++ {
		switch c := text[i]; {
		case isQuote(c):
			return i + 1
		case c > ' ' && c != ',' && c != '+' && c != '.' && c != '&' && c != '|' && c != '\\' && c != ';':
			return 0
		}
	}
	return 0
}
