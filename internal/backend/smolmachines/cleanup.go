package smolmachines

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// atOnce is how many bottles a cleanup is at work on.
const atOnce = 4

// Cleanup carries a plan out, several bottles at a time. It takes each bottle's lock first, and
// leaves alone those that came to life meanwhile.
func (d *Driver) Cleanup(ctx context.Context, plan CleanupPlan, tell func(bottle.Leftover, error)) error {
	fresh, err := d.PrepareCleanup(ctx, plan.options)
	if err != nil {
		return err
	}
	var one sync.Mutex
	report := func(l leftover, err error) {
		one.Lock()
		defer one.Unlock()
		tell(l.Leftover, err)
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for identity, items := range byBottle(plan.items) {
		group.Go(func() error {
			d.cleanBottle(ctx, identity, items, fresh, report)
			return nil
		})
	}
	return group.Wait()
}

func byBottle(items []leftover) map[string][]leftover {
	all := map[string][]leftover{}
	for _, l := range items {
		if !l.Kept {
			all[l.Identity] = append(all[l.Identity], l)
		}
	}
	return all
}

// still reports whether what was shown to the operator holds still.
func still(l leftover, fresh CleanupPlan) bool {
	return slices.ContainsFunc(fresh.items, func(f leftover) bool { return f.Kind == l.Kind && f.Name == l.Name && !f.Kept && f.do == l.do })
}

// cleanBottle removes what is left of one bottle, unless another process is at work on it: its
// record last, since it leads to the rest.
func (d *Driver) cleanBottle(ctx context.Context, identity string, items []leftover, fresh CleanupPlan, report func(leftover, error)) {
	release, err := d.State.Lock(identity)
	if err != nil {
		for _, l := range items {
			report(l, bottle.ErrCameToLife)
		}
		return
	}
	defer release()
	failed := false
	for _, l := range items {
		switch {
		case !still(l, fresh):
			report(l, bottle.ErrCameToLife)
		case l.Kind == bottle.LeftState && failed:
			report(l, errors.New("its record stays, since something else of it does"))
		default:
			err := d.removeLeftover(ctx, l)
			failed = failed || err != nil
			report(l, err)
		}
	}
}

// removeLeftover removes one thing, and keeps what it has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l leftover) error {
	switch {
	case l.Kind == bottle.LeftBundle:
		return endBundle(ctx, l.Name)
	case l.Kind == bottle.LeftMachine && l.do == deleteIt:
		return d.delete(ctx, l.Name)
	case l.Kind == bottle.LeftMachine:
		if err := d.keepEnd(ctx, l); err != nil {
			return err
		}
		return d.stop(ctx, l.Name)
	case l.do == closeIt:
		m, err := d.State.Read(l.Identity)
		if err != nil {
			return err
		}
		return d.State.End(l.Identity, state.Ending{At: d.Now(), Code: m.ExitCode, How: unheld})
	}
	return d.State.Remove(l.Identity)
}

// keepEnd keeps the transcript of an agent that nobody held, and its exit status. A machine that
// does not answer has nothing to tell.
func (d *Driver) keepEnd(ctx context.Context, l leftover) error {
	m, err := d.State.Read(l.Identity)
	if err != nil || m.EndedAt != nil {
		return nil
	}
	now, err := d.condition(ctx, l.Name)
	if err != nil || !now.Begun {
		return nil
	}
	if now.Ended {
		code := now.Status & 0xff
		m.ExitCode = &code
	}
	err = d.State.Write(m)
	if now.Terminal {
		err = errors.Join(err, d.keepTranscript(ctx, l.Identity, l.Name, nil))
	}
	return err
}
