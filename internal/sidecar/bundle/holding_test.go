package bundle

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

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
