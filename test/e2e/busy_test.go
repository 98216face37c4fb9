package e2e

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// An agent's terminal says that it works, in the provider's words, for as long as it does and
// not longer: without them it waits for a person.
func TestEveryAgentSaysThatItIsBusy(t *testing.T) {
	t.Parallel()
	all := vendors()
	all["claude"] = vendor{template: "claude", ready: "bypass permissions on", leave: "/exit"}
	for name, v := range all {
		t.Run(name, func(t *testing.T) { saysThatItIsBusy(t, v) })
	}
}

func saysThatItIsBusy(t *testing.T, v vendor) {
	cli, err := provider.For(v.template)
	if err != nil {
		t.Fatal(err)
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	var once, free sync.Once
	release := func() { free.Do(func() { close(goOn) }) }
	t.Cleanup(release)
	h := open(t, standin.Options{Answer: "PAPAYA-2096", Call: func(conversation string) (string, map[string]any) {
		if strings.Contains(conversation, "which fruit") {
			once.Do(func() { close(asked) })
			<-goOn
		}
		return "", nil
	}})
	if v.host != "" { // the lab has a bottle for Claude
		h.hire(v, "")
	}
	s := h.terminal("start", "-y", "--rm", v.template)
	s.wait(v.ready)
	if strings.Contains(h.shown(v.template, v.ready), cli.Busy) {
		t.Errorf("it shows %q before it was asked anything", cli.Busy)
	}
	s.enter("which fruit")
	<-asked
	h.shown(v.template, cli.Busy) // whole: on the first screen it is drawn in pieces
	release()
	s.wait("PAPAYA-2096")
	for shown := ""; ; {
		shown = h.shown(v.template, "PAPAYA-2096")
		if !strings.Contains(shown, cli.Busy) {
			break
		}
		if t.Context().Err() != nil {
			t.Fatalf("it shows %q after its answer: %s", cli.Busy, shown)
		}
	}
	s.leave(v.leave)
}

// shown is an agent's screen as it is now, once a word is on it: what another terminal gets, with a
// single space between what stands apart or changes its colour.
func (h house) shown(agent, word string) (text string) {
	h.t.Helper()
	other := h.terminal("attach", "--read-only", regexp.MustCompile(agent+`-[a-z2-7]{6}`).FindString(h.run(0, "", "list").Stdout))
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, word); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("the screen does not show %q: %s", word, text)
		}
		text = strings.Join(strings.Fields(other.plain()), " ")
	}
	other.send("\x03")
	other.end()
	return text
}
