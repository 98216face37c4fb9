// Package plain makes text from elsewhere fit to be drawn in a cell of a screen of ours, and
// measures it. What comes out holds nothing that a terminal acts on, that cannot be seen, that
// turns the direction of text, or that covers what stands around it (ATTACKS H1); and it is as
// wide as it is said to be.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// maxMarks is how many marks may stand on one letter: more grow over other lines.
const maxMarks = 2

// Text is s on one line. What may not be drawn is a dot.
func Text(s string) string {
	var b strings.Builder
	marks, based := 0, false
	for _, r := range s {
		switch {
		case unseen(r):
			continue
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; based && marks <= maxMarks {
				b.WriteRune(r)
			}
			continue // one without a letter before it would stand on what is not its own
		case r == '\t', r == 0xa0: // a space that breaks no line: programs put it behind their prompts
			r = ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError || blank(r):
			r = '·'
		}
		marks, based = 0, true
		b.WriteRune(r)
	}
	return b.String()
}

// unseen are marks that only change how others are drawn, and how wide.
func unseen(r rune) bool {
	return r == 0x34f || r >= 0x17b4 && r <= 0x17b5 || r >= 0x180b && r <= 0x180f || r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef || r >= 0x1f3fb && r <= 0x1f3ff
}

// blank are letters and symbols that look like nothing.
func blank(r rune) bool {
	return r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 || r == 0x2800
}

// Width of a text in cells.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut leaves as much of the beginning of s as is width wide.
func Cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return ansi.Truncate(s, width, "…")
}

// CutFront leaves the end: of api.example.com.evil.example that is what counts (ATTACKS G10).
func CutFront(s string, width int) string {
	if width <= 0 || Width(s) <= width {
		return Cut(s, width)
	}
	over := Width(s) - width + 1
	for {
		short := ansi.TruncateLeft(s, over, "…")
		if Width(short) <= width {
			return short
		}
		over++ // half of a wide one was left
	}
}

// CutMiddle leaves the beginning and the end of s.
func CutMiddle(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	begin := ansi.Truncate(s, max(0, (width-1)/2), "")
	return begin + CutFront(s, width-Width(begin))
}

// Fit is s in exactly width cells.
func Fit(s string, width int) string {
	s = Cut(s, width)
	return s + strings.Repeat(" ", max(0, width-Width(s)))
}

// Wrap breaks s into lines of at most width, between words where it can. A hyphen ends no word: it
// is in most names and flags, which one copies.
func Wrap(s string, width int) []string {
	if width < 1 {
		return nil
	}
	const hyphen = "\ue000" // in no text that is plain
	wrapped := ansi.Wrap(strings.ReplaceAll(s, "-", hyphen), width, "")
	return strings.Split(strings.ReplaceAll(wrapped, hyphen, "-"), "\n")
}

// Fold breaks s into lines of at most width, wherever that is.
func Fold(s string, width int) []string {
	return strings.Split(ansi.Hardwrap(s, max(1, width), true), "\n")
}

// Amount is a number of at most five characters: 999, 12.3k, 1023k, 4.0M.
func Amount(n int64) string {
	n = max(0, n)
	if n < 1000 {
		return strconv.FormatInt(n, 10)
	}
	value := float64(n)
	for _, unit := range "kMGTPE" {
		value /= 1000
		if value < 99.95 {
			return fmt.Sprintf("%.1f%c", value, unit)
		}
		if value < 999.5 {
			return fmt.Sprintf("%.0f%c", value, unit)
		}
	}
	return "much"
}

// Count is a number of things, whose word takes an s.
func Count[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
