package bundle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

var _ control.Holder = (*operator)(nil)

// Hold implements control.Holder.
func (o *operator) Hold(_ context.Context, p control.HeldPush) (requests.Request, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.ledger.Len()
	r, err := o.ledger.Ask(time.Now(), o.config.Policy(), requests.Ask{Kind: requests.Pushing, Push: &p.Push})
	if err != nil {
		return r, err
	}
	o.diffs[r.ID] = p.Text
	if o.ledger.Len() > before {
		o.tell()
		o.record(r, audit.Event{Kind: audit.Ask, Reason: o.shown(r).Summary(), Repository: r.Push.Repository})
	}
	return r, nil
}

// Decision implements control.Holder. A gate that was killed before it could say what became of a push
// finds what it had recorded of that.
func (o *operator) Decision(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	o.settle()
	return o.Wait(ctx, id, atMost)
}

// Done implements control.Holder.
func (o *operator) Done(_ context.Context, id, result string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finish(id, result)
}

// finish notes what became of an approved push, once. Its caller holds the mutex.
func (o *operator) finish(id, result string) error {
	if r, err := o.ledger.Get(id); err == nil && r.Decided != nil && r.Decided.Result != "" {
		return nil
	}
	r, err := o.ledger.Finish(id, result)
	if err != nil {
		return unknown(err)
	}
	if result == control.Forwarded {
		var updates []audit.Update
		for _, u := range r.Push.Updates {
			updates = append(updates, audit.Update{Old: u.Old, New: u.New})
		}
		text := o.diffs[id]
		o.keepDiff(control.Pushed{Key: control.PushKey(r.Push.Repository, updates), Text: text[:min(len(text), control.MaxPushed)]})
	}
	delete(o.diffs, id)
	o.tell()
	o.record(r, audit.Event{Kind: audit.Decision, Decision: audit.Allow, Reason: "the push: " + r.Decided.Result, Repository: r.Push.Repository})
	return nil
}

// Again implements control.Holder.
func (o *operator) Again(_ context.Context, id, why string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.ledger.Reopen(id, why)
	if err != nil {
		return unknown(err)
	}
	o.tell()
	o.record(r, audit.Event{Kind: audit.Ask, Reason: "the push waits again: " + r.Again, Repository: r.Push.Repository})
	return nil
}

// Pushed implements control.Holder.
func (o *operator) Pushed(_ context.Context, p control.Pushed) error {
	if len(p.Text) > control.MaxPushed || !strings.HasPrefix(p.Key, "push-") || len(p.Key) > 64 {
		return &requests.Refusal{Code: "bad_push", Reason: "that is no push"}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keepDiff(p)
	return nil
}

// maxPushes is how many pushes are kept that the upstream has.
const maxPushes = 16

// keepDiff keeps the last pushes' diffs. Its caller holds the mutex.
func (o *operator) keepDiff(p control.Pushed) {
	o.pushed = append(o.pushed[max(0, len(o.pushed)+1-maxPushes):len(o.pushed):len(o.pushed)], p)
}

// Diff implements control.Desk.
func (o *operator) Diff(id string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range slices.Backward(o.pushed) {
		if p.Key == id {
			return p.Text, nil
		}
	}
	if strings.HasPrefix(id, "push-") {
		return "", errors.New("its diff is not kept: those of the last pushes are, since the bundle began")
	}
	if r, err := o.ledger.Get(id); err != nil || r.Kind != requests.Pushing {
		return "", errors.Join(err, errors.New("only a push has a diff"))
	}
	text, ok := o.diffs[id]
	if !ok {
		return "", errors.New("its diff is not kept any more")
	}
	return text, nil
}
