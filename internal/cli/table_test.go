package cli

import (
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

func aTable() table {
	return table{
		columns: []column{{"IDENTITY", whole}, {"AGENT", 3}, {"BACKEND", 1}, {"STATUS", 2}},
		rows: [][]string{
			{"implementer-k7x2m4", "implementer", "docker", "running"},
			{"überprüfer-q5w3e2", "überprüfer", "docker", "running, cut off: its sidecar bundle does not run"},
			{"検査係-abcdef", "検査係", "smolmachines", "ended \x1b]0;x\x07\u202ewith status 1"},
		},
	}
}

// A table fits the terminal, whatever its width and whatever the names; what has to be typed
// again is cut last.
func TestTablesFit(t *testing.T) {
	for width := 1; width < 160; width++ {
		var b strings.Builder
		if err := aTable().write(&b, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); plain.Width(line) > width {
				t.Fatalf("at %d a line has %d cells: %q", width, plain.Width(line), line)
			}
			if strings.ContainsAny(line, "\x1b\x07\u202e") {
				t.Fatalf("got %q", line)
			}
		}
		if width >= 20 && !strings.Contains(b.String(), "implementer-k7x2m4") {
			t.Errorf("at %d the identity is cut:\n%s", width, b.String())
		}
	}
}

// Columns stand under each other: wide characters are two cells, others one.
func TestColumnsAlign(t *testing.T) {
	var b strings.Builder
	if err := aTable().write(&b, 0); err != nil {
		t.Fatal(err)
	}
	want := `IDENTITY            AGENT        BACKEND       STATUS
implementer-k7x2m4  implementer  docker        running
überprüfer-q5w3e2   überprüfer   docker        running, cut off: its sidecar bundle does not run
検査係-abcdef       検査係       smolmachines  ended ·]0;x··with status 1
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

// Narrow, the least of the columns goes first.
func TestNarrowTables(t *testing.T) {
	var b strings.Builder
	if err := aTable().write(&b, 40); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(b.String(), "\n")
	if strings.Contains(first, "BACKEND") || !strings.Contains(first, "AGENT") || !strings.Contains(first, "STATUS") {
		t.Errorf("got\n%s", b.String())
	}
}
