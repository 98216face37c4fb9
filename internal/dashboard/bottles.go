package dashboard

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// errGone is a connection that ended without a reason.
var errGone = errors.New("the connection has ended")

// known is all that is known of a bottle.
type known struct {
	Found
	asked    []requests.Shown
	asking   source // the desk
	log      source
	screen   Screen
	noScreen error
	tally    tally
}

// source is a connection that what is shown came from.
type source struct {
	since time.Time // it was lost; zero while it holds
	err   error
}

func (s *source) heard() { *s = source{} }
func (s *source) lost(err error, now time.Time) {
	if s.err == nil {
		s.since = now
	}
	s.err = err
}

// tally is what a bottle's log adds up to.
type tally struct {
	in, out, cached int64 // tokens
	model           string
	cost            float64 // of the answers whose price is known
	priced          int     // how many they are
	unpriced        int
	passed, blocked int
	lastBlocked     audit.Event
	last            time.Time // of what it did
	pushes          []audit.Event
}

// recentPushes is how many pushes of a bottle are remembered.
const recentPushes = 50

func (t *tally) add(e audit.Event, p Prices) {
	if e.Phase != "" {
		return // its end is to come, and counts
	}
	t.pay(e.Usage, p)
	t.in, t.out, t.cached = t.in+e.TokensIn, t.out+e.TokensOut, t.cached+e.TokensCached
	t.model = cmp.Or(e.Model, t.model)
	switch e.Decision {
	case audit.Allow:
		t.passed++
	case audit.Deny:
		t.blocked++
		t.lastBlocked = e
	}
	if e.Service != audit.Bundle && e.Time.After(t.last) {
		t.last = e.Time
	}
	if e.Kind == audit.Push {
		t.pushes = append(t.pushes[max(0, len(t.pushes)-recentPushes+1):], e)
	}
}

// pay adds what an answer cost.
func (t *tally) pay(u audit.Usage, p Prices) {
	if p == nil || u.Model == "" && u.TokensIn == 0 && u.TokensOut == 0 {
		return
	}
	if cost, ok := p.Cost(u); ok {
		t.cost, t.priced = t.cost+cost, t.priced+1
	} else {
		t.unpriced++
	}
}

// spent is what a bottle's answers cost, as far as that is known: an estimate.
func (m *model) spent(t tally) string {
	switch {
	case m.o.Prices == nil || t.priced == 0:
		return ""
	case t.unpriced > 0:
		return "> " + m.o.Prices.Money(t.cost)
	}
	return "~ " + m.o.Prices.Money(t.cost)
}

func has(b Found, s control.Service) bool { return slices.Contains(b.Services, s) }

// pending are the requests that nobody has decided.
func (k *known) pending() []requests.Shown {
	return slices.DeleteFunc(slices.Clone(k.asked), func(s requests.Shown) bool { return s.State != requests.Pending })
}

// busyFor is how long after a sign of life an agent without a screen counts as working.
const busyFor = 20 * time.Second

// state of the agent, and since when. Without a screen its traffic tells.
func (k *known) state(now time.Time) (State, time.Time) {
	switch {
	case !k.Running:
		return Exited, k.Ended
	case k.Status != "" && k.Status != "running":
		return CutOff, time.Time{}
	}
	if waiting := k.pending(); len(waiting) > 0 {
		return WaitsForYou, waiting[0].Asked
	}
	if k.noScreen == nil && k.screen.State != unknown {
		return k.screen.State, k.screen.Since
	}
	since := k.tally.last
	if since.IsZero() {
		since = k.started()
	}
	if now.Sub(since) < busyFor {
		return Working, since
	}
	return Idle, since
}

func (k *known) started() time.Time {
	at, _ := time.Parse(time.RFC3339, k.StartedAt)
	return at
}

// stale is since when what is shown of a bottle may be old; zero if it is not.
func (k *known) stale() time.Time {
	for _, s := range []source{k.asking, k.log} {
		if k.Running && s.err != nil {
			return s.since
		}
	}
	return time.Time{}
}

// lastLine is the last line on its screen that says something.
func (k *known) lastLine() string {
	for _, line := range slices.Backward(k.screen.Lines) {
		if text := squeeze(line); text != "" {
			return text
		}
	}
	return ""
}

// urgency orders bottles: who needs the operator comes first.
func (k *known) urgency(now time.Time) int {
	state, _ := k.state(now)
	return slices.Index([]State{WaitsForYou, CutOff, WaitsForText, Working, Idle, Exited}, state)
}
