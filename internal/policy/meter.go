package policy

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// slots divide a window. What was used is given back a slot at a time, so that no stretch
// of time as long as the window ever holds more than the limit.
const slots = 16

// Usage is what a request takes: itself, and bytes as they pass.
type Usage struct {
	Requests  int64 `json:"requests,omitempty"`
	BytesUp   int64 `json:"bytes_up,omitempty"`
	BytesDown int64 `json:"bytes_down,omitempty"`
}

// Meter holds a bottle and its routes to their limits. It may be used concurrently, and
// goes on counting when the bottle's policy changes.
type Meter struct {
	mu     sync.Mutex
	bottle account
	routes map[string]*account // by what Set.accounts calls them
}

// NewMeter returns one that has counted nothing.
func NewMeter() *Meter { return &Meter{routes: make(map[string]*account)} }

// Verdict says whether something was taken.
type Verdict struct {
	Allowed bool
	Limits  *Limits   // that refused; nil if none did
	Bottle  bool      // they are the bottle's, not the route's
	What    string    // which of them: requests, bytes up, bytes down
	Until   time.Time // when it may be allowed; zero for never
}

// Reason is for people; "" when allowed.
func (v Verdict) Reason() string {
	switch {
	case v.Allowed:
		return ""
	case v.Limits == nil:
		return "there is no such route"
	case v.Bottle:
		return fmt.Sprintf("the bottle may use %s: no more %s now", v.Limits, v.What)
	}
	return fmt.Sprintf("the route may use %s: no more %s now", v.Limits, v.What)
}

// Take counts a use of a route of a set (Decision.Rule), all of it or, when that would
// exceed a limit of the route or the bottle, nothing. Time that goes back stands still.
func (m *Meter) Take(now time.Time, set *Set, route int, use Usage) Verdict {
	if route < 0 || route >= len(set.policy.Routes) || use.Requests < 0 || use.BytesUp < 0 || use.BytesDown < 0 {
		return Verdict{}
	}
	own, all := set.policy.Routes[route].Limits, set.policy.Limits
	if own == nil && all == nil {
		return Verdict{Allowed: true}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	account := m.account(set.accounts[route])
	if v := account.fits(now, own, use); !v.Allowed {
		return v
	}
	if v := m.bottle.fits(now, all, use); !v.Allowed {
		v.Bottle = true
		return v
	}
	account.add(own, use)
	m.bottle.add(all, use)
	return Verdict{Allowed: true}
}

func (m *Meter) account(name string) *account {
	a := m.routes[name]
	if a == nil {
		a = &account{}
		m.routes[name] = a
	}
	return a
}

// account is what was used, slot by slot, the current one last.
type account struct {
	window time.Duration
	width  time.Duration // of a slot
	start  time.Time     // of the current one
	used   [slots + 1]Usage
}

// fits reports whether a use stays within limits; nil are none.
func (a *account) fits(now time.Time, l *Limits, use Usage) Verdict {
	if l == nil {
		return Verdict{Allowed: true}
	}
	a.advance(now, time.Duration(l.Window))
	for _, part := range l.parts(use) {
		if part.limit == 0 || part.use == 0 {
			continue
		}
		if until, ok := a.room(part.limit, part.use, part.of); !ok {
			return Verdict{Limits: l, What: part.what, Until: until}
		}
	}
	return Verdict{Allowed: true}
}

// part is one of the things that limits are about, with what is to be held against it.
type part struct {
	what       string
	limit, use int64
	of         func(Usage) int64
}

func (l *Limits) parts(use Usage) [3]part {
	return [...]part{
		{"requests", l.Requests, use.Requests, func(u Usage) int64 { return u.Requests }},
		{"bytes up", l.BytesUp, use.BytesUp, func(u Usage) int64 { return u.BytesUp }},
		{"bytes down", l.BytesDown, use.BytesDown, func(u Usage) int64 { return u.BytesDown }},
	}
}

// room looks for a use below a limit: now, or after slots have been given back.
func (a *account) room(limit, use int64, of func(Usage) int64) (until time.Time, ok bool) {
	if use > limit {
		return time.Time{}, false
	}
	total := int64(0)
	for _, slot := range a.used {
		total = plus(total, of(slot))
	}
	if total <= limit-use {
		return time.Time{}, true
	}
	if a.window == 0 {
		return time.Time{}, false
	}
	for i, slot := range a.used {
		if total -= of(slot); total <= limit-use {
			return a.start.Add(time.Duration(i+1) * a.width), false
		}
	}
	return time.Time{}, false
}

// advance gives back the slots that are over. With another window, what was used counts
// as used just now: a change of the policy is no refill.
func (a *account) advance(now time.Time, window time.Duration) {
	if a.start.IsZero() {
		a.start = now
	}
	if a.window != window {
		a.gather()
		a.window, a.width, a.start = window, (window+slots-1)/slots, now
	}
	if window == 0 || now.Before(a.start) {
		return
	}
	n := int64(now.Sub(a.start) / a.width)
	a.start = a.start.Add(time.Duration(n) * a.width)
	n = min(n, int64(len(a.used)))
	copy(a.used[:], a.used[n:])
	clear(a.used[int64(len(a.used))-n:])
}

func (a *account) gather() {
	var all Usage
	for _, slot := range a.used {
		all = all.plus(slot)
	}
	clear(a.used[:])
	a.used[slots] = all
}

func (a *account) add(l *Limits, use Usage) {
	if l != nil {
		a.used[slots] = a.used[slots].plus(use)
	}
}

func (u Usage) plus(other Usage) Usage {
	return Usage{plus(u.Requests, other.Requests), plus(u.BytesUp, other.BytesUp), plus(u.BytesDown, other.BytesDown)}
}

// plus adds what is not negative, and stays at the largest number.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
