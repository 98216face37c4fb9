//go:build linux

package memory

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// PrepareCleanup finds what is left of bottles that no longer run: machines whose agents have
// ended, and the files and records of a process that was killed.
func (d *Driver) PrepareCleanup(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
	return d.leftovers(ctx, o, "")
}

// leftovers is PrepareCleanup for who holds the lock of a bottle; "" for none.
func (d *Driver) leftovers(ctx context.Context, o bottle.CleanupOptions, held string) (bottle.Tasks, error) {
	plan := bottle.Tasks{Options: o}
	known, err := d.known()
	if err != nil {
		return plan, err
	}
	limit := d.Now().Add(-o.OlderThan)
	for _, identity := range known {
		if o.Identity != "" && o.Identity != identity || identity != held && d.State.Locked(identity) {
			continue
		}
		for _, task := range d.leftOf(ctx, identity, o.OlderThan > 0, limit) {
			if o.OlderThan == 0 || task.Since != nil && task.Since.Before(limit) {
				plan.All = append(plan.All, task)
			}
		}
	}
	return plan, nil
}

// known are all identities that there is anything of, in order.
func (d *Driver) known() ([]string, error) {
	all, err := d.State.Identities()
	entries, readErr := os.ReadDir(d.Dir)
	for _, e := range entries {
		if bottle.ValidIdentity(e.Name()) {
			all = append(all, e.Name())
		}
	}
	slices.Sort(all)
	return slices.Compact(all), errors.Join(err, readErr)
}

// leftOf is what is left of one bottle: its machine first, its record last.
func (d *Driver) leftOf(ctx context.Context, identity string, byAge bool, limit time.Time) (all []bottle.Task) {
	m := d.find(identity)
	r, err := d.State.Read(identity)
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil && (r.Backend != Name || r.Place != d.Dir) || m != nil && m.works(ctx) {
		return nil // another's, or alive
	}
	add := func(kind bottle.LeftoverKind, name, why string, since *time.Time, do bottle.Action) {
		all = append(all, bottle.Task{Leftover: bottle.Leftover{Kind: kind, Name: name, Identity: identity, Why: why, Since: since}, Do: do})
	}
	if m != nil {
		add(bottle.LeftMachine, identity, "it still runs, though its agent does not; its files stay", &m.started, bottle.StopIt)
	}
	old := byAge && err == nil && r.EndedAt != nil && r.EndedAt.Before(limit)
	if d.keeps(identity) {
		switch {
		case missing:
			add(bottle.LeftVolume, d.dir(identity), "of "+identity+", of which there is no record; it may hold work: bot-bottle rm --force "+identity, nil, "")
			all[len(all)-1].Kept = true
		case err == nil && (r.Remove || old || d.halfMade(m, r)):
			add(bottle.LeftVolume, d.dir(identity), "of "+identity+", which is not to be kept", &r.StartedAt, "")
		}
	}
	switch {
	case err != nil: // for the operator to look at
	case old:
		add(bottle.LeftState, identity, "ended "+r.EndedAt.Format(time.DateOnly)+"; its audit log goes too", r.EndedAt, "")
	case r.EndedAt != nil:
	case d.halfMade(m, r):
		add(bottle.LeftState, identity, "a start that was interrupted", &r.StartedAt, "")
	default:
		add(bottle.LeftState, identity, "ended unseen; its audit log stays", &r.StartedAt, bottle.CloseIt)
	}
	if len(all) > 0 && all[len(all)-1].Kind == bottle.LeftState {
		all[len(all)-1].Bytes = d.State.Bytes(identity)
	}
	return all
}

// halfMade reports whether a bottle's first start was interrupted before its agent did anything.
func (d *Driver) halfMade(m *machine, r state.Metadata) bool {
	return m == nil && r.EndedAt == nil && r.Runs == 1 && r.ExitCode == nil && !d.State.Acted(r.Identity)
}
