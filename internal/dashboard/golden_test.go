package dashboard

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden screens anew")

// golden compares the screen with the one on file: its text, or with its colours, too.
func (b *board) golden(name string, coloured bool) {
	b.t.Helper()
	content := b.View().Content
	for i, line := range strings.Split(content, "\n") {
		if w := ansi.StringWidth(line); w != b.width {
			b.t.Errorf("%s: line %d is %d wide, not %d: %q", name, i, w, b.width, ansi.Strip(line))
		}
	}
	if lines := strings.Count(content, "\n") + 1; lines != b.height {
		b.t.Errorf("%s: %d lines, not %d", name, lines, b.height)
	}
	got := ansi.Strip(content)
	if coloured {
		got = strings.ReplaceAll(content, "\x1b", "␛")
	}
	var trimmed []string
	for line := range strings.SplitSeq(got, "\n") {
		trimmed = append(trimmed, strings.TrimRight(line, " "))
	}
	got = strings.Join(trimmed, "\n") + "\n"
	file := filepath.Join("testdata", name+".screen")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		b.t.Errorf("%s (-want +got, -update writes it anew):\n%s", file, diff)
	}
}

// TestMain has times shown as they are in the golden screens: $TZ is read once, and by whatever test comes first.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// Every pane, on the smallest usual terminal and on a large one, at work.
func TestGoldenScreens(t *testing.T) {
	for _, size := range []struct {
		name          string
		width, height int
	}{{"80x24", 80, 24}, {"120x40", 120, 40}} {
		b := newBoard(t, office(t), size.width, size.height)
		b.busy()
		b.golden("agents-"+size.name, false)
		b.press("2")
		b.golden("requests-"+size.name, false)
		b.press("a")
		b.golden("approve-"+size.name, false)
		b.press("esc", "down", "a")
		b.golden("answer-"+size.name, false)
		b.press("esc", "3")
		b.golden("traffic-"+size.name, false)
		b.press("b", "g", "a")
		b.golden("allow-"+size.name, false)
		b.press("esc", "b", "4")
		b.golden("git-"+size.name, false)
		b.press("d")
		b.golden("diff-"+size.name, false)
		b.press("esc", "1")
		for b.chosen != "docs-writer-p3q7aa" {
			b.press("down")
		}
		b.press("5")
		b.golden("preview-"+size.name, false)
		b.press("?")
		b.golden("help-"+size.name, false)
	}
}

// Before anything is known, with nothing to show, and when nothing answers.
func TestGoldenEmpty(t *testing.T) {
	b := newBoard(t, &fake{}, 80, 24)
	b.golden("none-80x24", false)
	b.looked = false
	b.golden("looking-80x24", false)
	b = newBoard(t, office(t), 80, 24)
	b.busy()
	b.send(batch{listed{err: errOf("the engine does not answer")}, desked{identity: "reviewer-a2b3c4", err: errOf("the bundle is gone")}})
	b.golden("stale-80x24", false)
}

type errOf string

func (e errOf) Error() string { return string(e) }

// In light and in dark: colours differ, and nothing else does.
func TestGoldenColours(t *testing.T) {
	text := map[bool]string{}
	for dark, name := range map[bool]string{true: "dark", false: "light"} {
		b := newBoard(t, office(t), 80, 24)
		b.theme = newTheme(dark)
		b.busy()
		b.press("2")
		b.golden("requests-"+name, true)
		text[dark] = ansi.Strip(b.View().Content)
	}
	if text[true] != text[false] {
		t.Error("light and dark do not say the same")
	}
}

// In a terminal that is too small it says what it needs, what there is, and what to do.
func TestATerminalThatIsTooSmall(t *testing.T) {
	b := newBoard(t, office(t), 40, 24)
	if got, want := b.View().Content, "the dashboard needs 60×16\nthis terminal has 40×24\nmake it larger, or ctrl-c quits"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// From the smallest size on, every screen fills its terminal exactly, whatever its size.
func TestEverySize(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.busy()
	for _, width := range []int{1, 59, 60, 61, 80, 120, 300} {
		for _, height := range []int{1, 15, 16, 17, 24, 60} {
			b.send(tea.WindowSizeMsg{Width: width, Height: height})
			for _, keys := range [][]string{{"1"}, {"s"}, {"esc", "2"}, {"a"}, {"esc", "v"}, {"esc", "3"}, {"a"}, {"esc", "/"}, {"x"}, {"esc", "4"}, {"d"}, {"esc", "5"}, {"?"}, {"esc"}} {
				b.press(keys...)
				lines := strings.Split(b.View().Content, "\n")
				if width < leastWidth || height < leastHeight {
					if len(lines) > height || ansi.StringWidth(slices.MaxFunc(lines, func(a, b string) int { return ansi.StringWidth(a) - ansi.StringWidth(b) })) > width {
						t.Errorf("%d×%d: %q", width, height, lines)
					}
					continue
				}
				if len(lines) != height {
					t.Errorf("%d×%d after %v: %d lines", width, height, keys, len(lines))
				}
				for _, line := range lines {
					if got := ansi.StringWidth(line); got != width {
						t.Errorf("%d×%d after %v: a line of %d: %q", width, height, keys, got, ansi.Strip(line))
					}
				}
			}
		}
	}
}
