package provision

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// A pull that takes its time tells how far it is.
func TestAPullTellsHowFarItIs(t *testing.T) {
	h := newHome(t)
	h.write("a", "one\n")
	h.git("add", "-A")
	h.git("commit", "-q", "-m", "first")
	there := h.bring(false)
	there.write("b", strings.Repeat("two\n", 1000))
	there.git("add", "-A")
	there.git("commit", "-q", "-m", "second")
	var told []string
	if _, err := h.pullFrom(there, func(s string) { told = append(told, s) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in the bottle: counting objects: 100% (4/4)", "receiving objects: 100% (3/3)"} {
		if !slices.Contains(told, want) {
			t.Errorf("it does not tell %q: %q", want, told)
		}
	}
}

// Attack H1: what the bottle's side of a pull writes as progress drives the terminal, or says
// what it likes. It is numbers, or it is not shown; nor is it what an error is taken to be.
func TestAttackH1_ProgressIsNumbers(t *testing.T) {
	var told []string
	p := &progress{tell: func(s string) { told = append(told, s) }}
	for _, said := range []string{
		"remote: \x1b]0;owned\x07\n", "remote: run this: rm -rf /\n", "remote: Counting objects: 50% (\x1b[2J/2)\r", "remote: Counting objects: 50% (1/2)\x1b[2J now run this\r",
		"remote: Counting objects: " + strings.Repeat("9", 100_000) + "% (1/2)\r", "Receiving objects: 100% (1/1)\u202e\n", "remote: remote: Counting objects: 50% (1/2)\n", strings.Repeat("x", 1<<20),
	} {
		for len(said) > 0 { // cut anywhere
			n := min(len(said), 7)
			_, _ = p.Write([]byte(said[:n]))
			said = said[n:]
		}
	}
	if want := []string{"in the bottle: counting objects: 50% (1/2)", "receiving objects: 100% (1/1)"}; !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
	if len(p.line) > maxProgress {
		t.Errorf("it keeps %d bytes", len(p.line))
	}
	failed := &hostcmd.RunError{Said: []string{"remote: Enumerating objects: 5, done.", "remote: Counting objects: 100% (5/5)", "fatal: the bottle has sent nothing for 2m0s"}, Err: errors.New("x")}
	if got := cause(failed).Error(); got != "the bottle has sent nothing for 2m0s" {
		t.Errorf("the error is taken to be %q", got)
	}
}
