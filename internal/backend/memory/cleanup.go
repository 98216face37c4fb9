//go:build linux

package memory

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Cleanup carries a plan out.
func (d *Driver) Cleanup(ctx context.Context, plan bottle.Tasks, tell func(bottle.Leftover, error)) error {
	return bottle.Sweep{
		AtOnce: 1, Lock: d.State.Lock,
		Look: func(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
			return d.leftovers(ctx, o, o.Identity)
		},
		Clean: func(ctx context.Context, _ string, tasks []bottle.Task, now bottle.Tasks, report bottle.Report) {
			now.DoEach(tasks, func(t bottle.Task) error { return d.removeLeftover(ctx, t) }, report)
		},
	}.Run(ctx, plan, tell)
}

// removeLeftover removes one thing, and keeps what it has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l bottle.Task) error {
	switch {
	case l.Kind == bottle.LeftMachine:
		code, err := d.halt(ctx, d.find(l.Identity))
		if err != nil || code == nil {
			return err
		}
		return d.keepCode(l.Identity, code)
	case l.Kind == bottle.LeftVolume:
		return removeFiles(d.dir(l.Identity))
	case l.Do == bottle.CloseIt:
		m, err := d.State.Read(l.Identity)
		if err != nil {
			return err
		}
		return d.State.End(l.Identity, state.Ending{At: d.Now(), Code: m.ExitCode, How: unheld})
	}
	return d.State.Remove(l.Identity)
}

// keepCode keeps how an agent ended until its record is closed.
func (d *Driver) keepCode(identity string, code *int) error {
	m, err := d.State.Read(identity)
	if err != nil || m.EndedAt != nil {
		return nil // there is no record to keep it in
	}
	m.ExitCode = code
	return d.State.Write(m)
}
