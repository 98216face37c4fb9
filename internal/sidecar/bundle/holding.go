package bundle

import (
	"context"
	"errors"
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

// Decision implements control.Holder.
func (o *operator) Decision(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	return o.Wait(ctx, id, atMost)
}

// Done implements control.Holder.
func (o *operator) Done(_ context.Context, id, result string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.ledger.Finish(id, result)
	if err != nil {
		return unknown(err)
	}
	delete(o.diffs, id)
	o.tell()
	o.record(r, audit.Event{Kind: audit.Decision, Decision: audit.Allow, Reason: "the push: " + r.Decided.Result, Repository: r.Push.Repository})
	return nil
}

// Diff implements control.Desk.
func (o *operator) Diff(id string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r, err := o.ledger.Get(id); err != nil || r.Kind != requests.Pushing {
		return "", errors.Join(err, errors.New("only a push has a diff"))
	}
	text, ok := o.diffs[id]
	if !ok {
		return "", errors.New("its diff is not kept any more")
	}
	return text, nil
}
