package requests

import (
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// What is shown of a push says where each ref is now, and which repository it is.
func TestAPushShowsWhatTheRefsAreNow(t *testing.T) {
	const before, after = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &Push{
		Repository: "widget", Upstream: "https://github.com/acme/widget", Reasons: []string{"it is to be held"},
		Updates: []policy.RefUpdate{
			{Ref: "refs/heads/agent/new", New: after},
			{Ref: "refs/heads/agent/old", Old: before, New: after, Forced: true},
			{Ref: "refs/heads/agent/gone", Old: before},
		},
	}})
	s := l.Show(r, base())
	if want := []string{"refs/heads/agent/new is not there", "refs/heads/agent/old is at 111111111111", "refs/heads/agent/gone is at 111111111111"}; !slices.Equal(s.SoFar, want) {
		t.Errorf("so far: got %q", s.SoFar)
	}
	if want := []string{
		"+ widget: refs/heads/agent/new at 222222222222",
		"+ widget: refs/heads/agent/old from 111111111111 to 222222222222",
		"- widget: refs/heads/agent/gone, was at 111111111111",
		"  widget is https://github.com/acme/widget",
	}; !slices.Equal(s.Delta, want) {
		t.Errorf("wants: got %q", s.Delta)
	}
	if !strings.Contains(strings.Join(s.Risks, "\n"), "rewrites the history of refs/heads/agent/old") {
		t.Errorf("got %q", s.Risks)
	}
}
