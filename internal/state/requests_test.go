package state

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// What a log says of requests: the last word about each, with every use of its grant, and what became of an approved push. A line
// that a crash has cut short, or that is none, hides no other.
func TestRequestsOfALog(t *testing.T) {
	s := Open(t.TempDir())
	if got, err := s.Requests("dev-aaaaaa"); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.MkdirAll(s.Dir("dev-aaaaaa"), 0o700); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	push := requests.Request{ID: "aaaaaa-3", Kind: requests.Pushing, State: requests.Approved, Asked: at, Push: &requests.Push{Repository: "widget"}, Decided: &requests.Outcome{At: at}}
	other := push
	other.ID, other.Decided = "aaaaaa-4", &requests.Outcome{At: at}
	first := requests.Request{ID: "aaaaaa-1", Kind: requests.Egress, State: requests.Pending, Asked: at, Routes: []policy.Route{{Host: "docs.example"}}}
	second := requests.Request{ID: "aaaaaa-2", Kind: requests.Question, State: requests.Pending, Asked: at, Question: "Which?"}
	granted := first
	granted.State, granted.Grant = requests.Approved, &requests.Grant{Scope: requests.Scope{Uses: 3}}
	var log []byte
	chain := audit.Continue(audit.Head{})
	line := func(e audit.Event, r *requests.Request) {
		if r != nil {
			e.Snapshot, _ = json.Marshal(r)
		}
		data, err := chain.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, data...)
	}
	line(audit.Event{Kind: audit.Ask}, &first)
	line(audit.Event{Kind: audit.Ask}, &second)
	line(audit.Event{Kind: audit.Decision}, &granted)
	line(audit.Event{Kind: audit.Request, Phase: audit.Open, Decision: audit.Allow, Grant: "aaaaaa-1"}, nil)
	line(audit.Event{Kind: audit.Request, Decision: audit.Allow, Grant: "aaaaaa-1"}, nil)
	line(audit.Event{Kind: audit.Request, Decision: audit.Deny, Grant: "aaaaaa-1"}, nil)
	line(audit.Event{Kind: audit.Decision}, &push)
	line(audit.Event{Kind: audit.Decision}, &other)
	line(audit.Event{Kind: audit.Push, Decision: audit.Allow, Request: "aaaaaa-3"}, nil) // and the gate was killed before it said so
	line(audit.Event{Kind: audit.Push, Decision: audit.Deny, Request: "aaaaaa-4"}, nil)
	log = append(log, "no line\n{\"seq\":"...)
	if err := os.WriteFile(s.AuditFile("dev-aaaaaa"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.Requests("dev-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	granted.Grant = &requests.Grant{Scope: requests.Scope{Uses: 3}, Used: 1}
	push.Decided = &requests.Outcome{At: at, Result: "forwarded"}
	if diff := cmp.Diff([]requests.Request{granted, second, push, other}, got); diff != "" {
		t.Error(diff)
	}
}
