package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// On a terminal of any width the preflight's values stay in their column; elsewhere its lines are
// as they are.
func TestPreflightKeepsItsColumns(t *testing.T) {
	const plan = `  agent      helper
  on secrets refuse
  routes     https://api.anthropic.com:443 with ANTHROPIC_API_KEY at host.docker.internal:39273
             https://files.example:443  GET
  since its last run:
  + routes https://another.example:443 with SOME_TOKEN and more of it
`
	summary := func(w io.Writer) error { _, err := io.WriteString(w, plan); return err }
	var piped strings.Builder
	if err := preflight(&piped, summary); err != nil || piped.String() != plan {
		t.Errorf("got %s, %v", piped.String(), err)
	}
	terminal, ours, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = terminal.Close(), ours.Close() }() // the second time, nothing
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: 50}); err != nil {
		t.Fatal(err)
	}
	const want = `  agent      helper
  on secrets refuse
  routes     https://api.anthropic.com:443 with
               ANTHROPIC_API_KEY at
               host.docker.internal:39273
             https://files.example:443  GET
  since its last run:
  + routes https://another.example:443 with
      SOME_TOKEN and more of it
`
	if err := preflight(ours, summary); err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	got, _ := io.ReadAll(terminal) // ends with EIO
	if strings.ReplaceAll(string(got), "\r", "") != want {
		t.Errorf("got\n%s", got)
	}
}
