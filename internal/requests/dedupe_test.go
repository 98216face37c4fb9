package requests

import (
	"fmt"
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

// What an ask is not added to: a request that the operator has edited, or is asked for another time, or
// with other rights. Each would change under the eyes of who decides, or give what was asked for elsewhere.
func TestAttackG1_WhatIsNotMerged(t *testing.T) {
	repo := func(ref string, force bool) Ask {
		return Ask{Kind: Repo, Git: &Git{Repository: "https://github.com/acme/widget", Push: policy.Push{Refs: []string{ref}, Force: force}}}
	}
	long := egress("docs.example", []string{"GET"}, []string{"/b"})
	long.For = policy.Span(time.Hour)
	longRepo := repo("b", false)
	longRepo.For = policy.Span(time.Hour)
	secret := func(name string) Ask {
		return Ask{Kind: Secret, Route: &policy.Route{Host: "docs.example", Paths: []string{"/" + name}}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: name}}
	}
	for name, test := range map[string]struct {
		first, then Ask
		edit        Change
	}{
		"an edited route":      {egress("docs.example", []string{"GET"}, []string{"/a"}), egress("docs.example", []string{"GET"}, []string{"/b"}), Change{Routes: []policy.Route{{Host: "docs.example", Methods: []string{"HEAD"}}}}},
		"an edited repository": {repo("a", false), repo("b", false), Change{Push: &policy.Push{Refs: []string{"refs/heads/c"}}}},
		"another time":         {egress("docs.example", []string{"GET"}, []string{"/a"}), long, Change{}},
		"another time, of git": {repo("a", false), longRepo, Change{}},
		"force":                {repo("a", false), repo("b", true), Change{}},
		"another port":         {egress("docs.example", nil, nil), Ask{Kind: Egress, Route: &policy.Route{Host: "docs.example", Port: 8443}}, Change{}},
		"another credential":   {secret("A"), secret("B"), Change{}},
	} {
		l := New("k")
		first := mustAsk(t, l, t0, test.first)
		if test.edit.Routes != nil || test.edit.Push != nil {
			if _, err := l.Edit(first.ID, l.Show(first, base()).Digest, base(), test.edit); err != nil {
				t.Fatal(name, err)
			}
		}
		before, _ := l.Get(first.ID)
		then := mustAsk(t, l, t0, test.then)
		after, _ := l.Get(first.ID)
		if then.ID == first.ID || digest(before.what()) != digest(after.what()) {
			t.Errorf("%s: got %+v", name, after)
		}
	}
}

// One request holds so many routes, and what is more is another one to decide.
func TestMergingEnds(t *testing.T) {
	l := New("k")
	for i := range maxRoutes + 1 {
		r := mustAsk(t, l, t0.Add(time.Duration(i)*time.Second), egress("docs.example", []string{"GET"}, []string{fmt.Sprintf("/%d", i)}))
		if want := map[bool]string{true: "k-1", false: "k-2"}[i < maxRoutes]; r.ID != want || len(r.Routes) > maxRoutes {
			t.Errorf("ask %d: got %s with %d routes", i, r.ID, len(r.Routes))
		}
	}
}

// Attack G6: a host to which the operator sends two credentials is asked for, so that the wrong one
// goes along. Neither does.
func TestAttackG6_NoCredentialIsGuessed(t *testing.T) {
	route := func(secret, path string) policy.Route {
		return policy.Route{Host: "api.example", Paths: []string{path}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: secret}}
	}
	for _, test := range []struct {
		routes []policy.Route
		want   string
	}{{[]policy.Route{route("ONE", "/a"), route("TWO", "/b")}, ""}, {[]policy.Route{route("ONE", "/a"), route("ONE", "/b")}, "ONE"}} {
		l := New("k")
		r, err := l.Ask(t0, policy.Policy{Routes: test.routes}, egress("api.example", []string{"GET"}, []string{"/c"}))
		got := ""
		if err == nil && r.Routes[0].Auth != nil {
			got = r.Routes[0].Auth.Secret
		}
		if err != nil || got != test.want {
			t.Errorf("got %q, want %q, %v", got, test.want, err)
		}
	}
}

// Attack G1: an operator is to read the same words, or the same routes, many times over. What is said
// twice is there once, and so much of it; a route that covers others takes their place.
func TestAttackG1_WhatIsSaidAgainIsShownOnce(t *testing.T) {
	l := New("k")
	ask := egress("docs.example", []string{"GET"}, []string{"/a"})
	for i := range 3 * maxRoutes {
		ask.Why = fmt.Sprintf("because %d", i/2)
		r := mustAsk(t, l, t0.Add(time.Duration(i)*time.Second), ask)
		if want := min(1+i/2, maxRoutes); len(r.Why) != want || len(r.Routes) != 1 {
			t.Fatalf("ask %d: %d words, want %d, of %d routes", i, len(r.Why), want, len(r.Routes))
		}
	}
	mustAsk(t, l, t0.Add(time.Hour), egress("docs.example", []string{"GET"}, []string{"/b"}))
	if r := mustAsk(t, l, t0.Add(time.Hour), egress("docs.example", nil, nil)); r.ID != "k-1" || len(r.Routes) != 1 || r.Routes[0].Methods != nil {
		t.Errorf("got %+v", r.Routes)
	}
}

// Attack G1: the clock is set back and forth: nobody may ask faster because of it.
func TestAttackG1_ClocksThatJumpGiveNoMoreAsks(t *testing.T) {
	l := New("k")
	for i := range burst {
		mustAsk(t, l, t0, egress("docs.example", nil, []string{fmt.Sprintf("/%d", i)}))
	}
	for _, now := range []time.Time{t0, t0.Add(-time.Hour), t0.Add(perAsk / 2)} {
		if _, err := l.Ask(now, base(), egress("docs.example", nil, []string{"/more"})); err == nil {
			t.Errorf("at %s there is one more", now)
		}
	}
}

// A rejection is about what was shown. Where the operator had put something else in the place of what
// was asked for, and rejected that after all, an agent may still ask for it in earnest.
func TestARejectedEditIsNoAnswerToAnAsk(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	narrow := egress("docs.example", []string{"GET"}, []string{"/a"})
	r, err := l.Edit(r.ID, l.Show(r, base()).Digest, base(), Change{Routes: []policy.Route{*narrow.Route}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decide(l, r, Decision{}); err != nil {
		t.Fatal(err)
	}
	if again := mustAsk(t, l, t0, narrow); again.ID == r.ID || again.State != Pending {
		t.Errorf("got %+v", again)
	}
}

// Whether a request covers another one is said only where that is sure.
func TestCovers(t *testing.T) {
	any := policy.Route{Host: "docs.example", Port: 443, Protocol: policy.HTTPS}
	with := func(change func(*policy.Route)) policy.Route {
		r := any
		change(&r)
		return r
	}
	get := with(func(r *policy.Route) { r.Methods = []string{"GET"} })
	for name, test := range map[string]struct {
		a, b policy.Route
		want bool
	}{
		"the same":         {any, any, true},
		"less":             {any, get, true},
		"more":             {get, any, false},
		"another port":     {any, with(func(r *policy.Route) { r.Port = 8443 }), false},
		"another protocol": {any, with(func(r *policy.Route) { r.Protocol = policy.TCP }), false},
		"with a query":     {with(func(r *policy.Route) { r.Query = map[string]string{"a": "b"} }), any, false},
	} {
		if got := covers(test.a, test.b); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
