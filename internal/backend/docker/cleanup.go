package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// atOnce is how many bottles a cleanup is at work on. More would only make the engine
// slower.
const atOnce = 8

// Cleanup carries a plan out.
func (d *Driver) Cleanup(ctx context.Context, plan bottle.Tasks, tell func(bottle.Leftover, error)) error {
	place, err := d.Place(ctx)
	if err != nil {
		return err
	}
	return bottle.Sweep{
		AtOnce: atOnce, Lock: d.State.Lock, Clean: d.cleanBottle,
		Look: func(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
			return d.leftovers(ctx, o, place, o.Identity)
		},
		Shared: func(ctx context.Context, tasks []bottle.Task, report bottle.Report) {
			d.cleanShared(ctx, tasks, report, func() (bottle.Tasks, error) { return d.leftovers(ctx, plan.Options, place, "") })
		},
	}.Run(ctx, plan, tell)
}

// cleanBottle removes what is left of one bottle: its containers first, since they use the rest.
func (d *Driver) cleanBottle(ctx context.Context, identity string, tasks []bottle.Task, now bottle.Tasks, report bottle.Report) {
	ending := d.endOf(ctx, resource(identity, roleAgent), unheld)
	now.DoEach(tasks, func(t bottle.Task) error { return d.removeLeftover(ctx, t, ending) }, report)
	if err := d.State.RemoveUnrecorded(identity); err != nil {
		d.Log.Error("cannot remove the directory of a bottle", "bottle", identity, "err", err)
	}
}

// removeLeftover removes one thing, and keeps what it has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l bottle.Task, ending state.Ending) error {
	switch l.Kind {
	case bottle.LeftContainer:
		return d.removeLeftContainer(ctx, l)
	case bottle.LeftVolume:
		return d.removeVolume(ctx, l.ID)
	case bottle.LeftNetwork:
		_, err := d.Client.NetworkRemove(ctx, l.ID, client.NetworkRemoveOptions{})
		return ignoreGone(err)
	case bottle.LeftImage:
		_, err := d.Client.ImageRemove(ctx, l.ID, client.ImageRemoveOptions{PruneChildren: true})
		if errdefs.IsConflict(err) {
			return bottle.ErrCameToLife // another $BOT_BOTTLE_HOME's bottle runs it, or another image builds on it
		}
		return ignoreGone(err)
	}
	if l.Do == bottle.CloseIt {
		return d.closeRecord(l.ID, ending)
	}
	return d.State.Remove(l.ID)
}

// removeLeftContainer keeps a bundle's last events, and how an agent ended that nobody held.
func (d *Driver) removeLeftContainer(ctx context.Context, l bottle.Task) error {
	switch l.Name {
	case resource(l.Identity, roleSidecar):
		if _, err := d.State.Read(l.Identity); !errors.Is(err, fs.ErrNotExist) {
			return d.harvest(ctx, l.Identity)
		}
	case resource(l.Identity, roleAgent):
		if err := d.keepEnd(ctx, l.Identity); err != nil {
			return err
		}
	}
	return d.removeContainer(ctx, l.ID)
}

// keepEnd keeps the transcript of an agent that nobody held, and its exit status for when the
// record is closed: the bundle may have more to tell still, and a crash come between.
func (d *Driver) keepEnd(ctx context.Context, identity string) error {
	m, err := d.State.Read(identity)
	if err != nil || m.EndedAt != nil || m.Remove {
		return nil // there is no record to close
	}
	found, err := d.ownAgent(ctx, identity)
	if err != nil {
		return nil // it never ran
	}
	m.ExitCode = &found.State.ExitCode
	return errors.Join(d.keepTranscript(ctx, identity, nil), d.State.Write(m))
}

func (d *Driver) closeRecord(identity string, e state.Ending) error {
	m, err := d.State.Read(identity)
	if err != nil {
		return err
	}
	if e.Code == nil {
		e = state.Ending{At: d.Now(), Code: m.ExitCode, How: unseen}
	}
	return d.State.End(identity, e)
}

func ignoreGone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// imagesPatience is how long a cleanup waits for starts that are about to use an image.
const imagesPatience = 2 * time.Second

// cleanShared removes what is of no one bottle. No start is about to use an image meanwhile.
func (d *Driver) cleanShared(ctx context.Context, tasks []bottle.Task, report bottle.Report, look func() (bottle.Tasks, error)) {
	patience, cancel := context.WithTimeout(ctx, imagesPatience)
	release, busy := d.State.CacheLock(patience, imagesLock)
	cancel()
	if busy == nil {
		defer release()
	}
	now, err := look() // a start may have ended just now
	if err != nil {
		err = fmt.Errorf("cannot look again: %w", err)
	}
	for _, l := range tasks {
		switch {
		case l.Kind == bottle.LeftState: // on its way out already, whoever takes it
			report(l, d.removeLeftover(ctx, l, state.Ending{}))
		case err != nil:
			report(l, err)
		case l.Kind == bottle.LeftImage && busy != nil, !now.Holds(l):
			report(l, bottle.ErrCameToLife)
		default:
			report(l, d.removeLeftover(ctx, l, state.Ending{}))
		}
	}
}
