package state

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Attack G13: the power fails just after the operator took a grant back, or said no, and takes the end of
// the log with it. What is over stays over, and nothing else comes of it.
func TestAttackG13_ALossOfPowerGivesNothingBack(t *testing.T) {
	granted := requests.Request{ID: "k-1", State: requests.Approved, Grant: &requests.Grant{Scope: requests.Scope{For: policy.Span(time.Hour)}, Until: time.Now().Add(time.Hour)}}
	asked := requests.Request{ID: "k-2", State: requests.Pending}
	other := requests.Request{ID: "k-3", State: requests.Pending}
	again := requests.Request{ID: "k-4", State: requests.Pending, Asked: time.Now()}
	chain, log := audit.Continue(audit.Head{}), ""
	for _, r := range []requests.Request{granted, asked, other, again} {
		snapshot, _ := json.Marshal(r)
		line, err := chain.Line(audit.Event{Bottle: identity, Service: "supervise", Kind: audit.Ask, Request: r.ID, Snapshot: snapshot})
		if err != nil {
			t.Fatal(err)
		}
		log += string(line)
	}
	s := bottled(t, log)
	ended := granted
	ended.Grant = &requests.Grant{Scope: granted.Grant.Scope, Until: granted.Grant.Until, Ended: time.Now(), Why: "the operator took it back"}
	no := asked
	no.State, no.Decided = requests.Rejected, &requests.Outcome{At: time.Now(), Reason: "no"}
	never := requests.Request{ID: "k-3", State: requests.Approved, Grant: &requests.Grant{}}              // whoever writes there grants nothing
	before := requests.Request{ID: "k-4", State: requests.Rejected, Asked: again.Asked.Add(-time.Minute)} // of which the log has lost all
	unknown := requests.Request{ID: "k-9", State: requests.Approved, Grant: &requests.Grant{}}
	if err := errors.Join(os.WriteFile(s.decisionsFile(identity), []byte(`{"id":"k-1","sta`), 0o600), s.KeepDecision(identity, ended), s.KeepDecision(identity, no), s.KeepDecision(identity, never), s.KeepDecision(identity, unknown), s.KeepDecision(identity, before), s.KeepDecision(identity, granted)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Requests(identity)
	if err != nil || len(all) != 4 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if all[0].Open() || all[0].Grant.Why != "the operator took it back" || all[1].State != requests.Rejected || all[2].State != requests.Pending || all[3].State != requests.Pending {
		t.Errorf("got %+v", all)
	}
}
