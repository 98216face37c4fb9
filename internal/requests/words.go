package requests

import (
	"strings"
	"unicode"
)

// maxWords bounds what an agent may say at a time, in characters.
const maxWords = 1000

// clean makes an agent's words safe to show: on one line, of a sane length, and without
// what a terminal interprets or an eye cannot see: controls, escapes, characters that turn
// the direction of text, that take no room or that stack without end (ATTACKS G8, H1).
func clean(s string) string {
	var b strings.Builder
	n, marks, space := 0, 0, true
	for _, r := range s {
		if n == maxWords {
			b.WriteString("…")
			break
		}
		if unicode.IsSpace(r) {
			if space {
				continue
			}
			r = ' '
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > 2 {
				continue
			}
		} else {
			marks = 0
		}
		if r == unicode.ReplacementChar || r != ' ' && !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) {
			continue // controls, formats, surrogates, private use, separators
		}
		space = r == ' '
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}
