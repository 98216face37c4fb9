package plain

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                           "plain",
		"tab\there":                       "tab here",
		">\u00a0typed":                    "> typed",
		"\x1b[2J\r\n\x00\x7f\u009b":       "·[2J·····",
		"\u202eevil\u2066\u200b\ufeff":    "·evil···",
		"e" + strings.Repeat("\u0301", 9): "e\u0301\u0301",
		"\u0301first":                     "first",
		"\u3164x\u2800":                   "·x·",
		"👍🏽 ❤️":                           "👍 ❤",
		"\xff\xfe":                        "··",
		"देवनागरी 日本語 é":                  "देवनागरी 日本語 é",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		got, want string
	}{
		{Cut("abcdef", 4), "abc…"}, {Cut("abc", 4), "abc"}, {Cut("日本語", 5), "日本…"}, {Cut("x", 0), ""},
		{CutFront("api.example.evil", 6), "….evil"}, {CutFront("abc", 3), "abc"}, {CutFront("x", 0), ""},
		{CutMiddle("abcdefgh", 5), "ab…gh"}, {CutMiddle("日本語日本語", 7), "日…本語"}, {CutMiddle("abc", 3), "abc"}, {CutMiddle("abc", 1), ""}, {CutMiddle("abc", 0), ""},
		{Fit("日本語", 4), "日… "}, {Fit("a", 3), "a  "},
		{strings.Join(Wrap("one two three", 7), "|"), "one two|three"}, {strings.Join(Wrap("abcdefgh", 3), "|"), "abc|def|gh"},
		{strings.Join(Wrap("one two-three", 9), "|"), "one|two-three"}, {strings.Join(Wrap("a-b-c-d-e", 4), "|"), "a-b-|c-d-|e"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Whatever comes, text is valid, on one line, and no wider than it is cut to.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "\x1b]0;x\x07", "👩‍👩‍👧‍👦🏳️‍🌈", "각", "a\u0301\u0301\u0301", "\u202e\ufeff"} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, s string, width int) {
		text := Text(s)
		width %= 200
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\t\x1b\u009b\u202e\u200b") || Text(text) != text {
			t.Errorf("%q → %q", s, text)
		}
		for _, cut := range []string{Cut(text, width), CutFront(text, width), CutMiddle(text, width), Fit(text, width)} {
			if Width(cut) > max(0, width) {
				t.Errorf("%q at %d → %q, %d wide", text, width, cut, Width(cut))
			}
		}
	})
}
