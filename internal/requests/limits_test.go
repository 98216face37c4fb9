package requests

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// refused asks for what nobody is to be bothered with.
func refused(t *testing.T, l *Ledger, base policy.Policy, a Ask, code string) {
	t.Helper()
	refusal := (*Refusal)(nil)
	if r, err := l.Ask(t0.Add(time.Duration(l.Len())*time.Second), base, a); !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%+v: got %+v, %v, want %s", a, r, err, code)
	}
}

// More of a limit is for the operator's own routes: what is granted for a number of uses is not
// made more by it, and what is not limited does not become so.
func TestAttackG3_MoreOfALimitIsNotMoreUses(t *testing.T) {
	operators := policy.Policy{Routes: []policy.Route{{Host: "x.example", Methods: []string{"GET"}, Limits: &policy.Limits{Requests: 10, Window: policy.Span(time.Hour)}}}}
	l := New("k")
	ask := func(a Ask, s Scope) Request {
		t.Helper()
		r, err := l.Ask(t0, operators, a)
		if err != nil {
			t.Fatal(err)
		}
		done, err := l.Decide(t0, r.ID, operators, Decision{Approve: true, Digest: l.Show(r, operators).Digest, Scope: s})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	once := ask(egress("x.example", []string{"POST"}, nil), Scope{Uses: 1})
	ask(egress("y.example", nil, nil), Scope{Uses: 1})
	refused(t, l, operators, Ask{Kind: Limit, Host: "y.example", More: &policy.Limits{Requests: 5}}, "invalid")
	more := ask(Ask{Kind: Limit, Host: "x.example", More: &policy.Limits{Requests: 5, Window: policy.Span(time.Second)}}, Scope{})
	if more.More.Window != 0 {
		t.Errorf("the agent has chosen a window: %+v", more.More)
	}
	for _, route := range l.Effective(operators).Routes {
		want := policy.Limits{Requests: 15, Window: policy.Span(time.Hour)}
		if route.Grant != "" {
			want = policy.Limits{Requests: 1}
		}
		if *route.Limits != want {
			t.Errorf("%s of %q: got %+v, want %+v", route.Host, route.Grant, *route.Limits, want)
		}
	}
	if got := *sum(&policy.Limits{Requests: 10}, &policy.Limits{Requests: 5, BytesUp: 7}); got != (policy.Limits{Requests: 15}) {
		t.Errorf("what had no limit has one: %+v", got)
	}
	if ended := l.Use(t0, once.ID, 1); ended == nil || ended.ID != once.ID {
		t.Errorf("the last use: got %+v", ended)
	}
	if ended := l.Use(t0, once.ID, 1); ended != nil {
		t.Errorf("it ended twice: %+v", ended)
	}
	if len(l.Used()) != 0 {
		t.Errorf("what has ended is counted: %v", l.Used())
	}
	if again := New("k"); again.Load(t0, l.All()) == nil || len(again.Used()) != 0 {
		t.Errorf("got %v", again.Used())
	}
}

// A meter that begins anew is told of the uses that there were.
func TestUsesAreTold(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, egress("docs.example", nil, nil))
	approve(t, l, t0, r.ID, Scope{Uses: 3})
	l.Use(t0, r.ID, 2)
	if got := l.Used(); len(got) != 1 || got[policy.GrantAccount(r.ID)].Requests != 2 {
		t.Errorf("got %v", got)
	}
}

// Nobody is asked for what the bottle has: but what only looks as if it had it is asked for.
func TestWhatThereIsAlready(t *testing.T) {
	open := policy.Policy{Routes: []policy.Route{{Host: "docs.example", Limits: &policy.Limits{Requests: 1, Window: policy.Span(time.Hour)}}}}
	denied := open
	denied.Deny = []policy.Deny{{Host: "docs.example", Paths: []string{"/secret/**"}}}
	route := policy.Policy{Routes: []policy.Route{{Host: "docs.example", Deny: []policy.Deny{{Paths: []string{"/secret/**"}}}}}}
	ask := egress("docs.example", []string{"GET"}, []string{"/secret/a"})
	refused(t, New("k"), open, ask, "already_allowed")
	for name, p := range map[string]policy.Policy{"by the operator's rules": denied, "by the route's": route} {
		if r, err := New("k").Ask(t0, p, ask); err != nil || r.State != Pending {
			t.Errorf("denied %s: got %+v, %v", name, r, err)
		}
	}
	secret := asks()[Secret]
	if r, err := New("k").Ask(t0, open, secret); err != nil || r.State != Pending {
		t.Errorf("a credential: got %+v, %v", r, err)
	}
	refused(t, New("k"), open, Ask{Kind: Limit, Host: "docs.example", More: &policy.Limits{BytesUp: 5}}, "already_allowed")
	refused(t, New("k"), open, Ask{Kind: Limit, More: &policy.Limits{Requests: 5}}, "already_allowed")
	ask.For = policy.Span(-time.Second)
	refused(t, New("k"), policy.Policy{}, ask, "invalid")
}

// Refs that git would not take, or that are everybody's, are not asked for.
func TestAttackG6_AbsurdRefs(t *testing.T) {
	for _, ref := range []string{"a..b", "a b", "a\x1b", "ä", "refs/pull/1/head", "refs/notes/x", "refs/heads/", "*", "**", "*/a", "a/", "@{x", "a.lock", strings.Repeat("a", maxRefName)} {
		if full, err := fullRef(ref); err == nil {
			t.Errorf("%q is taken as %q", ref, full)
		}
	}
}
