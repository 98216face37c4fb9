package smolmachines

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// PrepareCleanup finds what is left of bottles that no longer run. It looks at this
// $BOT_BOTTLE_HOME's own machines, bundles and records, and skips what another process is at work on.
func (d *Driver) PrepareCleanup(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
	return d.leftovers(ctx, o, "")
}

// leftovers is PrepareCleanup for who holds the lock of a bottle; "" for none.
func (d *Driver) leftovers(ctx context.Context, o bottle.CleanupOptions, held string) (bottle.Tasks, error) {
	c, err := d.count(ctx, held)
	if err != nil {
		return bottle.Tasks{}, err
	}
	plan := bottle.Tasks{Options: o}
	limit := d.Now().Add(-o.OlderThan)
	add := func(l bottle.Task, ok bool) {
		if ok && (o.OlderThan == 0 || l.Since != nil && l.Since.Before(limit)) {
			plan.All = append(plan.All, l)
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
		unsure, doubt := c.doubtful[identity]
		if doubt {
			add(unsure.toLookAt(identity), true)
		}
		if dir, there := c.dirs[identity]; there {
			since := d.Now().UTC()
			if r := c.records[identity]; !r.missing && !r.damaged {
				since = r.StartedAt
			}
			add(bottle.Task{Leftover: bottle.Leftover{Kind: bottle.LeftBundle, Name: dir, Identity: identity, Why: "of " + identity + ", which does not run", Since: &since}}, true)
		}
		if doubt {
			continue // its record is all that leads to that machine
		}
		add(c.state(d.Name(), identity, old(identity)))
		if l, ok := c.state(d.Name(), identity, old(identity)); ok && !l.Kept {
			d.weigh(&plan, identity)
		}
	}
	slices.SortStableFunc(plan.All, inOrder)
	return plan, nil
}

// weigh says how much a record's directory holds.
func (d *Driver) weigh(plan *bottle.Tasks, identity string) {
	for i := range plan.All {
		if plan.All[i].Kind == bottle.LeftState && plan.All[i].Identity == identity {
			plan.All[i].Bytes = d.State.Bytes(identity)
		}
	}
}

func inOrder(a, b bottle.Task) int {
	kinds := []bottle.LeftoverKind{bottle.LeftMachine, bottle.LeftBundle, bottle.LeftState}
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name))
}

// machine: its disk holds somebody's work. It goes only if its bottle was started to be removed, if
// its agent never ran, or if it ended as long ago as the operator said; else it is stopped.
func (c census) machine(m machine, identity string, old, byAge bool) (bottle.Task, bool) {
	made := time.Unix(m.CreatedAt, 0).UTC()
	l := bottle.Task{Leftover: bottle.Leftover{Kind: bottle.LeftMachine, Name: m.Name, Identity: identity, Since: &made}}
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
		l.Do, l.Why = bottle.StopIt, "it still runs, though "+identity+" does not; its disk stays"
	default:
		return l, false
	}
	return l, true
}

// toLookAt: a machine that nobody but the operator can tell whose it is.
func (m machine) toLookAt(identity string) bottle.Task {
	made := time.Unix(m.CreatedAt, 0).UTC()
	return bottle.Task{Leftover: bottle.Leftover{
		Kind: bottle.LeftMachine, Name: m.Name, Identity: identity, Since: &made, Kept: true,
		Why: "named as that of " + identity + ", and smolvm tells of no label of bot-bottle's; if it is that bottle's: " + m.byHand(),
	}}
}

// state: a record without an end whose bottle does not run was left by a crash. It is closed when
// its agent ran, since it has a log, and perhaps work to come back to; else it is forgotten.
func (c census) state(backend, identity string, old bool) (bottle.Task, bool) {
	r := c.records[identity]
	if r.missing || r.damaged || r.Backend != backend {
		return bottle.Task{}, false // another's, or for the operator to look at
	}
	m, kept := c.machines[identity]
	l := bottle.Task{Leftover: bottle.Leftover{Kind: bottle.LeftState, Name: identity, Identity: identity, Why: "a start that was interrupted", Since: &r.StartedAt}}
	removed := m.Labels[labelRemove] == "true" || r.Remove
	switch {
	case old:
		l.Since, l.Why = r.EndedAt, "ended "+r.EndedAt.Format(time.DateOnly)+"; its audit log goes too"
	case r.EndedAt != nil && !kept && !removed:
		l.Kept, l.Since = true, r.EndedAt
		l.Why = "its machine is gone; its audit log is left: bot-bottle rm " + identity
	case r.EndedAt != nil:
		return bottle.Task{}, false
	case c.halfMade(identity):
	case kept && !removed:
		l.Do, l.Why = bottle.CloseIt, "ended unseen; its machine's disk stays"
	case kept || r.ExitCode != nil || r.acted: // its agent ran
		l.Do, l.Why = bottle.CloseIt, "ended unseen; its audit log stays"
	}
	return l, true
}
