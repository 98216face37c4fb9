package bundle

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// holder is what git-gate has of an operator's side, and what that records.
func holder(t *testing.T) (*operator, control.HolderClient, *bytes.Buffer) {
	t.Helper()
	said := new(bytes.Buffer)
	o := newOperator(config(t), nil, newLog(said, config(t), func(error) {}))
	close(o.log.begun)
	ctx, cancel := context.WithCancel(t.Context())
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { defer close(served); control.ServeHolder(ctx, ours, o) }()
	t.Cleanup(func() { cancel(); <-served })
	return o, control.NewHolderClient(theirs), said
}

func aPush() control.HeldPush {
	return control.HeldPush{Text: "the diff", Push: requests.Push{
		Repository: "widget", Upstream: "https://github.com/acme/widget", Updates: []policy.RefUpdate{{Ref: "refs/heads/main", New: strings.Repeat("1", 40)}},
	}}
}

// approvePush has the operator approve a push as it is now.
func (o *operator) approvePush(t *testing.T, id string) {
	t.Helper()
	r, err := o.ledger.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Decide(id, requests.Decision{Digest: o.shown(r).Digest, Approve: true}); err != nil {
		t.Fatal(err)
	}
}

// An approved push that did not go waits again: whoever looks at it finds why, and its diff, and its log has it as
// one that waits, for a bottle that is resumed.
func TestAnApprovedPushWaitsAgain(t *testing.T) {
	o, gate, said := holder(t)
	r, err := gate.Hold(t.Context(), aPush())
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Again(t.Context(), r.ID, "no answer"); err == nil {
		t.Error("what waits is opened again")
	}
	for range 2 {
		o.approvePush(t, r.ID)
		if err := gate.Again(t.Context(), r.ID, "no answer"); err != nil {
			t.Fatal(err)
		}
		if got, err := gate.Decision(t.Context(), r.ID, 0); err != nil || got.State != requests.Pending || got.Again != "no answer" {
			t.Fatalf("it is %+v, %v", got, err)
		}
		if text, err := o.Diff(r.ID); err != nil || text != "the diff" {
			t.Errorf("its diff is %q, %v", text, err)
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		last := lines[len(lines)-1]
		for _, part := range []string{`"reason":"the push waits again: no answer"`, `"state":"pending"`, `"again":"no answer"`} {
			if !strings.Contains(last, part) {
				t.Errorf("the log has %s, which does not say %s", last, part)
			}
		}
	}
	o.approvePush(t, r.ID)
	if err := gate.Done(t.Context(), r.ID, control.Forwarded); err != nil {
		t.Fatal(err)
	}
	if err := gate.Again(t.Context(), r.ID, "no answer"); err == nil {
		t.Error("what is upstream is opened again")
	}
}

// The gate is killed when the log has it that an approved push is upstream, and before it has said what became of
// that: the next gate is told that it has come to its end, and does not record it, and with it a use of its grant,
// another time.
func TestAPushThatIsRecordedHasComeToItsEnd(t *testing.T) {
	o, gate, said := holder(t)
	var ids []string
	for _, branch := range []string{"arrived", "refused", "waits"} {
		p := aPush()
		p.Updates[0].Ref += "-" + branch
		r, err := gate.Hold(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, r.ID); branch != "waits" {
			o.approvePush(t, r.ID)
		}
	}
	s := &service{name: control.GitGate}
	o.attach(s)
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Allow, Request: ids[0]})
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Allow, Request: ids[1], Phase: audit.Ahead})
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Deny, Request: ids[1]})
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Allow, Request: ids[2]})
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Allow, Request: "nobody's"})
	if r, err := gate.Decision(t.Context(), ids[0], 0); err != nil || r.Decided.Result != control.Forwarded {
		t.Errorf("it is %+v, %v", r.Decided, err)
	}
	if r, err := gate.Decision(t.Context(), ids[1], 0); err != nil || r.Decided.Result != "" {
		t.Errorf("one that was refused is %+v, %v", r.Decided, err)
	}
	if r, err := gate.Decision(t.Context(), ids[2], 0); err != nil || r.State != requests.Pending {
		t.Errorf("one that nobody has approved is %s, %v", r.State, err)
	}
	if err := gate.Done(t.Context(), ids[0], control.Forwarded); err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), `"reason":"the push: forwarded"`); n != 1 {
		t.Errorf("the log has %d times that it is upstream:\n%s", n, said)
	}
}

// Attack G13: git-gate is killed when it has begun to send a push by a grant of one, and nobody will tell how that
// ended. It counts before the next gate is started; one that the upstream has refused does not.
func TestAttackG13_APushThatNeverEndedCounts(t *testing.T) {
	o, _, _ := holder(t)
	o.mayGate, o.startGate = true, func([]byte) error { return nil }
	r, err := o.Ask(t.Context(), requests.Ask{Kind: requests.Repo, Why: "x", Git: &requests.Git{Repository: "https://git.example/acme/one", Push: policy.Push{Refs: []string{"refs/heads/fix"}}}})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := o.ledger.Get(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Decide(r.ID, requests.Decision{Digest: o.shown(shown).Digest, Approve: true, Scope: requests.Scope{Uses: 1}}); err != nil {
		t.Fatal(err)
	}
	s, egress := &service{name: control.GitGate}, &service{name: control.Egress}
	o.attach(s)
	o.attach(egress)
	sent := audit.Event{Kind: audit.Push, Phase: audit.Ahead, Decision: audit.Allow, Grant: r.ID}
	live := func() bool {
		r, err := o.ledger.Get(r.ID)
		return err == nil && r.Grant != nil && r.Grant.Ended.IsZero()
	}
	s.heard(sent)
	if egress.lost(); !live() {
		t.Error("that egress has ended has used it up")
	}
	s.heard(audit.Event{Kind: audit.Push, Decision: audit.Deny, Grant: r.ID})
	if s.lost(); !live() {
		t.Error("a push that the upstream refused has used it up")
	}
	s.heard(sent)
	if s.lost(); live() {
		t.Error("a push that may have arrived has not used it up")
	}
}
