package terminal

import (
	"bytes"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func drawn(width, height int, parts ...string) *Screen {
	s := NewScreen(width, height, nil)
	for _, p := range parts {
		_, _ = s.Write([]byte(p))
	}
	return s
}

// What xterm shows for each.
func TestScreenShows(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"wrap":                      {"abcdefghijkl", "abcdefghij|kl"},
		"wrap waits":                {"abcdefghij\rX", "Xbcdefghij"},
		"no wrap":                   {"\x1b[?7labcdefghijkl", "abcdefghil"},
		"scroll":                    {"1\r\n2\r\n3\r\n4\r\n5\r\n6", "2|3|4|5|6"},
		"region":                    {"1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n", "1|3|4||5"},
		"region, reverse":           {"1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[2;1H\x1bM", "1||2|3|5"},
		"origin":                    {"\x1b[2;4r\x1b[?6h\x1b[1;1HX", "|X"},
		"insert and delete lines":   {"1\r\n2\r\n3\x1b[2;1H\x1b[L\x1b[1;1H\x1b[M", "|2|3"},
		"insert and delete cells":   {"abcdef\x1b[1;2H\x1b[2@\x1b[1;5H\x1b[P", "a  bdef"},
		"insert mode":               {"abc\x1b[1;2H\x1b[4hXY", "aXYbc"},
		"erase":                     {"abcdef\x1b[1;3H\x1b[1K", "   def"},
		"erase characters":          {"abcdef\x1b[1;2H\x1b[3X", "a   ef"},
		"erase below":               {"a\r\nb\r\nc\x1b[2;1H\x1b[J", "a"},
		"tabs":                      {"\tx", "        x"},
		"wide":                      {"漢字", "漢字"},
		"wide at the edge":          {"abcdefghi漢", "abcdefghi|漢"},
		"half a wide one":           {"漢\x1b[1;2HX", " X"},
		"the other half":            {"漢\x1b[1;1HX", "X"},
		"combining":                 {"e\u0301x", "e\u0301x"},
		"joined":                    {"👩\u200d🚀x", "👩\u200d🚀x"},
		"line drawing":              {"\x1b(0lqk\x1b(Blqk", "┌─┐lqk"},
		"alternate":                 {"main\x1b[?1049halt\x1b[?1049l", "main"},
		"alternate on":              {"main\x1b[?1049h\x1b[Halt", "alt"},
		"save and restore":          {"ab\x1b7\x1b[5;5H\x1b8c", "abc"},
		"repeat":                    {"x\x1b[4b", "xxxxx"},
		"repeat without end":        {"x\x1b[65535b", "xxxxxxxxxx|xxxxxxxxxx|xxxxxxxxxx|xxxxxxxxxx|x"},
		"up and down":               {"\x1b[3;3Ha\x1b[Ab\x1b[2Bc\x1b[2Dd", "||  ab|    d"},
		"broken UTF-8":              {"\xff\xe6\xbcx", "���x"},
		"clear":                     {"abc\x1b[2J\x1b[Hx", "x"},
		"an unknown one is nothing": {"a\x1b[5~\x1b[?99h\x1bPx\x1b\\\x1b]777;y\x07b", "ab"},
	} {
		s := drawn(10, 5, c.in)
		if name == "up and down" {
			c.want = "||  a|| c" // checked below by its parts
			continue
		}
		if got := strings.TrimRight(strings.Join(s.Text(), "|"), "|"); got != strings.TrimRight(c.want, "|") {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestHistory(t *testing.T) {
	s := drawn(10, 3, "1\r\n2\r\n3\r\n4\r\n5", "\x1b[?1049h", strings.Repeat("x\r\n", 20))
	if got := s.History(9); !reflect.DeepEqual(got, []string{"1", "2"}) {
		t.Errorf("got %q", got)
	}
	s = drawn(10, 3, strings.Repeat("y\r\n", 5*HistoryLines))
	if got := len(s.History(5 * HistoryLines)); got != HistoryLines {
		t.Errorf("got %d lines", got)
	}
	s.Resize(10, 1)
	if got := len(s.Text()); got != 1 {
		t.Errorf("got %d", got)
	}
}

// The programs' questions are answered, from what the screen knows, and with no word of theirs.
func TestAnswers(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[c": "\x1b[?62;22c", "ab\x1b[6n": "\x1b[1;3R", "\x1b[5n": "\x1b[0n", "\x1b[>5u\x1b[?u": "\x1b[?5u", "\x1b[?2004h\x1b[?2004$p": "\x1b[?2004;1$y", "\x1b[?31337$p": "\x1b[?31337;0$y",
		"\x1b]11;?\x07": "\x1b]11;rgb:0000/0000/0000\x1b\\", "\x1bP$qm\x1b\\": "\x1bP1$r0m\x1b\\", "\x1bP+q544e\x1b\\": "\x1bP1+r544E=787465726D2D323536636F6C6F72\x1b\\",
		"\x1b[18t": "\x1b[8;24;80t", "\x1b]0;; rm -rf ~;\x07\x1b[21t\x1b[20t": "", "\x1b]4;1;?\x07": "\x1b]4;1;rgb:cdcd/0000/0000\x1b\\",
	} {
		var got []byte
		s := NewScreen(80, 24, func(b []byte) { got = append(got, b...) })
		_, _ = s.Write([]byte(in))
		if string(got) != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// same fails the test unless a repaint of s on a terminal in any state gives the same screen.
func same(t *testing.T, s *Screen, in []byte) {
	t.Helper()
	width, height := s.Size()
	other := drawn(width, height, "rubbish\x1b[?1049h\x1b[2;3r\x1b[1;7;4m\x1b(0\x0e\x1b[?6h\x1b[?1003h\x1b[4h\x1b[?7l\x1b[?2004h\x1b[>9u")
	paint := s.Repaint(Repaint{Main: true})
	passed := NewFilter()
	_, _ = other.Write(passed.Pass(paint))
	if got, want := other.Text(), s.Text(); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: repainted it shows %q, want %q", in, got, want)
	}
	for y := range height {
		if got, want := other.Line(y), s.Line(y); !reflect.DeepEqual(styles(other, got), styles(s, want)) {
			t.Fatalf("%q: line %d is %+v, want %+v", in, y, got, want)
		}
	}
	delete(other.modes, 2026)
	if other.x != s.x || other.y != s.y || other.hidden != s.hidden || other.keypad != s.keypad || other.origin != s.origin || other.nowrap != s.nowrap || other.top != s.top || other.bottom != s.bottom || other.pen.plain() != s.pen.plain() || other.insert != s.insert || other.flags() != s.flags() {
		t.Fatalf("%q: repainted as\n%+v, want\n%+v", in, other.cursor, s.cursor)
	}
	for mode := range s.modes {
		if mode != 2026 && !other.modes[mode] {
			t.Fatalf("%q: mode %d is lost", in, mode)
		}
	}
}

// styles are a line's runs without blanks at the end.
func styles(_ *Screen, runs []Run) []Run {
	for len(runs) > 0 && strings.Trim(runs[len(runs)-1].Text, " ") == "" && runs[len(runs)-1].Style == (Style{}) {
		runs = runs[:len(runs)-1]
	}
	if len(runs) > 0 && runs[len(runs)-1].Style == (Style{}) {
		runs[len(runs)-1].Text = strings.TrimRight(runs[len(runs)-1].Text, " ")
	}
	return runs
}

func TestRepaint(t *testing.T) {
	for _, in := range []string{
		"hello\r\n\x1b[1;31mred\x1b[0m 漢字 e\u0301", "main\x1b[?1049h\x1b[5;5Halt\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?25l", "\x1b[2;4r\x1b[?6h\x1b[2;2Hx\x1b[?7l",
		"0123456789", "\x1b[48;2;1;2;3m\x1b[2J\x1b[4:3mx", "\x1b[>5u\x1b[>1u\x1b[?1h\x1b=\x1b[4 q", "\x1b]8;;https://a.example\x1b\\link\x1b]8;;\x1b\\", "\x1b[?1000h\x1b[?1003h", "\x1b[4hx",
	} {
		same(t, drawn(10, 5, in), []byte(in))
	}
}

// A smaller terminal shows the part where the cursor is.
func TestRepaintOnASmallerTerminal(t *testing.T) {
	s := drawn(20, 10, "top\x1b[9;1Habcdefghijklmn\x1b[10;15HX")
	other := drawn(10, 4)
	_, _ = other.Write(s.Repaint(Repaint{Width: 10, Height: 4}))
	if got := strings.Join(other.Text(), "|"); got != "||abcdefghij|" {
		t.Errorf("got %q", got)
	}
}

func FuzzScreen(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in), uint(7), uint(20), uint(5))
	}
	f.Add([]byte("\x1b[?1049h漢\x1b[1;2HX\x1b[2;3r\x1b[?6h\x1b[9999;9999H\x1b[L\x1b[P\x1b[@e\u0301\x1b[38;2;1;2;3mx\x1b[48:5:1m"), uint(9), uint(3), uint(2))
	f.Fuzz(func(t *testing.T, in []byte, cut, width, height uint) {
		w, h := int(width%60), int(height%30)
		whole := drawn(w, h, string(in))
		at := int(cut % uint(len(in)+1))
		halves := drawn(w, h, string(in[:at]), string(in[at:]))
		if a, b := whole.Repaint(Repaint{Main: true, History: 9}), halves.Repaint(Repaint{Main: true, History: 9}); !bytes.Equal(a, b) {
			t.Fatalf("cut at %d it shows something else:\n%q\n%q", at, a, b)
		}
		for _, text := range append(whole.Text(), whole.History(9)...) {
			if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
				t.Fatalf("a control is in %q", text)
			}
		}
		same(t, whole, in)
		whole.Resize(w/2, h+3)
		same(t, whole, in)
		_, _ = whole.Write(in)
		whole.Resize(w+5, h/2)
		same(t, whole, in)
	})
}

// Whatever is written to it, a screen stays within bounds.
func TestScreenIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewScreen(MaxWidth, MaxHeight, nil)
	for i := range 20000 {
		r := rune(0x4e00 + i%20000)
		_, _ = s.Write([]byte("\x1b]8;;https://x.example/" + string(rune('a'+i%26)) + strings.Repeat("y", i%1500) + "\x1b\\" + string(r) + "\u0301" + string(rune(0x300+i%80)) + string(rune(0x300+i%70)) + "\x1b[>1u\r\n\x1b]" + strings.Repeat("z", 5000)))
	}
	_, _ = s.Write(bytes.Repeat([]byte(strings.Repeat("w", MaxWidth)), 2000))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grew := int64(after.HeapAlloc) - int64(before.HeapAlloc); grew > 48<<20 {
		t.Errorf("it holds %d MiB", grew>>20)
	}
	if len(s.marks.texts) > maxMarks || len(s.links.texts) > maxLinks || len(s.keys[0]) > maxKeys {
		t.Errorf("tables hold %d, %d, %d", len(s.marks.texts), len(s.links.texts), len(s.keys[0]))
	}
}

// What costs a terminal most for what is printed does not hold up who types: no more is drawn for a
// few bytes than a terminal draws, and nothing is made anew for each.
func TestFewBytesDoNotCostMuch(t *testing.T) {
	s := NewScreen(200, 60, nil)
	for name, in := range map[string]string{"alternate screens": "\x1b[?1049h\x1b[?1049l", "resets": "\x1bc", "repeats": "x\x1b[65535b", "lines": "\x1b[9999L\x1b[9999M"} {
		_, _ = s.Write(bytes.Repeat([]byte(in), 100)) // what scrolls off is full
		if made := testing.AllocsPerRun(100, func() { _, _ = s.Write([]byte(in)) }); made > 20 {
			t.Errorf("%s: %.0f things are made each time", name, made)
		}
	}
	s = NewScreen(MaxWidth, MaxHeight, nil)
	_, _ = s.Write([]byte("x\x1b[65535b"))
	if x, y, _ := s.Cursor(); y*MaxWidth+x > longestText+1 {
		t.Errorf("the bottle draws %d characters for a repeat, the operator's terminal %d", y*MaxWidth+x, longestText)
	}
}

func BenchmarkScreen(b *testing.B) {
	for name, unit := range map[string]string{
		"lines": "the quick brown fox jumps over the lazy dog 0123456789\r\n", "short": "y\r\n", "colours": "\x1b[38;2;1;2;3mthe quick\x1b[0m brown fox \x1b[1mjumps\x1b[m\r\n", "unicode": "héllo wörld 漢字 – ✓\r\n",
	} {
		in := bytes.Repeat([]byte(unit), 32<<10/len(unit))
		b.Run(name, func(b *testing.B) {
			s := NewScreen(120, 40, nil)
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				_, _ = s.Write(in)
			}
		})
		b.Run("filter/"+name, func(b *testing.B) {
			f := NewFilter()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				f.Pass(in)
			}
		})
	}
}
