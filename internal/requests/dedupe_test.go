package requests

import (
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack G1: the same is asked for again and again, of every kind, so that the operator has as
// many to decide. It stays one request.
func TestAttackG1_TheSameOfEveryKindIsOne(t *testing.T) {
	for name, a := range map[string]Ask{
		"a route":           egress("docs.example", []string{"GET"}, nil),
		"a credential":      {Kind: Secret, Route: &policy.Route{Host: "docs.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "TOKEN"}},
		"a limit":           {Kind: Limit, Host: "registry.example", More: &policy.Limits{Requests: 1}},
		"a question":        {Kind: Question, Question: "Which?", Choices: []string{"a", "b"}},
		"a repository":      {Kind: Repo, Git: &Git{Repository: "https://github.com/acme/widget"}},
		"a change of image": {Kind: Capability, Image: &Image{Packages: []string{"ffmpeg"}}},
	} {
		l := New("k")
		first := mustAsk(t, l, t0, a)
		a.Why = "please"
		again := mustAsk(t, l, t0.Add(time.Minute), a)
		if again.ID != first.ID || l.Len() != 1 {
			t.Errorf("%s: got %s after %s, of %d", name, again.ID, first.ID, l.Len())
		}
	}
}
