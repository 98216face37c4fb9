package terminal

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// paragraphs are what was written as lines, on the screen and above it, without blanks at their
// ends and at the end of all.
func paragraphs(s *Screen) []string {
	var all []string
	wrapped := false
	for _, l := range append(s.history.last(HistoryLines), s.lines[0]...) {
		text := ""
		for _, c := range l.cells[:l.used] {
			text = string(s.cellText([]byte(text), c))
		}
		if wrapped {
			all[len(all)-1] += text
		} else {
			all = append(all, text)
		}
		wrapped = l.wraps
	}
	for i := range all {
		all[i] = strings.TrimRight(all[i], " ")
	}
	for len(all) > 0 && all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

func (s *Screen) shows() string { return strings.TrimRight(strings.Join(s.Text(), "|"), "|") }

// A line that had no room is wrapped anew, in both directions, wherever the cursor is in it.
func TestResizeWrapsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		in            string
		width, height int
		want          string
		x, y          int
	}{
		"narrower":             {"abcdefghijkl\r\nmn", 4, 5, "abcd|efgh|ijkl|mn", 2, 3},
		"wider":                {"abcdefghijkl\r\nmn", 20, 5, "abcdefghijkl|mn", 2, 1},
		"wider, in the middle": {"abcdefghijkl\x1b[2;1H", 20, 5, "abcdefghijkl", 10, 0},
		"a line of its own":    {"abcdefghij\r\nkl", 20, 5, "abcdefghij|kl", 2, 1},
		"about to wrap":        {"abcdefghij", 20, 5, "abcdefghij", 10, 0},
		"about to wrap again":  {"abcdefghij", 5, 5, "abcde|fghij", 4, 1},
		"wide characters":      {"漢字漢字漢字", 5, 5, "漢字|漢字|漢字", 4, 2},
		"an end that is gone":  {"abcdefghijkl\x1b[1;5H\x1b[K", 20, 5, "abcd|kl", 4, 0},
		"a coloured bar":       {"\x1b[44mbar\x1b[K\x1b[0m\r\nx", 5, 5, "bar|x", 1, 1},
		"lower":                {"1\r\n2\r\n3\r\n4\r\n5", 10, 2, "4|5", 1, 1},
		"higher":               {"0\r\n1\r\n2\r\n3\r\n4\r\n5", 10, 9, "0|1|2|3|4|5", 1, 5},
		"higher, half empty":   {"0\r\n1\r\n2\r\n3\r\n4\r\n5\x1b[H\x1b[2Jx", 10, 9, "x", 1, 0},
		"below the cursor":     {"1\r\n2\r\n3\r\n4\r\n5\x1b[3;1H", 10, 4, "2|3|4|5", 0, 1},
		"the cursor stays":     {"1\r\n2\r\n3\r\n4\r\n5\x1b[1;1H", 10, 2, "1|2", 0, 0},
		"behind the end":       {"ab\x1b[1;9H", 4, 5, "ab", 3, 0},
		"of the alternate one": {"abcdefghijkl\x1b[?1049habcdefghijkl\x1b[?1049l", 6, 5, "abcdef|ghijkl", 5, 1},
		"drawn over":           {"abcdefghijkl\x1b[1;1H\x1b[2K\x1b[2;1H\x1b[2K\x1b[1;1Hx\r\ny", 20, 5, "x|y", 1, 1},
	} {
		s := drawn(10, 5, c.in)
		s.Resize(c.width, c.height)
		if x, y, _ := s.Cursor(); s.shows() != c.want || x != c.x || y != c.y {
			t.Errorf("%s: got %q with the cursor at %d,%d, want %q at %d,%d", name, s.shows(), x, y, c.want, c.x, c.y)
		}
		same(t, s, []byte(c.in))
	}
}

// What has no room scrolls off, is wrapped anew there as well, and comes back.
func TestResizeKeepsWhatScrollsOff(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "line %d has %s\r\n", i, strings.Repeat("word ", i%17))
	}
	s := drawn(60, 10, text.String(), "$ ")
	want, before := paragraphs(s), s.Text()
	for _, size := range [][2]int{{20, 10}, {7, 4}, {100, 30}, {33, 1}, {60, 10}} {
		s.Resize(size[0], size[1])
		if got := paragraphs(s); !reflect.DeepEqual(got, want) {
			t.Fatalf("at %v: got %q, want %q", size, got, want)
		}
	}
	if got := s.Text(); !reflect.DeepEqual(got, before) {
		t.Errorf("back at its size it shows %q, not %q", got, before)
	}
	if _, _ = s.Write([]byte("ls")); !strings.HasSuffix(s.shows(), "|$ ls") {
		t.Errorf("what is typed now stands elsewhere: %q", s.shows())
	}
}

// An alternate screen that is on leaves the main one as one that is not.
func TestResizeBehindAnAlternateScreen(t *testing.T) {
	s := drawn(10, 5, "abcdefghijkl\r\n$ vi\x1b[?1049h\x1b[Hfull screen")
	s.Resize(20, 5)
	if s.shows() != "full scree|n" {
		t.Errorf("the alternate one shows %q", s.shows())
	}
	if _, _ = s.Write([]byte("\x1b[?1049lx")); s.shows() != "abcdefghijkl|$ vix" {
		t.Errorf("the main one shows %q", s.shows())
	}
}

// The main screen's own cursor says how much of it is kept, not that of the alternate one.
func TestResizeBehindAnAlternateScreenKeepsTheMainOne(t *testing.T) {
	s := drawn(10, 5, "1\r\n2\r\n3\x1b[?1049h\x1b[5;1Hx")
	s.Resize(10, 3)
	if _, _ = s.Write([]byte("\x1b[?1049ly")); s.shows() != "1|2|3y" {
		t.Errorf("the main one shows %q", s.shows())
	}
}

// A cursor that was about to wrap still is, where the line is full again.
func TestResizeAboutToWrap(t *testing.T) {
	s := drawn(10, 5, "abcdefghij")
	s.Resize(5, 5)
	if _, _ = s.Write([]byte("k")); s.shows() != "abcde|fghij|k" {
		t.Errorf("got %q", s.shows())
	}
}

// The terminal that a screen is drawn on anew knows of it what wraps, and can wrap it anew itself.
func TestRepaintTellsWhatWraps(t *testing.T) {
	s := drawn(10, 3, "abcdefghijkl\r\nmnopqrstuvwxyz\r\n1234567890123")
	other := drawn(10, 3)
	_, _ = other.Write(NewFilter().Pass(s.Repaint(Repaint{Main: true, History: 9})))
	other.Resize(30, 3)
	if got := strings.Join(append(other.History(9), other.Text()...), "|"); got != "abcdefghijkl|mnopqrstuv|wxyz|1234567890123" {
		t.Errorf("got %q", got)
	}
}

// Whatever was drawn, and however the size changes, nothing is lost of what was written as lines,
// the cursor is on the screen, and the screen is what a repaint of it is.
func FuzzResize(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in), uint16(0x0a05), uint16(0x1403), uint16(0x0309))
	}
	f.Add([]byte("漢字 abc\r\n\x1b[44mx\x1b[K\r\ne\u0301\x1b[1;9H漢\x1b7\x1b[?1049hx\x1b[3;1H"), uint16(0x0a05), uint16(0x0302), uint16(0x2010))
	f.Add([]byte(strings.Repeat("0123456789", 30)+"\x1b[2;3H\x1b[K\x1b[P\x1b[@x\x1b[L\x1b[M"), uint16(0x0705), uint16(0x0302), uint16(0x2010))
	f.Fuzz(func(t *testing.T, in []byte, first, second, third uint16) {
		s := NewScreen(int(first>>8)%70, int(first)%30, nil)
		_, _ = s.Write(in)
		for _, size := range []uint16{second, third, first, 0xffff, second} {
			s.Resize(int(size>>8)%70, int(size)%30)
			width, height := s.Size()
			if s.x < 0 || s.x >= width || s.y < 0 || s.y >= height || len(s.lines[0]) != height || len(s.lines[1]) != height || len(s.history.lines) > HistoryLines {
				t.Fatalf("%q: %d×%d: the cursor is at %d,%d, of %d lines", in, width, height, s.x, s.y, len(s.lines[0]))
			}
			for _, l := range append(s.history.last(HistoryLines), append(s.lines[0], s.lines[1]...)...) {
				if len(l.cells) != width || l.used > width {
					t.Fatalf("%q: a line of %d, %d used, on a screen of %d", in, len(l.cells), l.used, width)
				}
				for x, c := range l.cells {
					if c.Style.Attr&wide != 0 && (x+1 == width || l.cells[x+1].Style.Attr&half == 0) || x >= l.used && c != (Cell{}) {
						t.Fatalf("%q: cell %d of %d is %+v, %d used", in, x, width, c, l.used)
					}
				}
			}
			same(t, s, in)
		}
	})
}

// FuzzResizeKeeps: text that nothing was drawn over is the same text in every size.
func FuzzResizeKeeps(f *testing.F) {
	f.Add("some words\nthat are 漢字 in lines\n\n\nof every length, and some that have no room at all", uint16(0x0a05), uint16(0x1403))
	f.Fuzz(func(t *testing.T, text string, first, second uint16) {
		clean := strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\n' || r == 0x7f {
				return -1
			}
			return r
		}, text)
		if len(clean) > HistoryLines {
			return
		}
		s := NewScreen(int(first>>8)%70, int(first)%30, nil)
		_, _ = s.Write([]byte(strings.ReplaceAll(clean, "\n", "\r\n")))
		want := paragraphs(s)
		for _, size := range []uint16{second, first, 0xffff, second, 0x0202} {
			s.Resize(int(size>>8)%70, int(size)%30)
			if got := paragraphs(s); !reflect.DeepEqual(got, want) {
				t.Fatalf("%q at %x: got %q, want %q", text, size, got, want)
			}
		}
	})
}
