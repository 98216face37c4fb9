package requests

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Bounds of what one bottle may ask, so that what deserves attention gets it (ATTACKS G1).
const (
	burst      = 5                      // asks at once
	perAsk     = 100 * time.Millisecond // until there may be another one
	maxPending = 50
	maxHistory = 1000             // decided ones that are remembered
	remindable = 30 * time.Minute // until what was rejected may be asked for again
)

// Ledger is one bottle's requests. Its zero value is not ready: use New. It must not be
// used concurrently.
type Ledger struct {
	Declared []Repository // that the manifest names; set it before anything is asked

	prefix   string
	next     int
	requests []*Request // in the order in which they were asked
	tokens   float64
	filled   time.Time // when tokens was counted
}

// New returns an empty ledger. The requests' names begin with prefix, so that they are
// unique where several bottles are looked at.
func New(prefix string) *Ledger { return &Ledger{prefix: prefix, tokens: burst} }

// Load takes over the requests of a bottle's earlier runs, into a new ledger. Grants that
// were for as long as the bottle ran have ended with that, and so have those with a credential,
// which nobody kept; they are returned.
func (l *Ledger) Load(now time.Time, known []Request) (ended []Request) {
	for _, r := range known {
		c := r.copy()
		if c.Grant.live() && (c.Grant.Scope == Scope{} && c.Kind != Capability || c.Kind == Secret || l.stale(&c)) {
			c.Grant.Ended, c.Grant.Why = now, "the bottle was started again"
			ended = append(ended, c.copy())
		}
		l.requests = append(l.requests, &c)
		if _, n, ok := strings.Cut(c.ID, "-"); ok {
			if n, err := strconv.Atoi(n); err == nil {
				l.next = max(l.next, n)
			}
		}
	}
	l.forget(now)
	return append(ended, l.Expire(now)...)
}

// Errors that the operator's side tells apart.
var (
	ErrUnknown = errors.New("there is no such request")
	ErrChanged = errors.New("it is not any more what was shown: look at it again")
)

// Ask takes an ask down, next to those for the same. base is the operator's policy. An
// error that is not a *Refusal is not the agent's fault.
func (l *Ledger) Ask(now time.Time, base policy.Policy, a Ask) (Request, error) {
	if !l.allowed(now) {
		return Request{}, &Refusal{"too_many", "you ask too fast: wait a second, and ask for what you need in one go"}
	}
	r, err := parse(a)
	if err != nil {
		return Request{}, err
	}
	if r.Kind == Repo {
		if err := l.locate(&r); err != nil {
			return Request{}, err
		}
	}
	current := l.Effective(base)
	set, err := policy.New(current)
	if err != nil {
		return Request{}, err
	}
	if err := possible(&r, current, set); err != nil {
		return Request{}, err
	}
	r.adopt(base)
	if known, err := l.known(now, &r); known != nil || err != nil {
		return known.copy(), err
	}
	if l.count(Pending) >= maxPending {
		return Request{}, &Refusal{"too_many", fmt.Sprintf("%d requests wait for the operator: check those, or cancel some", maxPending)}
	}
	l.next++
	r.ID, r.State, r.Asked = fmt.Sprintf("%s-%d", l.prefix, l.next), Pending, now
	l.requests = append(l.requests, &r)
	l.forget(now)
	return r.copy(), nil
}

// allowed takes a token, if there is one. Time that goes back stands still.
func (l *Ledger) allowed(now time.Time) bool {
	if passed := now.Sub(l.filled); passed > 0 {
		l.tokens = min(burst, l.tokens+float64(passed)/float64(perAsk))
		l.filled = now
	}
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// known finds the request that an ask repeats or adds to, or the rejection that still
// answers it.
func (l *Ledger) known(now time.Time, r *Request) (*Request, error) {
	for _, old := range slices.Backward(l.requests) {
		switch {
		case old.stands(now) && !old.Edited && old.same(r):
			return nil, &Refusal{"rejected", fmt.Sprintf("the operator rejected this as %s: %s. Find another way, or ask with what has changed", old.ID, orNone(old.Decided.Reason))}
		case old.OnItsWay() && old.same(r):
			return old, nil
		case old.State == Pending && old.same(r):
			old.saying(r.Why)
			return old, nil
		case old.State == Pending && old.merge(r):
			return old, nil
		}
	}
	return nil, nil
}

// OnItsWay reports whether it is still to be heard what became of an approved push.
func (r *Request) OnItsWay() bool {
	return r.Kind == Pushing && r.State == Approved && r.Decided != nil && r.Decided.Result == ""
}

func orNone(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}

// merge adds a route to a pending request for the same host, which is one thing to decide.
func (r *Request) merge(with *Request) bool {
	if r.Kind == Repo && with.Kind == Repo {
		return r.mergeGit(with)
	}
	if r.Kind != Egress || with.Kind != Egress || r.Edited || r.For != with.For || !sameHost(r.Routes[0], with.Routes[0]) {
		return false
	}
	more := with.Routes[0]
	if slices.ContainsFunc(r.Routes, func(have policy.Route) bool { return covers(have, more) }) {
		r.saying(with.Why)
		return true
	}
	kept := slices.DeleteFunc(slices.Clone(r.Routes), func(have policy.Route) bool { return covers(more, have) })
	if len(kept) >= maxRoutes {
		return false
	}
	r.Routes = append(kept, more)
	r.saying(with.Why)
	return true
}

// saying notes why it was asked for again.
func (r *Request) saying(why []string) {
	for _, w := range why {
		if len(r.Why) < maxRoutes && !slices.Contains(r.Why, w) {
			r.Why = append(r.Why, w)
		}
	}
}

// adopt gives the routes to a host the credential that the operator's own route to it
// has: without it, what is asked for would not work. Where there are several, none.
func (r *Request) adopt(base policy.Policy) {
	if r.Kind != Egress {
		return
	}
	var auth *policy.Auth
	for _, have := range base.Routes {
		have, err := have.Normalize()
		if err != nil || have.Auth == nil || !sameHost(have, r.Routes[0]) {
			continue
		}
		if auth != nil && !reflect.DeepEqual(auth, have.Auth) {
			return
		}
		auth = have.Auth
	}
	for i := range r.Routes {
		r.Routes[i].Auth = auth
	}
}

// Get returns one request.
func (l *Ledger) Get(id string) (Request, error) {
	r, err := l.find(id)
	return r.copy(), err
}

// All returns every request, in the order in which they were asked.
func (l *Ledger) All() []Request {
	all := make([]Request, len(l.requests))
	for i, r := range l.requests {
		all[i] = r.copy()
	}
	return all
}

// Len is how many requests there are.
func (l *Ledger) Len() int { return len(l.requests) }

// Cancel takes a pending request back, for the agent.
func (l *Ledger) Cancel(now time.Time, id string) (Request, error) {
	r, err := l.find(id)
	if err != nil {
		return Request{}, err
	}
	if r.State != Pending {
		return r.copy(), &Refusal{"invalid", fmt.Sprintf("%s is %s already", r.ID, r.State)}
	}
	r.State, r.Decided, r.Again = Cancelled, &Outcome{At: now}, ""
	return r.copy(), nil
}

// Change is what the operator puts in the place of what was asked for.
type Change struct {
	Routes []policy.Route `json:"routes,omitempty"`
	Push   *policy.Push   `json:"push,omitempty"` // refs, force and delete
	Image  *Image         `json:"image,omitempty"`
}

// Edit puts what the operator chooses in the place of what was asked for. What it is
// about has another digest then, and has to be looked at before it can be decided.
func (l *Ledger) Edit(id, shown string, base policy.Policy, c Change) (Request, error) {
	r, err := l.open(id, shown, base)
	if err != nil {
		return Request{}, err
	}
	if r.Kind == Repo {
		err := r.editGit(c.Push)
		return r.copy(), err
	}
	if r.Kind == Capability {
		edited := Request{}
		if err := edited.takeImage(Ask{Image: c.Image}); err != nil {
			return Request{}, err
		}
		r.Image, r.Edited = edited.Image, true
		return r.copy(), nil
	}
	return l.editRoutes(r, c.Routes)
}

func (l *Ledger) editRoutes(r *Request, routes []policy.Route) (_ Request, err error) {
	if r.Kind != Egress && r.Kind != Secret || len(routes) == 0 || len(routes) > maxRoutes {
		return Request{}, fmt.Errorf("a request for egress has 1 to %d routes", maxRoutes)
	}
	edited := make([]policy.Route, len(routes))
	for i, route := range routes {
		if edited[i], err = route.Normalize(); err != nil {
			return Request{}, err
		}
		if err := absurd(edited[i].Host); err != nil {
			return Request{}, err
		}
		edited[i].Grant = ""
		if r.Kind == Secret && (edited[i].Auth == nil || edited[i].Auth.Secret != r.Routes[0].Auth.Secret) {
			return Request{}, fmt.Errorf("every route is to carry %s", r.Routes[0].Auth.Secret)
		}
	}
	r.Routes, r.Edited = edited, true
	return r.copy(), nil
}

// Decide carries the operator's decision out. ErrChanged if it is about something else
// than the request is by now.
func (l *Ledger) Decide(now time.Time, id string, base policy.Policy, d Decision) (Request, error) {
	r, err := l.open(id, d.Digest, base)
	if err != nil {
		return Request{}, err
	}
	git := r.Git
	if d.Approve && r.Kind == Repo {
		g, err := l.checkGit(r, d)
		if err != nil {
			return Request{}, err
		}
		git = &g
	}
	done := &Outcome{At: now, By: clean(d.By), Reason: clean(d.Reason), Answer: clean(d.Answer), Digest: d.Digest}
	switch {
	case !d.Approve && r.Kind == Question && done.Answer != "":
		r.State = Answered
	case !d.Approve:
		r.State = Rejected
	case r.Kind == Question:
		return Request{}, fmt.Errorf("%s is a question: answer it", r.ID)
	case (r.Kind == Secret) != (d.Secret != "") || r.Kind != Repo && d.Credential != nil:
		return Request{}, fmt.Errorf("%s: a credential is supplied where one is asked for, and nowhere else", r.ID)
	case r.Kind == Pushing && d.Scope != Scope{}:
		return Request{}, fmt.Errorf("%s is one push: it is approved once", r.ID)
	case r.Kind == Capability && d.Scope != Scope{}:
		return Request{}, fmt.Errorf("%s is a change of the image: it stays for as long as there is the bottle", r.ID)
	case r.Kind == Pushing:
		r.State = Approved
	default:
		grant, err := newGrant(now, r.Kind, d.Scope)
		if err != nil {
			return Request{}, err
		}
		r.State, r.Grant, r.Git = Approved, grant, git
	}
	r.Decided, r.Again = done, ""
	return r.copy(), nil
}

func newGrant(now time.Time, kind Kind, s Scope) (*Grant, error) {
	g := &Grant{Scope: s}
	switch {
	case s.Uses < 0 || s.For < 0:
		return nil, errors.New("a grant cannot end before it began")
	case s.Uses > 0 && kind == Limit:
		return nil, errors.New("only routes and pushes are granted for a number of uses")
	case s.For > 0:
		g.Until = now.Add(time.Duration(s.For))
	}
	return g, nil
}

// Finish notes what became of an approved push. The first result stays.
func (l *Ledger) Finish(id, result string) (Request, error) {
	r, err := l.approvedPush(id)
	if err != nil {
		return Request{}, err
	}
	if r.Decided.Result == "" {
		r.Decided.Result = clean(result)
	}
	return r.copy(), nil
}

// Reopen has an approved push wait again, of which the upstream has not said what it makes of it. The
// approval is not there any more: whoever gave it is asked again.
func (l *Ledger) Reopen(id, why string) (Request, error) {
	r, err := l.approvedPush(id)
	if err != nil {
		return Request{}, err
	}
	if r.Decided.Result != "" {
		return Request{}, fmt.Errorf("%s has come to its end: %s", r.ID, r.Decided.Result)
	}
	r.State, r.Decided, r.Again = Pending, nil, clean(why)
	return r.copy(), nil
}

func (l *Ledger) approvedPush(id string) (*Request, error) {
	r, err := l.find(id)
	switch {
	case err != nil:
		return nil, err
	case r.Kind != Pushing || r.State != Approved:
		return nil, fmt.Errorf("%s is no approved push", r.ID)
	}
	return r, nil
}

// Restore puts a request back to what it was: what was decided could not be carried out.
func (l *Ledger) Restore(was Request) {
	if r, err := l.find(was.ID); err == nil {
		*r = was.copy()
	}
}

// open finds a pending request that is still what was shown.
func (l *Ledger) open(id, shown string, base policy.Policy) (*Request, error) {
	r, err := l.find(id)
	switch {
	case err != nil:
		return nil, err
	case r.State != Pending:
		return nil, fmt.Errorf("%s is %s already", r.ID, r.State)
	case shown != l.Show(*r, base).Digest:
		return nil, ErrChanged
	}
	return r, nil
}

func (l *Ledger) find(id string) (*Request, error) {
	if i := slices.IndexFunc(l.requests, func(r *Request) bool { return r.ID == id }); i >= 0 {
		return l.requests[i], nil
	}
	return nil, ErrUnknown
}

func (l *Ledger) count(s State) (n int) {
	for _, r := range l.requests {
		if r.State == s {
			n++
		}
	}
	return n
}

// forget drops the oldest of those that nothing depends on any more: no grant, and no rejection
// that still stands.
func (l *Ledger) forget(now time.Time) {
	over := len(l.requests) - maxHistory
	l.requests = slices.DeleteFunc(l.requests, func(r *Request) bool {
		if over <= 0 || r.State == Pending || r.Grant.live() || r.OnItsWay() || r.stands(now) {
			return false
		}
		over--
		return true
	})
}

// stands reports whether a rejection still answers the same ask.
func (r *Request) stands(now time.Time) bool {
	return r.State == Rejected && r.Decided != nil && now.Sub(r.Decided.At) < remindable
}

// copy keeps what is handed out from changing with the ledger.
func (r *Request) copy() Request {
	if r == nil {
		return Request{}
	}
	c := *r
	c.Routes, c.Choices, c.Why = slices.Clone(r.Routes), slices.Clone(r.Choices), slices.Clone(r.Why)
	if r.Git != nil {
		g := *r.Git
		g.Push.Refs = slices.Clone(r.Git.Push.Refs)
		c.Git = &g
	}
	if r.Image != nil {
		c.Image = &Image{slices.Clone(r.Image.Packages), r.Image.Dockerfile}
	}
	if r.Decided != nil {
		d := *r.Decided
		c.Decided = &d
	}
	if r.Grant != nil {
		g := *r.Grant
		c.Grant = &g
	}
	return c
}
