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

// What a log says of requests: the last word about each, with every use of its grant. A line
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
	log = append(log, "no line\n{\"seq\":"...)
	if err := os.WriteFile(s.AuditFile("dev-aaaaaa"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.Requests("dev-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	granted.Grant = &requests.Grant{Scope: requests.Scope{Uses: 3}, Used: 1}
	if diff := cmp.Diff([]requests.Request{granted, second}, got); diff != "" {
		t.Error(diff)
	}
}
