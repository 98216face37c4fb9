package requests

import (
	"fmt"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Effective is a policy with all that is granted beside it. What was asked for comes
// after the operator's own routes, so that these decide as they did; but for what is to
// carry a new credential, which a route without it would keep from being used.
func (l *Ledger) Effective(base policy.Policy) policy.Policy {
	base.Routes = slices.Clone(base.Routes)
	var first []policy.Route
	for _, r := range l.requests {
		if !r.Grant.live() {
			continue
		}
		switch r.Kind {
		case Egress:
			base.Routes = append(base.Routes, r.granted()...)
		case Secret:
			first = append(first, r.granted()...)
		case Limit:
			r.raise(&base)
		}
	}
	base.Routes = append(first, base.Routes...)
	return base
}

// granted are the routes as egress is to have them. The uses of all of them are counted
// by the ledger; each by itself must not have more (policy.Meter).
func (r *Request) granted() []policy.Route {
	routes := slices.Clone(r.Routes)
	for i := range routes {
		routes[i].Grant = r.ID
		if uses := r.Grant.Uses; uses > 0 {
			limits := policy.Limits{}
			if routes[i].Limits != nil {
				limits = *routes[i].Limits
			}
			if limits.Requests == 0 || limits.Requests > uses {
				limits.Requests, limits.Window = uses, 0
			}
			routes[i].Limits = &limits
		}
	}
	return routes
}

// Used is how often grants that are for a number of uses were used, as policy.Meter knows them.
// A meter that begins anew has to begin with that.
func (l *Ledger) Used() map[string]policy.Usage {
	used := make(map[string]policy.Usage)
	for _, r := range l.requests {
		if r.Grant.live() && r.Grant.Uses > 0 && r.Grant.Used > 0 && len(r.Routes) > 0 {
			used[policy.GrantAccount(r.ID)] = policy.Usage{Requests: r.Grant.Used}
		}
	}
	return used
}

// raise adds what was granted to the limits that there are.
func (r *Request) raise(p *policy.Policy) {
	if r.Host == "" {
		p.Limits = sum(p.Limits, r.More)
		return
	}
	for i, route := range p.Routes {
		if n, err := route.Normalize(); err == nil && n.Host == r.Host && route.Grant == "" {
			p.Routes[i].Limits = sum(route.Limits, r.More)
		}
	}
}

// sum never limits what was not limited.
func sum(limits, more *policy.Limits) *policy.Limits {
	if limits == nil {
		return nil
	}
	all := *limits
	for _, field := range []struct {
		now  *int64
		more int64
	}{{&all.Requests, more.Requests}, {&all.BytesUp, more.BytesUp}, {&all.BytesDown, more.BytesDown}} {
		if *field.now > 0 {
			*field.now += field.more
		}
	}
	return &all
}

// Use counts n requests that went out because of a grant, and returns the grant's request
// if those were the last.
func (l *Ledger) Use(now time.Time, id string, n int64) (ended *Request) {
	r, err := l.find(id)
	if err != nil || !r.Grant.live() {
		return nil
	}
	if r.Grant.Used += n; r.Grant.Uses == 0 || r.Grant.Used < r.Grant.Uses {
		return nil
	}
	r.Grant.Ended, r.Grant.Why = now, "it was used as often as it may"
	ended = new(Request)
	*ended = r.copy()
	return ended
}

// Expire ends the grants whose time is up, and those of what has ended, and returns their
// requests.
func (l *Ledger) Expire(now time.Time) (ended []Request) {
	for _, r := range l.requests { // what a grant is of was asked for before it
		if l.orphaned(r) {
			r.Grant.Ended, r.Grant.Why = now, "the grant of the repository has ended"
			ended = append(ended, r.copy())
		}
		if r.Grant.live() && !r.Grant.Until.IsZero() && reached(now, r.Grant.Until) {
			r.Grant.Ended, r.Grant.Why = now, "its time is up"
			ended = append(ended, r.copy())
		}
	}
	return ended
}

// reached reports whether a time has come, by the clock on the wall or by the one that counts what has
// passed, whichever is first: setting the clock back prolongs nothing, and neither does a machine
// that slept, which does not count that.
func reached(now, at time.Time) bool {
	return !now.Before(at) || !now.Round(0).Before(at.Round(0))
}

// Revoke ends a grant early, for the operator.
func (l *Ledger) Revoke(now time.Time, id string) (Request, error) {
	r, err := l.find(id)
	switch {
	case err != nil:
		return Request{}, err
	case !r.Grant.live():
		return Request{}, fmt.Errorf("%s has no grant that could be taken back", r.ID)
	}
	r.Grant.Ended, r.Grant.Why = now, "the operator took it back"
	return r.copy(), nil
}

// Next is when Expire has something to do; zero for never.
func (l *Ledger) Next() (at time.Time) {
	for _, r := range l.requests {
		if r.Grant.live() && !r.Grant.Until.IsZero() && (at.IsZero() || r.Grant.Until.Before(at)) {
			at = r.Grant.Until
		}
	}
	return at
}
