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
