package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// atOnce is how many bottles a cleanup is at work on. More would only make the engine
// slower.
const atOnce = 8

// Cleanup carries a plan out, several bottles at a time. It takes each bottle's lock first,
// and leaves alone those that came to life meanwhile.
func (d *Driver) Cleanup(ctx context.Context, plan CleanupPlan, tell func(bottle.Leftover, error)) error {
	fresh, err := d.leftovers(ctx, plan.options)
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
	shared := []leftover{}
	for identity, items := range byBottle(plan.items) {
		if identity == "" {
			shared = items
			continue
		}
		group.Go(func() error {
			d.cleanBottle(ctx, identity, items, fresh, report)
			return nil
		})
	}
	_ = group.Wait()
	d.cleanShared(ctx, shared, fresh, report)
	return nil
}

// byBottle sorts what is to be removed by whose it is.
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
	return slices.ContainsFunc(fresh.items, func(f leftover) bool { return f.Kind == l.Kind && f.id == l.id && !f.Kept && f.close == l.close })
}

// cleanBottle removes what is left of one bottle, unless another process is at work on it:
// its containers first, since they use the rest, its record last, since it leads there.
func (d *Driver) cleanBottle(ctx context.Context, identity string, items []leftover, fresh CleanupPlan, report func(leftover, error)) {
	release, err := d.State.Lock(identity)
	if err != nil {
		for _, l := range items {
			report(l, bottle.ErrCameToLife)
		}
		return
	}
	defer release()
	if agent, err := d.Client.ContainerInspect(ctx, resource(identity, roleAgent), client.ContainerInspectOptions{}); err == nil && agent.Container.State != nil && agent.Container.State.Running {
		for _, l := range items {
			report(l, bottle.ErrCameToLife) // and was left by who started it
		}
		return
	}
	ending := d.endOf(ctx, resource(identity, roleAgent), unheld)
	stuck := false
	for _, l := range items {
		if !still(l, fresh) {
			report(l, bottle.ErrCameToLife)
			continue
		}
		if l.Kind == bottle.LeftState && stuck {
			report(l, errors.New("its record stays, since something else of it does"))
			continue
		}
		err := d.removeLeftover(ctx, l, ending)
		stuck = stuck || err != nil
		report(l, err)
	}
	if err := d.forgetUnrecorded(identity); err != nil {
		d.Log.Error("cannot remove the directory of a bottle", "bottle", identity, "err", err)
	}
}

// removeLeftover removes one thing, and keeps what it has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l leftover, ending state.Ending) error {
	switch l.Kind {
	case bottle.LeftContainer:
		return d.removeLeftContainer(ctx, l)
	case bottle.LeftVolume:
		return d.removeVolume(ctx, l.id)
	case bottle.LeftNetwork:
		_, err := d.Client.NetworkRemove(ctx, l.id, client.NetworkRemoveOptions{})
		return ignoreGone(err)
	case bottle.LeftImage:
		_, err := d.Client.ImageRemove(ctx, l.id, client.ImageRemoveOptions{PruneChildren: true})
		if errdefs.IsConflict(err) {
			return bottle.ErrCameToLife // another $BOT_BOTTLE_HOME's bottle runs it, or another image builds on it
		}
		return ignoreGone(err)
	}
	if l.close {
		return d.closeRecord(l.id, ending)
	}
	return d.State.Remove(l.id)
}

// removeLeftContainer keeps a bundle's last events, and how an agent ended that nobody held.
func (d *Driver) removeLeftContainer(ctx context.Context, l leftover) error {
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
	return d.removeContainer(ctx, l.id)
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

// forgetUnrecorded removes the directory that a lock made for a bottle without a record. A
// log that somebody may want to read stays.
func (d *Driver) forgetUnrecorded(identity string) error {
	if _, err := d.State.Read(identity); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if head := d.State.AuditHead(identity); head != nil && head.Lines > 0 {
		return nil
	}
	return d.State.Remove(identity)
}

// imagesPatience is how long a cleanup waits for starts that are about to use an image.
const imagesPatience = 2 * time.Second

// cleanShared removes what is of no one bottle. No start is about to use an image meanwhile.
func (d *Driver) cleanShared(ctx context.Context, items []leftover, fresh CleanupPlan, report func(leftover, error)) {
	if len(items) == 0 {
		return
	}
	patience, cancel := context.WithTimeout(ctx, imagesPatience)
	release, busy := d.State.CacheLock(patience, imagesLock)
	cancel()
	if busy == nil {
		defer release()
		var err error
		if fresh, err = d.leftovers(ctx, fresh.options); err != nil { // a start may have ended just now
			busy = fmt.Errorf("cannot look again: %w", err)
		}
	}
	for _, l := range items {
		switch {
		case l.Kind == bottle.LeftState: // on its way out already, whoever takes it
			report(l, d.removeLeftover(ctx, l, state.Ending{}))
		case l.Kind == bottle.LeftImage && busy != nil, !still(l, fresh):
			report(l, bottle.ErrCameToLife)
		default:
			report(l, d.removeLeftover(ctx, l, state.Ending{}))
		}
	}
}
