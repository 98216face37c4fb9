package smolmachines

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// CleanupPlan lists what is left of bottles that no longer run.
type CleanupPlan struct {
	options bottle.CleanupOptions
	items   []leftover
}

// action is what becomes of a leftover.
type action string

const (
	stopIt   action = "stop"
	deleteIt action = "delete"
	closeIt  action = "close" // a record, whose machine stays
)

type leftover struct {
	bottle.Leftover
	do action
}

// Leftovers lists what would be removed, and what is left over and stays.
func (p CleanupPlan) Leftovers() []bottle.Leftover {
	all := make([]bottle.Leftover, 0, len(p.items))
	for _, l := range p.items {
		all = append(all, l.Leftover)
	}
	return all
}

// PrepareCleanup finds what is left of bottles that no longer run. It looks at this
// $BOT_BOTTLE_HOME's own machines, bundles and records, and skips what another process is at work on.
func (d *Driver) PrepareCleanup(ctx context.Context, o bottle.CleanupOptions) (CleanupPlan, error) {
	c, err := d.count(ctx)
	if err != nil {
		return CleanupPlan{}, err
	}
	plan := CleanupPlan{options: o}
	limit := d.Now().Add(-o.OlderThan)
	add := func(l leftover, ok bool) {
		if ok && (o.OlderThan == 0 || l.Since != nil && l.Since.Before(limit)) {
			plan.items = append(plan.items, l)
		}
	}
	old := func(identity string) bool {
		r := c.records[identity]
		return o.OlderThan > 0 && r.EndedAt != nil && r.EndedAt.Before(limit)
	}
	for _, identity := range c.known() {
		if c.alive[identity] || o.Identity != "" && o.Identity != identity {
			continue
		}
		if m, there := c.machines[identity]; there {
			add(c.machine(m, identity, old(identity), o.OlderThan > 0))
		}
		if dir, there := c.dirs[identity]; there {
			since := d.Now().UTC()
			if r := c.records[identity]; !r.missing && !r.damaged {
				since = r.StartedAt
			}
			add(leftover{bottle.Leftover{Kind: bottle.LeftBundle, Name: dir, Identity: identity, Why: "of " + identity + ", which does not run", Since: &since}, deleteIt}, true)
		}
		add(c.state(d.Name(), identity, old(identity)))
		if l, ok := c.state(d.Name(), identity, old(identity)); ok && !l.Kept {
			plan.weigh(d, identity)
		}
	}
	slices.SortStableFunc(plan.items, inOrder)
	return plan, nil
}

// weigh says how much a record's directory holds.
func (p *CleanupPlan) weigh(d *Driver, identity string) {
	for i := range p.items {
		if p.items[i].Kind == bottle.LeftState && p.items[i].Identity == identity {
			p.items[i].Bytes = d.State.Bytes(identity)
		}
	}
}

func inOrder(a, b leftover) int {
	kinds := []bottle.LeftoverKind{bottle.LeftMachine, bottle.LeftBundle, bottle.LeftState}
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name))
}

// machine: its disk holds somebody's work. It goes only if its bottle was started to be removed, if
// its agent never ran, or if it ended as long ago as the operator said; else it is stopped.
func (c census) machine(m machine, identity string, old, byAge bool) (leftover, bool) {
	created := time.Unix(m.CreatedAt, 0).UTC()
	l := leftover{bottle.Leftover{Kind: bottle.LeftMachine, Name: m.Name, Identity: identity, Since: &created}, deleteIt}
	r := c.records[identity]
	switch {
	case m.Labels[labelRemove] == "true":
		l.Why = "of " + identity + ", which was started with --rm and does not run"
	case c.halfMade(identity):
		l.Why = "the start of " + identity + " was interrupted before its agent ran"
	case old:
		l.Since, l.Why = r.EndedAt, "of "+identity+", which ended "+r.EndedAt.Format(time.DateOnly)
	case r.missing && byAge:
		l.Why = "of " + identity + ", of which there is no record"
	case r.missing:
		l.Kept, l.Why = true, "of "+identity+", of which there is no record; it may hold work: bot-bottle rm --force "+identity
	case m.up():
		l.do, l.Why = stopIt, "it still runs, though "+identity+" does not; its disk stays"
	default:
		return l, false
	}
	return l, true
}

// state: a record without an end whose bottle does not run was left by a crash. It is closed when
// there is something to come back to, and forgotten otherwise.
func (c census) state(backend, identity string, old bool) (leftover, bool) {
	r := c.records[identity]
	if r.missing || r.damaged || r.Backend != backend {
		return leftover{}, false // another's, or for the operator to look at
	}
	m, kept := c.machines[identity]
	l := leftover{bottle.Leftover{Kind: bottle.LeftState, Name: identity, Identity: identity, Why: "a start that was interrupted", Since: &r.StartedAt}, deleteIt}
	removed := m.Labels[labelRemove] == "true" || r.Remove
	switch {
	case old:
		l.Since, l.Why = r.EndedAt, "ended "+r.EndedAt.Format(time.DateOnly)+"; its audit log goes too"
	case r.EndedAt != nil && !kept && !removed:
		l.Kept, l.Since = true, r.EndedAt
		l.Why = "its machine is gone; its audit log is left: bot-bottle rm " + identity
	case r.EndedAt != nil:
		return leftover{}, false
	case kept && !removed && !c.halfMade(identity):
		l.do, l.Why = closeIt, "ended unseen; its machine's disk stays"
	}
	return l, true
}
