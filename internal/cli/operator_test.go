package cli

import (
	"errors"
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
	if got := onTerminal(t, 50, func(w io.Writer) error { return preflight(w, summary) }); got != want {
		t.Errorf("got\n%s", got)
	}
}

// An error is folded to the terminal as well, and its hint stands apart; names stay whole.
func TestErrorsKeepTheirPlace(t *testing.T) {
	problem := &usageError{what: "cannot find request 3: there is no such request in a bottle", hint: "to see them all: bot-bottle requests --all, or look at bot-bottle dashboard"}
	const want = `bot-bottle: cannot find request 3:
    there is no such request in a bottle
  to see them all: bot-bottle requests
    --all, or look at bot-bottle
    dashboard
`
	got := onTerminal(t, 40, func(w io.Writer) error { printError(w, problem, problem.hint); return nil })
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

// onTerminal is what is printed on a terminal so wide.
func onTerminal(t *testing.T, width uint16, show func(io.Writer) error) string {
	t.Helper()
	terminal, ours, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	if err := errors.Join(pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: width}), show(ours), ours.Close()); err != nil {
		t.Fatal(err)
	}
	printed, _ := io.ReadAll(terminal) // ends with EIO
	return strings.ReplaceAll(string(printed), "\r", "")
}
