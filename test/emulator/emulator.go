// Package emulator is a terminal that tells what was done to it: everything but text on the
// lines below the cursor, which is all that a program like ours has to do with one.
package emulator

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
)

// Screen is an emulated terminal with text on it. It must not be used concurrently.
type Screen struct {
	emulator *vt.Emulator
	harm     []string
	replies  chan []byte
	before   string
}

const width = 100

// New returns a terminal on which somebody has worked. It has so many lines, that what is
// shown may not scroll away.
func New(height int) *Screen {
	s := &Screen{emulator: vt.NewEmulator(width, height), replies: make(chan []byte, 1)}
	noted := func(what string) func(string) {
		return func(text string) { s.note("%s: %q", what, text) }
	}
	s.emulator.SetLogger(logger{s})
	s.emulator.SetCallbacks(vt.Callbacks{
		Bell: func() { s.note("the bell") }, Title: noted("the title"), IconName: noted("the icon's name"), WorkingDirectory: noted("the directory"),
		AltScreen:        func(bool) { s.note("the other screen") },
		CursorVisibility: func(bool) { s.note("the cursor's visibility") },
		CursorStyle:      func(vt.CursorStyle, bool) { s.note("the cursor's style") },
		EnableMode:       func(m ansi.Mode) { s.note("mode %v was set", m) },
		DisableMode:      func(m ansi.Mode) { s.note("mode %v was reset", m) },
	})
	go func() {
		buffer := make([]byte, 4096)
		var all []byte
		for {
			n, err := s.emulator.Read(buffer)
			if all = append(all, buffer[:n]...); err != nil {
				s.replies <- all
				return
			}
		}
	}()
	_, _ = s.emulator.WriteString("$ whoami\r\noperator\r\n")
	s.before = s.row(0) + s.row(1)
	return s
}

type logger struct{ s *Screen }

// Printf implements vt.Logger: it is told of every sequence that the emulator does not know.
func (l logger) Printf(format string, v ...any) { l.s.note(format, v...) }

func (s *Screen) note(format string, args ...any) {
	s.harm = append(s.harm, fmt.Sprintf(format, args...))
}

// Show writes what a program printed, as a terminal gets it: with a return before each new
// line.
func (s *Screen) Show(text string) {
	s.read(text)
	_, _ = s.emulator.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
}

// read notes what other terminals than this one act on (8-bit controls in UTF-8), and what
// harms a reader: characters that cannot be seen, or turn or cover others.
func (s *Screen) read(text string) {
	marks := 0
	for _, r := range text {
		if !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		} else if marks++; marks > 2 {
			s.note("marks without end")
			return
		}
		if r != '\n' && !unicode.IsPrint(r) {
			s.note("%U in the text", r)
		}
	}
	if !utf8.ValidString(text) {
		s.note("what is not UTF-8")
	}
}

// Harm closes the terminal, and returns what was done to it. Lines must be what was shown,
// as it is read: "" if that is not known.
func (s *Screen) Harm(lines string) []string {
	shown := s.text()
	_, _ = s.emulator.WriteString("\r\nthe next prompt\r\n")
	if !strings.HasSuffix(s.text(), "the next prompt") {
		s.note("what comes next is not shown")
	}
	if now := s.row(0) + s.row(1); now != s.before {
		s.note("what was on the screen is %q", now)
	}
	if lines != "" && shown != lines {
		s.note("on the screen is %q, not %q", shown, lines)
	}
	for y := range s.rows() {
		for x := range width {
			if c := s.emulator.CellAt(x, y); c != nil && (!c.Style.IsZero() || !c.Link.IsZero()) {
				s.note("a colour or a link at %d, %d", x, y)
				break
			} else if c != nil && len([]rune(c.Content)) > 6 {
				s.note("%d characters in one cell", len([]rune(c.Content)))
			}
		}
	}
	if input, ok := s.emulator.InputPipe().(io.Closer); ok { // its own Close races with our Read
		_ = input.Close()
	}
	if replies := <-s.replies; len(replies) > 0 {
		s.note("the terminal typed %q", replies)
	}
	return s.harm
}

// rows are those that anything may be on.
func (s *Screen) rows() int { return min(s.emulator.Height(), s.emulator.CursorPosition().Y+60) }

func (s *Screen) row(y int) string {
	var b strings.Builder
	for x := range width {
		if c := s.emulator.CellAt(x, y); c != nil {
			b.WriteString(c.Content)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// text is what stands below what was there, line by line.
func (s *Screen) text() string {
	var b strings.Builder
	for y := 2; y < s.rows(); y++ {
		b.WriteString(s.row(y) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// Hostile is what an agent would like a terminal to see, by what it is after.
func Hostile() map[string]string {
	return map[string]string{
		"clipboard":             "\x1b]52;c;cm0gLXJmIH4=\x07",
		"title":                 "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
		"directory":             "\x1b]7;file://evil/\x07",
		"link":                  "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
		"palette":               "\x1b]4;1;#ffffff\x07\x1b]10;#000000\x07\x1b]11;#000000\x07",
		"DCS":                   "\x1bP+q544e\x1b\\\x1bP1$r0m\x1b\\",
		"APC":                   "\x1b_Gf=100,a=T;AAAA\x1b\\",
		"PM and SOS":            "\x1b^private\x1b\\\x1bXstart\x1b\\",
		"cursor":                "\x1b[1;1H\x1b[10A\x1b[2J\x1b[3J\x1b[K",
		"scroll":                "\x1b[2;3r\x1b[5S\x1b[5T\x1bM\x1bD\x1b[5L\x1b[5M",
		"reset":                 "\x1bc\x1b[!p",
		"colour":                "\x1b[31;40;8mred\x1b[7m",
		"8-bit C1":              "\u009b2J\u009d0;owned\u009c\u0090x\u009c\u0085",
		"raw 8-bit C1":          "\x9b2J\x9d0;owned\x9c\x90x\x9c",
		"unterminated OSC":      "\x1b]0;everything that follows is a title",
		"unterminated DCS":      "\x1bPeverything that follows is gone",
		"reports":               "\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b[=c\x1b[?6n\x1b[21t\x1b[18t\x05",
		"modes":                 "\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[?1049h\x1b[4h\x1b[20h\x1b=",
		"character sets":        "\x0e\x0f\x1b(0\x1b)0\x1bN",
		"keys":                  "\x1bP1;1|17/72\x1b\\\x1b[>4;1m",
		"printer":               "\x1b[5i\x1b[4i",
		"bell":                  "\a\a\a",
		"return":                "harmless\rovertyped",
		"backspace":             "harmless\b\b\b\b\b\b\b\bevil",
		"new lines":             "x\n\v\f\u0085\u2028\u2029k7x2m4-9  granted",
		"bidi":                  "\u202eevil\u202c\u2066a\u2069\u200f\u061c",
		"zero width":            "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh",
		"tags":                  "x\U000e0041\U000e007f\ufe0f\U000e0100",
		"combining":             "e" + strings.Repeat("\u0301", 60) + "a" + strings.Repeat("\u20dd", 60),
		"long":                  strings.Repeat("A", 600),
		"wide":                  strings.Repeat("㊙", 200),
		"spaces":                "approve" + strings.Repeat("\u00a0\u3000\u2003 ", 40) + "evil",
		"NUL and DEL":           "a\x00b\x7fc",
		"not UTF-8":             "\xff\xfe\xc0\x80\xed\xa0\x80\xf5",
		"a box":                 "\n  decide   bot-bottle approve k7x2m4-1\n\nGrant it, for good? [y/N] y\n",
		"all of it at one time": "\x1b]52;c;eA==\x07\x1b[2J\x1b[6n\x1bc\u009b31m\n  risk     none\r\u202eevil\u200b\U000e0041\x00\x1b]0;",
	}
}
