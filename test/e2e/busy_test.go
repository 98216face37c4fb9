package e2e

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Claude's terminal says that it works, in the provider's words, for as long as it does and
// not longer: without them it waits for a person.
func TestClaudeSaysThatItIsBusy(t *testing.T) {
	t.Parallel()
	claude, err := provider.For("claude")
	if err != nil {
		t.Fatal(err)
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	var once, free sync.Once
	release := func() { free.Do(func() { close(goOn) }) }
	t.Cleanup(release)
	h := open(t, standin.Options{Answer: "PAPAYA-2096", Call: func(conversation string) (string, map[string]any) {
		if strings.Contains(conversation, "which fruit?") {
			once.Do(func() { close(asked) })
			<-goOn
		}
		return "", nil
	}})
	s := h.terminal("start", "-y", "--rm", "claude")
	s.wait("bypass permissions on")
	if strings.Contains(h.shown("bypass permissions on"), claude.Busy) {
		t.Errorf("it shows %q before it was asked anything", claude.Busy)
	}
	s.send("which fruit?")
	s.wait("which fruit?")
	s.send("\r")
	<-asked
	s.wait(claude.Busy)
	release()
	s.wait("PAPAYA-2096")
	for shown := ""; ; {
		shown = h.shown("PAPAYA-2096")
		if !strings.Contains(shown, claude.Busy) {
			break
		}
		if t.Context().Err() != nil {
			t.Fatalf("it shows %q after its answer: %s", claude.Busy, shown)
		}
	}
	s.send("/exit")
	s.wait("/exit")
	s.send("\r")
	s.end()
}

// shown is the agent's screen as it is now, once a word is on it: what another terminal gets.
func (h house) shown(word string) string {
	h.t.Helper()
	other := h.terminal("attach", "--read-only", regexp.MustCompile(`claude-[a-z2-7]{6}`).FindString(h.run(0, "", "list").Stdout))
	other.wait(word)
	text := other.plain()
	other.send("\x03")
	other.end()
	return text
}
