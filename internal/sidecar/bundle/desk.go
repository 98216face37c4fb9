package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Here the two sides of a request meet: the agent's, by way of the supervise service
// (control.Counter), and the operator's (control.Desk). They share the ledger and
// nothing else.

var _ control.Counter = (*operator)(nil)

// tell wakes up who waits for the ledger to change.
func (o *operator) tell() {
	o.asked++
	close(o.changed)
	o.changed = make(chan struct{})
}

// record writes what became of a request. The log is all that is kept of it: a bottle that
// is resumed learns it from there (state.Requests).
func (o *operator) record(r requests.Request, e audit.Event) {
	e.Request = r.ID
	e.Snapshot, _ = json.Marshal(r) // of strings, numbers and times
	o.log.record(string(control.Supervise), e)
}

// Ask implements control.Counter.
func (o *operator) Ask(_ context.Context, a requests.Ask) (requests.Request, error) {
	if a.Kind == requests.Pushing {
		return requests.Request{}, &requests.Refusal{Code: "invalid", Reason: "a push is asked for with git push"}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.Kind == requests.Repo && !o.mayGate {
		return requests.Request{}, &requests.Refusal{Code: "invalid", Reason: "this bottle has no git-gate"}
	}
	if a.Kind == requests.Secret && a.Auth != nil && o.has(a.Auth.Secret) {
		return requests.Request{}, &requests.Refusal{Code: "invalid", Reason: a.Auth.Secret + " is a credential that the bottle has: ask for the route with request_egress, or choose another name"}
	}
	r, err := o.ledger.Ask(time.Now(), o.config.Policy(), a)
	if err != nil {
		return r, err
	}
	o.tell()
	o.record(r, audit.Event{Kind: audit.Ask, Reason: o.shown(r).Summary()})
	return r, nil
}

// Wait implements control.Counter.
func (o *operator) Wait(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for {
		o.mu.Lock()
		r, err := o.ledger.Get(id)
		changed := o.changed
		o.mu.Unlock()
		if err != nil || r.State != requests.Pending {
			return r, unknown(err)
		}
		select {
		case <-changed:
		case <-timer.C:
			return r, nil
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// unknown is for the agent: it named what is not there.
func unknown(err error) error {
	if err == nil {
		return nil
	}
	return &requests.Refusal{Code: "invalid", Reason: err.Error()}
}

// List implements control.Counter.
func (o *operator) List(context.Context) ([]requests.Request, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ledger.All(), nil
}

// Cancel implements control.Counter.
func (o *operator) Cancel(_ context.Context, id string) (requests.Request, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.ledger.Cancel(time.Now(), id)
	if err != nil {
		return r, unknown(err)
	}
	o.tell()
	o.record(r, audit.Event{Kind: audit.Decision, Reason: "the agent took it back"})
	return r, nil
}

// Allowed implements control.Counter.
func (o *operator) Allowed(ctx context.Context) (control.Allowance, error) {
	left := o.left(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	return control.Allowance{Policy: o.ledger.Effective(o.config.Policy()), Grants: o.grants(), Repositories: o.ledger.Repositories(), Left: left}, nil
}

// grants are the requests whose grants have not ended.
func (o *operator) grants() []requests.Request {
	var live []requests.Request
	for _, r := range o.ledger.All() {
		if r.Grant != nil && r.Grant.Ended.IsZero() {
			live = append(live, r)
		}
	}
	return live
}

// shown is a request as the operator is to see it now.
func (o *operator) shown(r requests.Request) requests.Shown {
	s := o.ledger.Show(r, o.config.Policy())
	s.Bottle = o.bottle
	return s
}

// Requests implements control.Desk.
func (o *operator) Requests(ctx context.Context, after int) control.Requests {
	for {
		o.mu.Lock()
		changed, now := o.changed, control.Requests{Revision: o.asked, Requests: []requests.Shown{}}
		if o.asked != after {
			now.Requests = o.ledger.ShowAll(o.config.Policy())
			o.mu.Unlock()
			o.complete(ctx, now.Requests)
			return now
		}
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			after = -1 // what there is, then
		}
	}
}

// complete adds to requests what the ledger does not know.
func (o *operator) complete(ctx context.Context, all []requests.Shown) {
	var left []policy.Left
	if slices.ContainsFunc(all, func(s requests.Shown) bool { return s.Kind == requests.Limit && s.State == requests.Pending }) {
		left = o.left(ctx)
	}
	for i := range all {
		all[i].Bottle = o.bottle
		all[i].ShowLeft(left)
	}
}

// Decide implements control.Desk.
func (o *operator) Decide(id string, d requests.Decision) (requests.Shown, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, err := o.ledger.Get(id)
	if err != nil {
		return requests.Shown{}, err
	}
	seen := o.shown(before)
	r, err := o.ledger.Decide(time.Now(), id, o.config.Policy(), d)
	if err != nil {
		return requests.Shown{}, err
	}
	if r.Grant != nil {
		if r.Kind == requests.Secret {
			o.supplied[id] = control.Secret{Name: r.Routes[0].Auth.Secret, Value: d.Secret}
			o.lookFor(o.supplied[id])
		}
		o.remember(id, d.Credential)
		if err := o.enforce(r); err != nil {
			o.ledger.Restore(before)
			delete(o.supplied, id)
			delete(o.keys, id)
			return requests.Shown{}, err
		}
		o.poke() // its end may be the next
	}
	if r.State != requests.Approved {
		delete(o.diffs, id)
	}
	o.tell()
	o.record(r, decided(seen, r))
	return o.shown(r), nil
}

// enforce puts what is granted in force, or reports why it is not.
func (o *operator) enforce(r requests.Request) error {
	switch r.Kind {
	case requests.Repo:
		return o.enforceGate()
	case requests.Capability:
		return nil // the host has built it, and starts the bottle again
	}
	data, err := o.document(o.config)
	if err != nil {
		return err
	}
	return o.egress.change(data)
}

// decided is a decision for the log: who, what, and after how long.
func decided(seen requests.Shown, r requests.Request) audit.Event {
	e := audit.Event{Kind: audit.Decision, Decision: audit.Deny}
	var what string
	switch r.State {
	case requests.Approved:
		e.Decision = audit.Allow
		what = "approved"
		if r.Grant != nil {
			what += " for " + r.Grant.Scope.String()
		}
	case requests.Answered:
		e.Decision = audit.Allow
		what = "answered"
	default:
		what = "rejected"
	}
	if r.Edited {
		what += " as edited by the operator"
	}
	if by := r.Decided.By; by != "" {
		what += " by " + by
	}
	e.Reason = fmt.Sprintf("%s after %s: %s", what, policy.Span(max(time.Second, r.Decided.At.Sub(r.Asked).Round(time.Second))).String(), seen.Summary())
	return e
}

// Edit implements control.Desk.
func (o *operator) Edit(id, digest string, c requests.Change) (requests.Shown, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if asked, err := o.ledger.Get(id); err == nil && asked.Kind == requests.Egress {
		if err := o.known(c.Routes); err != nil {
			return requests.Shown{}, err
		}
	}
	r, err := o.ledger.Edit(id, digest, o.config.Policy(), c)
	if err != nil {
		return requests.Shown{}, err
	}
	o.tell()
	seen := o.shown(r)
	o.record(r, audit.Event{Kind: audit.Edit, Reason: seen.Summary()})
	return seen, nil
}

// known refuses routes with a credential that the bottle does not have.
func (o *operator) known(routes []policy.Route) error {
	for _, r := range routes {
		if r.Auth == nil {
			continue
		}
		if !o.has(r.Auth.Secret) {
			return fmt.Errorf("the bottle has no secret %q", r.Auth.Secret)
		}
	}
	return nil
}

// Revoke implements control.Desk.
func (o *operator) Revoke(id string) (requests.Shown, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.ledger.Revoke(time.Now(), id)
	if err != nil {
		return requests.Shown{}, err
	}
	o.end(r)
	return o.shown(r), nil
}

// end takes what has ended out of force, whatever state egress is in.
func (o *operator) end(ended ...requests.Request) {
	for _, r := range ended {
		delete(o.supplied, r.ID)
		delete(o.keys, r.ID)
	}
	if slices.ContainsFunc(ended, func(r requests.Request) bool { return r.Kind == requests.Repo }) {
		o.closeGate()
		o.poke() // what was of it has ended, too
	}
	if data, err := o.document(o.config); err == nil {
		o.egress.must(data)
	}
	o.tell()
	for _, r := range ended {
		o.record(r, audit.Event{Kind: audit.GrantEnd, Reason: r.Grant.Why + ": " + o.shown(r).Summary()})
	}
}

// hear counts the uses of grants. It does not wait: egress may be waiting for us.
func (o *operator) hear(e audit.Event) { o.count(&o.uses, e) }

func (o *operator) count(uses *audit.Uses, e audit.Event) {
	o.counting.Lock()
	ended := uses.Hear(e)
	o.counting.Unlock()
	if ended {
		o.poke()
	}
}

// hearGate also notes which pushes are upstream. It does not wait.
func (o *operator) hearGate(e audit.Event) {
	if id := e.Arrived(); id != "" {
		o.counting.Lock()
		o.arrived = append(o.arrived, id)
		o.counting.Unlock()
		o.poke()
	}
	o.count(&o.pushes, e)
}

// lost counts what egress was at when its process ended, before another one is started, which is
// to begin with that.
func (o *operator) lost() { o.countLost(&o.uses) }

// lostGate is the same of git-gate.
func (o *operator) lostGate() { o.countLost(&o.pushes) }

func (o *operator) countLost(uses *audit.Uses) {
	o.counting.Lock()
	uses.Lost()
	o.counting.Unlock()
	o.settle()
}

// poke makes keep look.
func (o *operator) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// keep ends grants when they have to end, until ctx does.
func (o *operator) keep(ctx context.Context) {
	for _, r := range o.over {
		o.record(r, audit.Event{Kind: audit.GrantEnd, Reason: r.Grant.Why})
	}
	for {
		next := o.settle()
		timer := time.NewTimer(next)
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// countForEgress has an egress that is started again know how often grants were used. The one
// that runs has counted itself.
func (o *operator) countForEgress() {
	if len(o.ledger.Used()) == 0 {
		return
	}
	if data, err := o.document(o.config); err == nil {
		o.egress.later(data)
	}
}

// lookAgain bounds how long a grant with a time is not looked at: timers stand still while the machine
// sleeps, and the clock on the wall does not.
const lookAgain = 30 * time.Second

// settle takes over what was heard, ends what is over, and returns how long there is nothing to do.
func (o *operator) settle() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counting.Lock()
	used, arrived := make(map[string]int64), o.arrived
	for _, counted := range []*audit.Uses{&o.uses, &o.pushes} {
		for id, n := range counted.Take() {
			used[id] += n
		}
	}
	o.arrived = nil
	o.counting.Unlock()
	for _, id := range arrived {
		_ = o.finish(id, control.Forwarded) // which is of no use where it is none, or is forgotten
	}
	now := time.Now()
	ended := o.ledger.Expire(now)
	for id, n := range used {
		if r := o.ledger.Use(now, id, n); r != nil {
			ended = append(ended, *r)
		}
	}
	if len(used) > 0 {
		o.countForGate()
		o.countForEgress()
	}
	if len(ended) > 0 {
		o.end(ended...)
	} else if len(used) > 0 {
		o.tell()
	}
	if next := o.ledger.Next(); !next.IsZero() {
		return min(max(0, time.Until(next)), lookAgain)
	}
	return time.Hour
}
