package terminal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hostile is output that has reached beyond the screen of some terminal.
var hostile = map[string]string{
	"the clipboard is set":              "\x1b]52;c;ZWNobyBoaQ==\x07",
	"the clipboard is read":             "\x1b]52;c;?\x1b\\",
	"the title is set":                  "\x1b]0;bot-bottle: approve?\x07",
	"the icon's name is set":            "\x1b]1;x\x07",
	"the title is typed back":           "\x1b]2;;rm -rf ~;\x07\x1b[21t",
	"the window is moved":               "\x1b[3;0;0t",
	"the title is pushed and popped":    "\x1b[22;0t\x1b[23;0t",
	"the terminal's kind is asked":      "\x1b[c\x1b[>c\x1b[=c\x1bZ\x1b[>q\x05",
	"the cursor's place is asked":       "\x1b[6n\x1b[?6n\x1b[5n",
	"modes are asked":                   "\x1b[?2026$p\x1b[4$p\x1b[?u",
	"settings are asked":                "\x1bP$qm\x1b\\",
	"capabilities are asked":            "\x1bP+q544e\x1b\\",
	"colours are asked":                 "\x1b]4;1;?\x07\x1b]10;?\x07\x1b]11;?\x1b\\",
	"the palette is changed":            "\x1b]4;1;rgb:00/00/00\x07\x1b]11;#000000\x07\x1b]104\x07",
	"the screen's checksum is asked":    "\x1b[1;1;1;1;2;2*y",
	"the terminal's files are read":     "\x1b_Gt=f,a=T;L2V0Yy9wYXNzd2Q=\x1b\\",
	"an image is shown":                 "\x1b_Ga=T,f=24;AAAA\x1b\\\x1bPq#0~\x1b\\",
	"a file is put on the disk":         "\x1b]1337;File=name=eA==:AAAA\x07",
	"iTerm's variables are set":         "\x1b]1337;SetUserVar=a=b\x07\x1b]1337;RequestAttention=yes\x07",
	"the desktop notifies":              "\x1b]9;approve?\x07\x1b]777;notify;a;b\x07\x1b]99;;x\x1b\\",
	"the directory is reported":         "\x1b]7;file:///etc\x07",
	"a privacy message":                 "\x1b^x\x1b\\",
	"a start of string":                 "\x1bXx\x1b\\",
	"8-bit controls":                    "\x9b6n\x9d52;c;AAAA\x9c\x90$qm\x9c",
	"8-bit controls, encoded":           "\xc2\x9b6n\xc2\x9d52;c;AAAA\xc2\x9c",
	"a string that does not end":        "\x1b]52;c;AAAA",
	"a string within a string":          "\x1b]0;\x1b]52;c;AAAA\x07\x1b\\",
	"a string cut by another escape":    "\x1b]0;x\x1b[6n\x07",
	"a sequence with a control in it":   "\x1b[\x076\x08n",
	"a sequence with a C1 in it":        "\x1b[6\x9bn",
	"a sequence too long":               "\x1b[" + strings.Repeat("1;", 400) + "6n",
	"an escape within an escape":        "\x1b\x1b[6n\x1b[\x1b[c",
	"the scrollback is erased":          "\x1b[3J",
	"the printer":                       "\x1b[5i\x1b[4i\x1b[?5i",
	"the keyboard is locked":            "\x1b[2h\x1b[12h",
	"reports without a question":        "\x1b[?2031h\x1b[?2048h\x1b[?9001h",
	"132 columns":                       "\x1b[?3h",
	"saved modes":                       "\x1b[?1049s\x1b[?1049r",
	"function keys are programmed":      "\x1bP0;1|17/726d\x1b\\",
	"status and host writable lines":    "\x1b[1$}\x1b[2$~",
	"the mouse is highlighted":          "\x1b[1;2;3;4;5T",
	"resources of xterm":                "\x1b[>2;3m\x1b[>1p\x1b[>0t",
	"a link to a file":                  "\x1b]8;;file:///etc/passwd\x07x\x1b]8;;\x07",
	"a link to a handler":               "\x1b]8;;vscode://x\x07x\x1b]8;;\x07",
	"text that runs backwards":          "\u202eevil\u202c\u2066x\u2069",
	"a full reset":                      "\x1bc",
	"the character set of the terminal": "\x1b%@\x1b%G\x1bn\x1b|",
	"a conversation with a multiplexer": "\x1bPtmux;\x1b\x1b]52;c;AAAA\x07\x1b\\\x1bkname\x1b\\",
}

func mustBeHarmless(t *testing.T, in, out []byte) {
	t.Helper()
	if does := Beyond(out); does != "" {
		t.Errorf("%q: got %q: %s", in, out, does)
	}
	s := NewScreen(80, 24, func(answer []byte) { t.Errorf("%q: the terminal answers %q", in, answer) })
	_, _ = s.Write(out)
}

// All that is hostile is seen by who judges the filter, and what draws is not.
func TestBeyondTellsHarm(t *testing.T) {
	for name, in := range hostile {
		if Beyond([]byte(in)) == "" {
			t.Errorf("%s: nothing is said of %q", name, in)
		}
	}
	for _, in := range []string{"text, ünïcödé\r\n", "\x1b[1;31mx\x1b[m\x1b[J\x1b[?1049h\x1b[?25l", "\x1b]8;;https://a.example\x1b\\x\x1b]8; ;\x1b\\", string(NewFilter().Leave())} {
		if does := Beyond([]byte(in)); does != "" {
			t.Errorf("%q: %s", in, does)
		}
	}
}

// Each state that an agent may leave a terminal in is seen, and leaving undoes it.
func TestLeavingLeavesNothingOdd(t *testing.T) {
	for _, in := range []string{"\x1b[?1049h", "\x1b[?25l", "\x1b[?7l", "\x1b[?1000;1006h", "\x1b[?2004h", "\x1b[4h", "\x1b[31;7m", "\x1b[2;3r", "\x1b(0", "\x0e", "\x1b[>1u\x1b[>3u\x1b[<1u", "\x1b]8;;https://a.example\x1b\\"} {
		f := NewFilter()
		out := bytes.Clone(f.Pass([]byte(in)))
		if Odd(out) == "" {
			t.Errorf("%q: nothing odd is seen", in)
		}
		if odd := Odd(append(out, f.Leave()...)); odd != "" {
			t.Errorf("%q: after leaving, %s", in, odd)
		}
	}
}

// Attack H1: what the agent prints sets the clipboard, is typed back by the operator's
// terminal, names the window, reads files. None of it comes through, however it is cut, and
// what is printed after it does.
func TestAttackH1_OutputReachesTheScreenOnly(t *testing.T) {
	for name, in := range hostile {
		whole := []byte(in + "\x1b\\\x18after")
		want := bytes.Clone(NewFilter().Pass(whole))
		mustBeHarmless(t, whole, want)
		if !bytes.HasSuffix(want, []byte("after")) {
			t.Errorf("%s: what follows is lost: %q", name, want)
		}
		for cut := range whole {
			f := NewFilter()
			got := append(bytes.Clone(f.Pass(whole[:cut])), f.Pass(whole[cut:])...)
			if !bytes.Equal(got, want) {
				t.Errorf("%s: cut at %d: got %q, want %q", name, cut, got, want)
			}
		}
	}
}

// What draws, and what programs need of a terminal, comes through as it is.
func TestDrawingPasses(t *testing.T) {
	for _, in := range []string{
		"plain text, ünïcödé, 漢字, 👩\u200d🚀\r\n\t\b", "\x1b[1;38;2;1;2;3m\x1b[48:5:17mx\x1b[m", "\x1b[4:3m\x1b[58;2;1;2;3mcurly",
		"\x1b[?1049h\x1b[2J\x1b[H\x1b[?25l\x1b[?2004h\x1b[?1000h\x1b[?1006h\x1b[?1004h", "\x1b[3;10r\x1b[5;5H\x1bM\x1b[2L\x1b[K\x1b7\x1b8",
		"\x1b]8;id=1;https://example.com/a?b\x1b\\link\x1b]8;;\x1b\\", "\x1b(0lqk\x1b(B", "\x1b[>1u\x1b[<1u", "\x1b[>4;2m", "\x1b[2 q", "\x1b[?2026hx\x1b[?2026l", "\x1b[4hx\x1b[4l",
	} {
		if got := string(NewFilter().Pass([]byte(in))); got != in {
			t.Errorf("got %q, want %q", got, in)
		}
	}
	if got := string(NewFilter().Pass([]byte("\x1b[?1000;1006h"))); got != "\x1b[?1000h\x1b[?1006h" {
		t.Errorf("several modes: got %q", got)
	}
}

// What is allowed passes, and it alone; nothing can be read back through it.
func TestAllowed(t *testing.T) {
	for what, in := range map[Allow]string{
		Clipboard: "\x1b]52;c;ZWNobyBoaQ==\x1b\\", Title: "\x1b]2;a title\x1b\\", Notifications: "\x1b]9;done\x1b\\", Colours: "\x1b]11;#000000\x1b\\",
		Directory: "\x1b]7;file:///workspace\x1b\\", Images: "\x1bP0;1q#0~\x1b\\\x1b_Ga=T,q=2,f=24;AAAA\x1b\\\x1b]1337;File=inline=1:AAAA\x1b\\", Scrollback: "\x1b[3J", Answers: "\x1b[c\x1b[6n\x1b[?u",
	} {
		for _, allow := range Allowed() {
			want := ""
			if allow == what {
				want = in
			}
			if got := string(NewFilter(allow).Pass([]byte(in))); got != want {
				t.Errorf("%s allowed: got %q, want %q", allow, got, want)
			}
		}
	}
	every := NewFilter(Allowed()...)
	for _, in := range []string{"\x1b]52;c;?\x07", "\x1b]11;?\x07", "\x1b[21t", "\x1b_Gt=f,q=2;AAAA\x1b\\", "\x1b_Ga=T;AAAA\x1b\\", "\x1b]1337;File=:AAAA\x07", "\x1bP$qm\x1b\\", "\x1b]2;a\xc2\x9bb\x07"} {
		if got := every.Pass([]byte(in)); len(got) > 0 {
			t.Errorf("%q: got %q", in, got)
		}
	}
	if _, err := ParseAllow("title, everything"); err == nil {
		t.Error("everything was allowed")
	}
	if got, err := ParseAllow("title,clipboard"); err != nil || !slices.Equal(got, []Allow{Title, Clipboard}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Attack H2: the agent draws a box like the operator's own, moves the cursor and the scroll
// region so that the operator's next words land in it, and leaves the colours and the mouse
// on. Leaving ends all of it: what is said next begins a line below all that was drawn.
func TestAttackH2_LeavingEndsWhatTheAgentDrew(t *testing.T) {
	box := "\x1b[2J\x1b[5;5H┌ bot-bottle: approve? [y/N] ┐\x1b[2;3r\x1b[?6h\x1b[8m\x1b(0\x0e\x1b[4h\x1b[?25l\x1b[?7l\x1b[?1003h\x1b[?1006h\x1b[?2004h\x1b[?1004h\x1b[?1h\x1b=\x1b[>3u\x1b[>4;2m\x1b]8;;https://evil.example\x1b\\"
	for name, in := range map[string]string{"main": box, "alternate": "\x1b[?1049h" + box, "alternate, the old way": "\x1b[?47h" + box} {
		s := NewScreen(80, 24, nil)
		_, _ = s.Write([]byte("$ bot-bottle attach x\r\n"))
		f := NewFilter()
		_, _ = s.Write(f.Pass([]byte(in)))
		if s.pen == (Style{}) || len(s.modes) < 4 {
			t.Fatal("the test's own output does nothing")
		}
		_, _ = s.Write(f.Leave())
		row := s.y
		_, _ = s.Write([]byte("bot-bottle: left x running"))
		if got := s.Text()[row]; got != "bot-bottle: left x running" || s.x != len(got) {
			t.Errorf("%s: our words are %q", name, got)
		}
		for y := row + 1; y < 24; y++ {
			if got := s.Text()[y]; got != "" {
				t.Errorf("%s: below our words is %q", name, got)
			}
		}
		if s.pen != (Style{}) || len(s.modes) > 0 || s.keypad || s.hidden || s.insert || s.nowrap || s.origin || s.top != 0 || s.bottom != 24 || s.shift != 0 || s.sets[0] != 'B' || s.modified != 0 || s.alternate != 0 || len(s.keys[0])+len(s.keys[1]) > 0 {
			t.Errorf("%s: the terminal is not as it was: %+v", name, s)
		}
	}
}

// The operator's shell may use kitty's keyboard protocol itself: what it pushed stays.
func TestLeavingPopsOnlyWhatWasPushed(t *testing.T) {
	for _, in := range []string{"\x1b[<9u", "\x1b[=5u", "\x1b[>1u\x1b[>1u\x1b[<9u", strings.Repeat("\x1b[>3u", 30), "\x1b[?1049h\x1b[>1u\x1b[?1049l\x1b[<5u", "\x1b[>1u\x1b[?1049h\x1b[>1u"} {
		s := NewScreen(80, 24, nil)
		_, _ = s.Write([]byte("\x1b[>7u"))
		f := NewFilter()
		_, _ = s.Write(f.Pass([]byte(in)))
		_, _ = s.Write(f.Leave())
		if got := fmt.Sprint(s.keys[0]); got != "[7]" {
			t.Errorf("%q: got %s", in, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in), uint(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint) {
		want := bytes.Clone(NewFilter().Pass(in))
		mustBeHarmless(t, in, want)
		if len(in) == 0 {
			return
		}
		at := int(cut % uint(len(in)))
		filter := NewFilter()
		if got := append(bytes.Clone(filter.Pass(in[:at])), filter.Pass(in[at:])...); !bytes.Equal(got, want) {
			t.Errorf("cut at %d: got %q, want %q", at, got, want)
		}
		s := NewScreen(20, 10, nil)
		_, _ = s.Write(append(want, filter.Leave()...))
		if s.alternate != 0 || len(s.modes) > 0 || s.hidden || s.pen.plain() != (Style{}) {
			t.Errorf("%q: not left as it was", in)
		}
	})
}

// What was allowed to reach beyond the screen is undone as well, and what was not touched is not.
func TestLeavingUndoesWhatWasAllowed(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want string
	}{
		"the title":     {"\x1b]2;build\x07", "\x1b]2;\x1b\\"},
		"a colour":      {"\x1b]11;#ffffff\x07", "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\"},
		"the clipboard": {"\x1b]52;c;AAAA\x07", ""},
	} {
		f := NewFilter(Title, Colours, Clipboard)
		if len(f.Pass([]byte(c.in))) == 0 {
			t.Fatalf("%s: the test's own output does nothing", name)
		}
		left := string(f.Leave())
		for _, undo := range []string{"\x1b]2;\x1b\\", "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\"} {
			if strings.Contains(left, undo) != (undo == c.want) {
				t.Errorf("%s: left with %q", name, left)
			}
		}
		if again := f.Leave(); len(again) > 0 {
			t.Errorf("%s: left twice with %q", name, again)
		}
	}
}

// Each way to track the mouse is undone by a reset of its own: terminals differ in whether
// another's does it.
func TestLeavingResetsEachMode(t *testing.T) {
	f := NewFilter()
	f.Pass([]byte("x"))
	left := string(f.Leave())
	for _, mode := range modes {
		switch mode {
		case 6, 7, 25, 47, 1047, 1048, 1049: // undone where they were set, or set again
			continue
		}
		if !strings.Contains(left, fmt.Sprintf("\x1b[?%dl", mode)) {
			t.Errorf("mode %d stays", mode)
		}
	}
}
