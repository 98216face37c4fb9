package cli

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// hostile is what an agent would like a terminal to see: a title, the clipboard, a cleared
// screen, a forged line, an answer on standard input, and letters that are not there.
const hostile = "\x1b]0;owned\x07\x1b]52;c;eA==\x07\x1b[2J\x1b[6n\x1bc\u009b31m\n  risk     none\r\u202eevil\u200b\U000e0041\x00"

// Attacks H1, H2, G8: a request speaks to the operator's terminal, or draws a line of ours.
// Even if the bundle let something through, what is printed is plain, and every line of
// it begins as ours do.
func TestAttackH1_RequestsArePlain(t *testing.T) {
	a := &App{System: System{Now: time.Now}}
	text := a.block(requests.Shown{
		Bottle: "dev-abcdef" + hostile, Delta: []string{"+ " + hostile}, SoFar: []string{hostile}, Credentials: []string{hostile}, Risks: []string{hostile}, Digest: hostile,
		Request: requests.Request{
			ID: "abcdef-1" + hostile, Kind: requests.Kind("egress" + hostile), State: requests.State(hostile), Choices: []string{hostile}, Why: []string{hostile},
			Routes:  []policy.Route{{Host: hostile}},
			Decided: &requests.Outcome{Reason: hostile, Answer: hostile}, Grant: &requests.Grant{Ended: time.Now(), Why: hostile},
		},
	}, 0)
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%U is in %q", r, text)
		}
	}
	keys := []string{"wants", "so far", "sends", "risk", "agent", "choices", "ended"}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:] {
		if !strings.HasPrefix(line, "  "+keys[i]+" ") {
			t.Errorf("got line %q, want %s", line, keys[i])
		}
	}
}

// A long host keeps its end in sight: that is who it is (ATTACKS G10).
func TestAttackG10_TheWholeHostIsShown(t *testing.T) {
	a := &App{System: System{Now: time.Now}}
	host := strings.Repeat("api.github.com.", 15) + "evil.example"
	text := a.block(requests.New("a").Show(requests.Request{ID: "a-1", Kind: requests.Egress, State: requests.Pending, Routes: []policy.Route{{Host: host, Port: 443, Protocol: policy.HTTPS}}}, policy.Policy{}), 0)
	if !strings.Contains(text, host+":443") {
		t.Errorf("got %s", text)
	}
}
