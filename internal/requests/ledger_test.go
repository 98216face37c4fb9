package requests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// t0 is when tests begin.
var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// base is an operator's policy.
func base() policy.Policy {
	return policy.Policy{
		Routes: []policy.Route{
			{Host: "api.github.com", Methods: []string{"GET"}, Paths: []string{"/repos/acme/**"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "GH_TOKEN"}},
			{Host: "registry.example", Limits: &policy.Limits{Requests: 10, Window: policy.Span(time.Hour)}},
		},
		Deny: []policy.Deny{{Host: "**.evil.example"}},
	}
}

func egress(host string, methods, paths []string) Ask {
	return Ask{Kind: Egress, Route: &policy.Route{Host: host, Methods: methods, Paths: paths}, Why: "because"}
}

func mustAsk(t *testing.T, l *Ledger, now time.Time, a Ask) Request {
	t.Helper()
	r, err := l.Ask(now, base(), a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// approve grants what is there.
func approve(t *testing.T, l *Ledger, now time.Time, id string, s Scope) Request {
	t.Helper()
	r, err := l.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	r, err = l.Decide(now, id, base(), Decision{Approve: true, Digest: l.Show(r, base()).Digest, Scope: s, By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reaches reports whether a GET is allowed.
func reaches(t *testing.T, l *Ledger, host, path string) bool {
	t.Helper()
	return does(t, l, "GET", host, path)
}

func does(t *testing.T, l *Ledger, method, host, path string) bool {
	t.Helper()
	set, err := policy.New(l.Effective(base()))
	if err != nil {
		t.Fatal(err)
	}
	return set.Request(policy.Request{Protocol: policy.HTTPS, Host: host, Port: 443, Method: method, Target: path}).Allowed
}

func TestAskDecideEnd(t *testing.T) {
	l := New("k7x2m4")
	r := mustAsk(t, l, t0, egress("docs.example", []string{"get"}, []string{"/v1/**"}))
	if r.ID != "k7x2m4-1" || r.State != Pending || reaches(t, l, "docs.example", "/v1/a") {
		t.Fatalf("got %+v", r)
	}
	approve(t, l, t0, r.ID, Scope{For: policy.Span(time.Minute)})
	if !reaches(t, l, "docs.example", "/v1/a") || reaches(t, l, "docs.example", "/v2") || does(t, l, "POST", "docs.example", "/v1/a") {
		t.Error("what was granted is not what was asked for")
	}
	if at := l.Next(); !at.Equal(t0.Add(time.Minute)) {
		t.Errorf("got %v", at)
	}
	if ended := l.Expire(t0.Add(time.Minute - 1)); ended != nil {
		t.Errorf("ended early: %v", ended)
	}
	if ended := l.Expire(t0.Add(time.Minute)); len(ended) != 1 || reaches(t, l, "docs.example", "/v1/a") {
		t.Errorf("got %v", ended)
	}
	if !l.Next().IsZero() {
		t.Error("there is nothing more to end")
	}
}

func TestUses(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	approve(t, l, t0, r.ID, Scope{Uses: 2})
	set, err := policy.New(l.Effective(base()))
	if err != nil {
		t.Fatal(err)
	}
	meter := policy.NewMeter()
	for i, want := range []bool{true, true, false} {
		if got := meter.Take(t0, set, 2, policy.Usage{Requests: 1}).Allowed; got != want {
			t.Errorf("use %d: got %v", i+1, got)
		}
	}
	if l.Use(t0, r.ID, 1) != nil || !reaches(t, l, "docs.example", "/") {
		t.Error("it ended early")
	}
	if ended := l.Use(t0, r.ID, 1); ended == nil || reaches(t, l, "docs.example", "/") {
		t.Error("it did not end")
	}
}

// Two routes of one grant do not have its uses twice.
func TestUsesAreOfTheWholeGrant(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", []string{"GET"}, []string{"/a"}))
	mustAsk(t, l, t0, egress("docs.example", []string{"POST"}, []string{"/b"}))
	if got, _ := l.Get(r.ID); len(got.Routes) != 2 {
		t.Fatalf("got %v", got.Routes)
	}
	approve(t, l, t0, r.ID, Scope{Uses: 1})
	set, err := policy.New(l.Effective(base()))
	if err != nil {
		t.Fatal(err)
	}
	meter := policy.NewMeter()
	if !meter.Take(t0, set, 2, policy.Usage{Requests: 1}).Allowed || meter.Take(t0, set, 3, policy.Usage{Requests: 1}).Allowed {
		t.Error("each route has uses of its own")
	}
}

// Attack G1: an agent that asks for the same over and over, and floods the operator.
func TestAttackG1_AsksAreMergedAndBounded(t *testing.T) {
	l, now := New("k"), t0
	first := mustAsk(t, l, now, egress("docs.example", []string{"GET"}, []string{"/a"}))
	for i := range 3 {
		a := egress("docs.example", []string{"GET"}, []string{"/a"})
		a.Why = fmt.Sprintf("really %d", i)
		if again := mustAsk(t, l, now, a); again.ID != first.ID || len(again.Why) != i+2 {
			t.Errorf("got %+v", again)
		}
	}
	if more := mustAsk(t, l, now, egress("docs.example", []string{"GET"}, []string{"/b"})); more.ID != first.ID || len(more.Routes) != 2 {
		t.Errorf("got %+v", more)
	}
	wantRefusal(t, l, now, egress("other.example", nil, nil), "too_many")
	for i := range 200 {
		now = now.Add(time.Second)
		_, err := l.Ask(now, base(), egress(fmt.Sprintf("h%d.example", i), nil, nil))
		if i < maxPending-1 && err != nil {
			t.Fatal(i, err)
		}
		if i >= maxPending && !errors.As(err, new(*Refusal)) {
			t.Fatalf("%d: got %v", i, err)
		}
	}
	if n := l.count(Pending); n != maxPending {
		t.Errorf("%d are pending", n)
	}
}

func wantRefusal(t *testing.T, l *Ledger, now time.Time, a Ask, code string) {
	t.Helper()
	_, err := l.Ask(now, base(), a)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%+v: got %v, want %s", a.Route, err, code)
	}
}

// Attack G1: what was rejected is not asked again and again.
func TestAttackG1_ARejectionStands(t *testing.T) {
	l := New("k")
	a := egress("docs.example", nil, nil)
	r := mustAsk(t, l, t0, a)
	shown := l.Show(r, base())
	if _, err := l.Decide(t0, r.ID, base(), Decision{Digest: shown.Digest, Reason: "no"}); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, l, t0.Add(time.Minute), a, "rejected")
	if again := mustAsk(t, l, t0.Add(remindable), a); again.ID == r.ID {
		t.Errorf("got %+v", again)
	}
}

// Attack G1: the agent asks for something else and takes it back, so often that the rejection is
// forgotten, and asks for the same again.
func TestAttackG1_ARejectionIsNotWashedAway(t *testing.T) {
	l, now := New("k"), t0
	a := egress("docs.example", nil, nil)
	r := mustAsk(t, l, now, a)
	if _, err := l.Decide(now, r.ID, base(), Decision{Digest: l.Show(r, base()).Digest, Reason: "no"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxHistory {
		now = now.Add(perAsk)
		other := mustAsk(t, l, now, egress(fmt.Sprintf("h%d.example", i), nil, nil))
		if _, err := l.Cancel(now, other.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantRefusal(t, l, now.Add(time.Second), a, "rejected")
	if got := len(l.All()); got > maxHistory {
		t.Errorf("%d are remembered", got)
	}
	if again := mustAsk(t, l, t0.Add(remindable), a); again.ID == r.ID {
		t.Errorf("got %+v", again)
	}
}

// Attacks G2, G3: what is approved is what was shown, and nothing that came after.
func TestAttackG2_WhatChangedIsNotApproved(t *testing.T) {
	for name, change := range map[string]func(l *Ledger, id, digest string) policy.Policy{
		"the agent adds to it": func(l *Ledger, _, _ string) policy.Policy {
			_, _ = l.Ask(t0, base(), egress("docs.example", []string{"DELETE"}, []string{"/**"}))
			return base()
		},
		"the operator edits it": func(l *Ledger, id, digest string) policy.Policy {
			_, _ = l.Edit(id, digest, base(), Change{Routes: []policy.Route{{Host: "docs.example", Methods: []string{"HEAD"}}}})
			return base()
		},
		"the policy changes": func(*Ledger, string, string) policy.Policy {
			p := base()
			p.Routes = p.Routes[1:]
			return p
		},
		"another grant comes": func(l *Ledger, _, _ string) policy.Policy {
			r, _ := l.Ask(t0, base(), egress("other.example", nil, nil))
			_, _ = l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: l.Show(r, base()).Digest})
			return base()
		},
	} {
		l := New("k")
		r := mustAsk(t, l, t0, egress("docs.example", []string{"GET"}, []string{"/a"}))
		digest := l.Show(r, base()).Digest
		now := change(l, r.ID, digest)
		if _, err := l.Decide(t0, r.ID, now, Decision{Approve: true, Digest: digest}); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: got %v", name, err)
		}
		if reaches(t, l, "docs.example", "/a") {
			t.Errorf("%s: it was granted", name)
		}
	}
}

// Attack G3: the words may change, the rest stays what was shown.
func TestAttackG3_WordsChangeNothing(t *testing.T) {
	l := New("k")
	a := egress("docs.example", []string{"GET"}, nil)
	r := mustAsk(t, l, t0, a)
	digest := l.Show(r, base()).Digest
	a.Why = "the operator has approved it already"
	again := mustAsk(t, l, t0, a)
	if l.Show(again, base()).Digest != digest {
		t.Error("words changed what is decided about")
	}
}

// Attack G4: nobody answers, or what answers is not a decision.
func TestAttackG4_NoAnswerIsNo(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	l.Expire(t0.Add(1000 * time.Hour))
	if reaches(t, l, "docs.example", "/") {
		t.Error("time grants")
	}
	for _, d := range []Decision{{Approve: true}, {Approve: true, Digest: "x"}, {Approve: true, Digest: l.Show(r, base()).Digest, Scope: Scope{Uses: -1}}} {
		if _, err := l.Decide(t0, r.ID, base(), d); err == nil || reaches(t, l, "docs.example", "/") {
			t.Errorf("%+v granted it", d)
		}
	}
	if _, err := l.Decide(t0, "k-2", base(), Decision{Approve: true}); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// A decision is final: it cannot be made twice, nor after the agent took the request back.
func TestAttackG3_DecidedOnce(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	digest := l.Show(r, base()).Digest
	if _, err := l.Cancel(t0, r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: digest}); err == nil || reaches(t, l, "docs.example", "/") {
		t.Errorf("got %v", err)
	}
	if _, err := l.Cancel(t0, r.ID); err == nil {
		t.Error("it was taken back twice")
	}
}

// Attack G6: what no operator should be asked about is refused at once.
func TestAttackG6_AbsurdAsks(t *testing.T) {
	for _, host := range []string{
		"", "*", "**", "*.com", "**.co.uk", "*.github.io", "169.254.169.254", "2852039166", "0xa9fea9fe", "[::1]", "127.0.0.1", "localhost", "a.localhost",
		"metadata.google.internal", "printer.local", "db", "egress.bot-bottle", "a b.example", "evil.example.", "user@docs.example", "docs.example/path", "https://docs.example", "dócs.example", "docs.example\x1b[2J",
	} {
		l := New("k")
		wantRefusal(t, l, t0, egress(host, nil, nil), "invalid")
	}
	many := func(n int, format string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return all
	}
	l := New("k")
	wantRefusal(t, l, t0, egress("a.evil.example", nil, nil), "denied")
	wantRefusal(t, l, t0, egress("*.evil.example", nil, nil), "denied")
	for name, a := range map[string]Ask{
		"a path that is none": egress("docs.example", nil, []string{"no"}),
		"a method":            egress("docs.example", []string{"GET /"}, nil),
		"many paths":          egress("docs.example", nil, many(maxPaths+1, "/%d")),
		"many methods":        egress("docs.example", many(maxPaths+1, "M%d"), nil),
		"many choices":        {Kind: Question, Question: "Which?", Choices: many(maxChoices+1, "%d")},
		"many refs":           {Kind: Repo, Git: &Git{Repository: "https://github.com/acme/widget", Push: policy.Push{Refs: many(maxRefs+1, "b%d")}}},
		"many packages":       {Kind: Capability, Image: &Image{Packages: many(maxPackages+1, "p%d")}},
		"no limit":            {Kind: Limit, Host: "registry.example"},
		"a negative one":      {Kind: Limit, Host: "registry.example", More: &policy.Limits{Requests: -1}},
		"an absurd one":       {Kind: Limit, Host: "registry.example", More: &policy.Limits{Requests: 1 << 60}},
		"of no route":         {Kind: Limit, Host: "docs.example", More: &policy.Limits{Requests: 1}},
		"no question":         {Kind: Question, Question: "\x1b\u202e"},
		"nothing known":       {Kind: "root"},
		"for ever":            {Kind: Egress, Route: &policy.Route{Host: "docs.example"}, For: maxFor + 1},
	} {
		l := New("k")
		if _, err := l.Ask(t0, base(), a); !errors.As(err, new(*Refusal)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Attack G6, G9: an agent cannot smuggle in what only the operator may say.
func TestAttackG6_OnlyTheAskedFieldsAreTaken(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Egress, Route: &policy.Route{
		Host: "docs.example", Private: true, Address: "10.0.0.7:443", CA: "x", Grant: "k-9",
		Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "GH_TOKEN"}, Limits: &policy.Limits{Requests: 1}, Scan: nil,
	}})
	if got := r.Routes[0]; got.Private || got.Address != "" || got.CA != "" || got.Auth != nil || got.Grant != "" || got.Limits != nil {
		t.Errorf("got %+v", got)
	}
}

// The operator's own route to a host says which credential goes there.
func TestCredentialOfTheHost(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("api.github.com", []string{"POST"}, []string{"/repos/acme/widget/pulls"}))
	s := l.Show(r, base())
	if !slices.Equal(s.Credentials, []string{"GH_TOKEN"}) || len(s.SoFar) != 1 || !strings.Contains(strings.Join(s.Risks, "\n"), "POST can change things at api.github.com, with the rights of GH_TOKEN") {
		t.Errorf("got %+v", s)
	}
}

func TestAlreadyAllowed(t *testing.T) {
	l := New("k")
	wantRefusalOn(t, l, policy.Policy{Routes: []policy.Route{{Host: "docs.example"}}}, egress("docs.example", []string{"GET"}, nil), "already_allowed")
}

func wantRefusalOn(t *testing.T, l *Ledger, p policy.Policy, a Ask, code string) {
	t.Helper()
	_, err := l.Ask(t0, p, a)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestLimits(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Limit, Host: "registry.example", More: &policy.Limits{Requests: 5}})
	s := l.Show(r, base())
	if want := "+ registry.example: 15 requests in 1h"; s.Delta[0] != want {
		t.Errorf("got %q", s.Delta)
	}
	approve(t, l, t0, r.ID, Scope{For: policy.Span(time.Hour)})
	if got := l.Effective(base()).Routes[1].Limits.Requests; got != 15 {
		t.Errorf("got %d", got)
	}
	if base := base(); base.Routes[1].Limits.Requests != 10 {
		t.Error("the operator's policy was changed")
	}
	l.Expire(t0.Add(time.Hour))
	if got := l.Effective(base()).Routes[1].Limits.Requests; got != 10 {
		t.Errorf("got %d", got)
	}
}

// A new credential is for what was shown, and comes before a route that would keep it from
// being used; but not before a deny rule.
func TestSecret(t *testing.T) {
	l := New("k")
	a := Ask{Kind: Secret, Route: &policy.Route{Host: "registry.example", Methods: []string{"PUT"}}, Auth: &policy.Auth{Scheme: policy.Header, Header: "x-key", Secret: "PUBLISH"}}
	r := mustAsk(t, l, t0, a)
	s := l.Show(r, base())
	if !strings.Contains(strings.Join(s.Risks, "\n"), "PUBLISH would be sent to registry.example") || !strings.Contains(strings.Join(s.Risks, "\n"), "comes before") {
		t.Errorf("got %q", s.Risks)
	}
	if _, err := l.Edit(r.ID, s.Digest, base(), Change{Routes: []policy.Route{{Host: "registry.example"}}}); err == nil {
		t.Error("the credential was edited away")
	}
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: s.Digest}); err == nil {
		t.Error("granted without a value")
	}
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: s.Digest, Secret: "v"}); err != nil {
		t.Fatal(err)
	}
	p := l.Effective(base())
	if p.Routes[0].Auth == nil || p.Routes[0].Auth.Secret != "PUBLISH" || len(p.Routes) != 3 {
		t.Errorf("got %v", p.Routes)
	}
	for _, auth := range []*policy.Auth{nil, {Scheme: policy.Bearer, Secret: "lower"}, {Scheme: policy.Placeholder, Secret: "K"}, {Scheme: "none", Secret: "K"}, {Scheme: policy.Header, Header: "Host", Secret: "K"}} {
		a.Auth = auth
		wantRefusal(t, l, t0.Add(time.Hour), a, "invalid")
	}
	other := mustAsk(t, l, t0.Add(2*time.Hour), egress("docs.example", nil, nil))
	if _, err := l.Decide(t0, other.ID, base(), Decision{Approve: true, Digest: l.Show(other, base()).Digest, Secret: "v"}); err == nil {
		t.Error("a value was supplied where none was asked for")
	}
}

// How a credential is put on is the agent's choice, and a part of what is shown.
func TestHowACredentialIsSentIsShown(t *testing.T) {
	for _, test := range []struct {
		auth        policy.Auth
		shown, risk string
	}{
		{policy.Auth{Scheme: policy.Bearer}, "  K goes as a bearer token", ""},
		{policy.Auth{Scheme: policy.Basic, User: "ann"}, `  K goes as the password of user "ann"`, ""},
		{policy.Auth{Scheme: policy.Header, Header: "x-key"}, "  K goes as the header x-key", ""},
		{policy.Auth{Scheme: policy.Query, Parameter: "key"}, `  K goes as the parameter "key" of the address`, "K would stand in the address, which servers and proxies write into their logs"},
	} {
		test.auth.Secret = "K"
		l := New("k")
		s := l.Show(mustAsk(t, l, t0, Ask{Kind: Secret, Route: &policy.Route{Host: "docs.example", Methods: []string{"GET"}}, Auth: &test.auth}), base())
		if !slices.ContainsFunc(s.Delta, func(line string) bool { return strings.EqualFold(line, test.shown) }) {
			t.Errorf("%s: shown as %q", test.auth.Scheme, s.Delta)
		}
		if test.risk != "" && !slices.Contains(s.Risks, test.risk) || test.risk == "" && len(s.Risks) != 1 {
			t.Errorf("%s: got %q", test.auth.Scheme, s.Risks)
		}
	}
}

func TestQuestion(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, Ask{Kind: Question, Question: "Which one?", Choices: []string{"a", "b"}})
	digest := l.Show(r, base()).Digest
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: digest}); err == nil {
		t.Error("a question was approved")
	}
	r, err := l.Decide(t0, r.ID, base(), Decision{Answer: "b", Digest: digest})
	if err != nil || r.State != Answered || r.Decided.Answer != "b" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Attacks G8, G10, H1: an agent's words, made to look like ours or to steer the terminal.
func TestAttackG8_WordsAreOnlyWords(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                             "plain",
		"\x1b]0;title\x07\x1b[2Jred":        "]0;title[2Jred",
		"a\nrisk  none\r\nb":                "a risk none b",
		"abc\u202edef\u2066":                "abcdef",
		"zero\u200bwidth\u2060\ufeff":       "zerowidth",
		"tag\U000e0041\U000e0042":           "tag",
		"z\u0301\u0302\u0303\u0304\u0305x":  "z\u0301\u0302x",
		"\xff\xfe bytes":                    "bytes",
		"\u009b31mC1":                       "31mC1",
		"\ue000private":                     "private",
		strings.Repeat("x", maxWords+1):     strings.Repeat("x", maxWords) + "…",
		"  many\u2003\u3000spaces \t here ": "many spaces here",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	l := New("k")
	a := egress("docs.example", nil, nil)
	a.Why = "x\x1b[31m"
	r := mustAsk(t, l, t0, a)
	s := l.Show(r, base())
	if !slices.Equal(s.Why, []string{"x[31m"}) || strings.Contains(fmt.Sprint(s.Delta, s.Risks, s.SoFar), "x[31m") {
		t.Errorf("got %+v", s)
	}
}

// Attacks G6, G9, G10: what is dangerous about a request is said, by rule.
func TestAttackG10_RisksAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		ask  policy.Route
		want string
	}{
		"wildcard":      {policy.Route{Host: "**.docs.example"}, "is a wildcard"},
		"look-alike":    {policy.Route{Host: "api.githud.com"}, "looks like api.github.com"},
		"digits":        {policy.Route{Host: "api.g1thub.com"}, "looks like api.github.com"},
		"as a prefix":   {policy.Route{Host: "api.github.com.evil.test"}, "looks like api.github.com"},
		"no dot":        {policy.Route{Host: "api-github.com"}, "looks like api.github.com"},
		"cyrillic":      {policy.Route{Host: "api.xn--githb-v4f.com"}, "another script"},
		"anybody's":     {policy.Route{Host: "gist.github.com"}, "anybody"},
		"bucket":        {policy.Route{Host: "x.s3.amazonaws.com"}, "anybody"},
		"internal":      {policy.Route{Host: "db.corp.internal"}, "internal network"},
		"any method":    {policy.Route{Host: "docs.example"}, "any method"},
		"tcp":           {policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP}, "nobody looks"},
		"port":          {policy.Route{Host: "docs.example", Port: 8443, Methods: []string{"GET"}}, "port 8443"},
		"http":          {policy.Route{Host: "docs.example", Protocol: policy.HTTP, Methods: []string{"GET"}}, "not encrypted"},
		"writes":        {policy.Route{Host: "docs.example", Methods: []string{"PUT"}}, "PUT can change things"},
		"read-only now": {policy.Route{Host: "api.github.com", Methods: []string{"POST"}}, "GH_TOKEN"},
	} {
		l := New("k")
		r := mustAsk(t, l, t0, Ask{Kind: Egress, Route: &test.ask})
		if got := strings.Join(l.Show(r, base()).Risks, "\n"); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", []string{"GET"}, []string{"/a"}))
	if risks := l.Show(r, base()).Risks; len(risks) != 0 {
		t.Errorf("a harmless one has %q", risks)
	}
}

// Attack G9: an edit cannot make of a request what could not have been asked for, nor give
// it a grant's name; and it is recorded as one.
func TestAttackG9_Edits(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	digest := l.Show(r, base()).Digest
	for _, routes := range [][]policy.Route{nil, {{Host: ""}}, {{Host: "*.com"}}, {{Host: "localhost"}}, make([]policy.Route, maxRoutes+1)} {
		if _, err := l.Edit(r.ID, digest, base(), Change{Routes: routes}); err == nil {
			t.Errorf("%+v was taken", routes)
		}
	}
	edited, err := l.Edit(r.ID, digest, base(), Change{Routes: []policy.Route{{Host: "docs.example", Methods: []string{"GET"}, Grant: "k-7"}}})
	if err != nil || !edited.Edited || edited.Routes[0].Grant != "" {
		t.Fatalf("got %+v, %v", edited, err)
	}
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: digest}); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
	approve(t, l, t0, r.ID, Scope{})
	if does(t, l, "POST", "docs.example", "/") {
		t.Error("what was edited away is granted")
	}
}

// Attack G13: what is taken back is gone.
func TestAttackG13_Revoke(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	if _, err := l.Revoke(t0, r.ID); err == nil {
		t.Error("what was never granted was taken back")
	}
	approve(t, l, t0, r.ID, Scope{})
	if _, err := l.Revoke(t0, r.ID); err != nil || reaches(t, l, "docs.example", "/") {
		t.Errorf("got %v", err)
	}
	if _, err := l.Revoke(t0, r.ID); err == nil {
		t.Error("it was taken back twice")
	}
}

// The operator's own rules are not touched by what is granted.
func TestOperatorsRulesStand(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("**.docs.example", nil, nil))
	approve(t, l, t0, r.ID, Scope{})
	p := base()
	p.Deny = append(p.Deny, policy.Deny{Host: "secret.docs.example"})
	set, err := policy.New(l.Effective(p))
	if err != nil {
		t.Fatal(err)
	}
	get := func(host string) policy.Decision {
		return set.Request(policy.Request{Protocol: policy.HTTPS, Host: host, Port: 443, Method: "GET", Target: "/repos/acme/x"})
	}
	if get("secret.docs.example").Allowed || !get("a.docs.example").Allowed || get("api.github.com").Rule != 0 {
		t.Error("a grant came before the operator's word")
	}
}

// Whatever happens in whatever order: what can be reached is what was shown and approved,
// and has not ended.
func TestOnlyWhatWasShownAndNotEnded(t *testing.T) {
	for seed := range uint64(200) {
		sequence(t, rand.New(rand.NewPCG(seed, 1)))
	}
}

// given is the model: what an approval gave, and until when.
type given struct {
	methods, paths map[string]bool // of docs.example; nil: any
	left           int64           // uses; -1: any number
	until          time.Time
}

func sequence(t *testing.T, r *rand.Rand) {
	l, now := New("k"), t0
	grants := map[string]*given{}
	digests := map[string]string{} // of what was last shown
	all := []string{"GET", "POST", "DELETE"}
	for range 60 {
		now = now.Add(time.Duration(r.IntN(30)) * time.Second)
		pick := func() string { return fmt.Sprintf("k-%d", 1+r.IntN(8)) }
		switch r.IntN(7) {
		case 0, 1:
			_, _ = l.Ask(now, base(), egress("docs.example", []string{all[r.IntN(3)]}, []string{fmt.Sprintf("/%d", r.IntN(3))}))
		case 2:
			if got, err := l.Get(pick()); err == nil {
				digests[got.ID] = l.Show(got, base()).Digest
			}
		case 3:
			id := pick()
			before, _ := l.Get(id)
			s := Scope{Uses: int64(r.IntN(3)), For: policy.Span(time.Duration(r.IntN(3)) * time.Minute)}
			if got, err := l.Decide(now, id, base(), Decision{Approve: true, Digest: digests[id], Scope: s}); err == nil {
				if l.Show(before, base()).ID != id || len(got.Routes) != len(before.Routes) {
					t.Fatal("something else was approved")
				}
				g := &given{methods: map[string]bool{}, paths: map[string]bool{}, left: -1}
				for _, route := range before.Routes {
					g.methods[route.Methods[0]+" "+route.Paths[0]] = true
				}
				if s.Uses > 0 {
					g.left = s.Uses
				}
				if s.For > 0 {
					g.until = now.Add(time.Duration(s.For))
				}
				grants[id] = g
			}
		case 4:
			_, _ = l.Cancel(now, pick())
		case 5:
			if id := pick(); grants[id] != nil && grants[id].left != 0 {
				l.Use(now, id, 1)
				if grants[id].left > 0 {
					grants[id].left--
				}
			}
		case 6:
			id := pick()
			if _, err := l.Revoke(now, id); err == nil {
				delete(grants, id)
			}
		}
		l.Expire(now)
		set, err := policy.New(l.Effective(base()))
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range all {
			for path := range 3 {
				target := fmt.Sprintf("/%d", path)
				want := false
				for _, g := range grants {
					live := g.left != 0 && (g.until.IsZero() || now.Before(g.until))
					want = want || live && g.methods[method+" "+target]
				}
				if got := set.Request(policy.Request{Protocol: policy.HTTPS, Host: "docs.example", Port: 443, Method: method, Target: target}).Allowed; got != want {
					t.Fatalf("%s %s: reachable %v, want %v", method, target, got, want)
				}
			}
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2J\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if again := clean(got); again != got && !strings.HasSuffix(got, "…") {
			t.Errorf("%q: %q, then %q", s, got, again)
		}
		for _, r := range got {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x200b || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r >= 0xe0000 && r < 0xe0080 {
				t.Errorf("%q holds %U", got, r)
			}
		}
	})
}

// Invariant 6, 7: what a bottle's earlier run left. What waits, waits on; a grant with time or
// uses left has those left; one for as long as the bottle ran has ended, and one whose
// credential nobody kept.
func TestLoad(t *testing.T) {
	l := New("k")
	now := t0
	ask := func(a Ask) string {
		now = now.Add(time.Second)
		return mustAsk(t, l, now, a).ID
	}
	waits, session, hour, uses, over := ask(egress("a.example", nil, nil)), ask(egress("b.example", nil, nil)), ask(egress("c.example", nil, nil)), ask(egress("d.example", nil, nil)), ask(egress("e.example", nil, nil))
	secret := ask(Ask{Kind: Secret, Route: &policy.Route{Host: "f.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "K"}})
	approve(t, l, now, session, Scope{})
	approve(t, l, now, hour, Scope{For: policy.Span(time.Hour)})
	approve(t, l, now, uses, Scope{Uses: 3})
	l.Use(now, uses, 2)
	approve(t, l, now, over, Scope{For: policy.Span(time.Minute)})
	r, _ := l.Get(secret)
	if _, err := l.Decide(now, secret, base(), Decision{Approve: true, Digest: l.Show(r, base()).Digest, Scope: Scope{For: policy.Span(time.Hour)}, Secret: "v"}); err != nil {
		t.Fatal(err)
	}
	again := New("k")
	var ended []string
	for _, r := range again.Load(now.Add(10*time.Minute), l.All()) {
		ended = append(ended, r.ID)
	}
	slices.Sort(ended)
	if want := []string{session, over, secret}; !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
	for host, want := range map[string]bool{"a.example": false, "b.example": false, "c.example": true, "d.example": true, "e.example": false, "f.example": false} {
		if got := reaches(t, again, host, "/"); got != want {
			t.Errorf("%s: reachable %v, want %v", host, got, want)
		}
	}
	if again.Use(now, uses, 1) == nil {
		t.Error("uses began anew")
	}
	approve(t, again, now, waits, Scope{})
	if id := mustAsk(t, again, now.Add(time.Hour), egress("g.example", nil, nil)).ID; id != "k-7" {
		t.Errorf("got %s: a name was given twice", id)
	}
}
