package smolmachines

import (
	"context"
	"errors"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// atOnce is how many bottles a cleanup is at work on.
const atOnce = 4

// Cleanup carries a plan out.
func (d *Driver) Cleanup(ctx context.Context, plan bottle.Tasks, tell func(bottle.Leftover, error)) error {
	return bottle.Sweep{
		AtOnce: atOnce, Lock: d.lockLeft,
		Look: func(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
			return d.leftovers(ctx, o, o.Identity)
		},
		Clean: func(ctx context.Context, _ string, tasks []bottle.Task, now bottle.Tasks, report bottle.Report) {
			now.DoEach(tasks, func(t bottle.Task) error { return d.removeLeftover(ctx, t) }, report)
		},
	}.Run(ctx, plan, tell)
}

// lockLeft locks what may be left of a bottle. A bottle without a record gets a directory by that, which
// goes with the lock.
func (d *Driver) lockLeft(identity string) (func(), error) {
	release, err := d.State.Lock(identity)
	if err != nil {
		return nil, err
	}
	return func() {
		defer release()
		if err := d.State.RemoveUnrecorded(identity); err != nil {
			d.Log.Error("cannot remove the directory of a bottle", "bottle", identity, "err", err)
		}
	}, nil
}

// removeLeftover removes one thing, and keeps what it has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l bottle.Task) error {
	switch {
	case l.Kind == bottle.LeftBundle:
		return endBundle(ctx, l.Name)
	case l.Kind == bottle.LeftMachine:
		if err := d.keepEnd(ctx, l); err != nil {
			return err
		}
		if l.Do == "" {
			return d.delete(ctx, l.Name)
		}
		return d.stop(ctx, l.Name)
	case l.Do == bottle.CloseIt:
		m, err := d.State.Read(l.Identity)
		if err != nil {
			return err
		}
		if err := d.State.End(l.Identity, state.Ending{At: d.Now(), Code: m.ExitCode, How: unheld}); err != nil {
			return err
		}
		if _, there, err := d.find(ctx, l.Identity); err == nil && there && m.TranscriptLeft && !m.Remove {
			d.tellLeft(l.Identity, errors.New(unheld))
		}
		return nil
	}
	return d.State.Remove(l.Identity)
}

// keepEnd keeps the transcript of an agent that nobody held, and its exit status. A machine that
// does not run, or does not answer, has nothing to tell.
func (d *Driver) keepEnd(ctx context.Context, l bottle.Task) error {
	m, err := d.State.Read(l.Identity)
	if err != nil || m.EndedAt != nil {
		return nil
	}
	_, now, err := d.begun(ctx, l.Identity)
	if err != nil {
		return nil
	}
	if now.Ended {
		code := now.Status & 0xff
		m.ExitCode = &code
	}
	if err := d.State.Write(m); err != nil {
		return err
	}
	if now.Terminal {
		d.keepTranscript(ctx, l.Identity, l.Name, nil)
	}
	return nil
}
