package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

const (
	teardownLimit = 60 * time.Second // for everything; the engine may be busy
	agentGrace    = 8                // seconds between asking an agent to end and making it
	bundleGrace   = 3 * time.Second
	holderGrace   = 15 * time.Second // for the process that holds the bottle
)

// close ends a bottle. One that another process holds is only asked to end: its
// holder sees that and does the rest.
func (b *Bottle) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), teardownLimit)
	defer cancel()
	defer b.letGo()
	if b.release == nil {
		if b.over(ctx) {
			return nil
		}
		release, err := b.driver.State.Lock(b.identity)
		if errors.Is(err, state.ErrLocked) {
			return b.askHolder(ctx)
		}
		if err != nil {
			return b.onlyStop(ctx, err)
		}
		b.release = release
		if b.over(ctx) {
			return nil
		}
	}
	return b.tearDown(ctx)
}

// onlyStop ends the agent of a bottle whose lock cannot be had, since the disk is full or cannot be
// written to. The rest is for a cleanup.
func (b *Bottle) onlyStop(ctx context.Context, why error) error {
	if err := b.driver.stop(ctx, b.agent.id, agentGrace); err != nil {
		return explain(errors.Join(err, why))
	}
	return explain(fmt.Errorf("its agent is ended, and the rest of it stays: %w", why))
}

// over reports whether the run that was found is: another process, such as one that looked at the same
// terminal, has taken the bottle down, and recorded how the agent ended, which nobody can see any more. It
// may have resumed the bottle since, or removed it. Nothing is locked to find that out: a lock would make
// the directory of a bottle that was removed.
func (b *Bottle) over(ctx context.Context) bool {
	m, err := b.driver.State.Read(b.identity)
	switch {
	case err == nil && m.AnotherRun(b.began):
		return true
	case err == nil && m.EndedAt == nil, err != nil && !errors.Is(err, fs.ErrNotExist):
		return false
	}
	_, err = b.driver.ownAgent(ctx, b.identity)
	return errors.Is(err, bottle.ErrNotRunning)
}

// askHolder stops the agent and waits until the process that holds the bottle has
// taken it down. Who resumes it then may hold it before that is seen.
func (b *Bottle) askHolder(ctx context.Context) error {
	if err := b.driver.stop(ctx, b.agent.id, agentGrace); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, holderGrace)
	defer cancel()
	for b.driver.State.Locked(b.identity) {
		if m, err := b.driver.State.Read(b.identity); err == nil && m.AnotherRun(b.began) {
			return nil
		}
		if pause(patience) != nil {
			return b.overrule(ctx)
		}
	}
	return b.unlessOver(ctx)
}

// unlessOver takes down a bottle that was locked by somebody who was not its holder, such
// as a cleanup that looked at it.
func (b *Bottle) unlessOver(ctx context.Context) error {
	if b.over(ctx) {
		return nil
	}
	release, err := b.driver.State.Lock(b.identity)
	if err != nil {
		return err
	}
	b.release = release
	if b.over(ctx) {
		return nil
	}
	return b.tearDown(ctx)
}

// overrule ends a bottle whose holder hangs or is suspended: its key and its network
// must not stay up for that.
func (b *Bottle) overrule(ctx context.Context) error {
	if b.over(ctx) {
		return nil
	}
	return errors.Join(
		fmt.Errorf("the process that holds %s does not react; its containers were removed without it", b.identity),
		b.endAgent(ctx), b.driver.harvest(ctx, b.identity), b.driver.endPipelock(ctx, b.identity),
		b.driver.removeVolumes(ctx, b.identity, []role{roleSockets}),
	)
}

func (b *Bottle) tearDown(ctx context.Context) error {
	ending := b.stopAgent(ctx)
	var group errgroup.Group
	if b.bundle == nil { // whoever only looked at it has nothing of its log yet: if that cannot be kept, how the agent ended stays with the engine as well
		group.Go(func() error {
			if err := b.endBundle(ctx); err != nil {
				return err
			}
			return b.endAgent(ctx)
		})
	} else {
		group.Go(func() error { return b.endBundle(ctx) })
		group.Go(func() error { return b.endAgent(ctx) })
	}
	group.Go(func() error { return b.driver.removeContainer(ctx, resource(b.identity, rolePipelock)) })
	if err := group.Wait(); err != nil { // it may still run, or the engine still have what its bundle said: then the record stays open, for cleanup
		return explain(err)
	}
	roles := []role{roleSockets, rolePipelock}
	if b.remove {
		roles = append(roles, roleHome, roleWorkspace, roleGit)
	}
	if err := b.driver.removeVolumes(ctx, b.identity, roles); err != nil {
		return explain(err)
	}
	return explain(b.driver.recordEnd(b.identity, ending))
}

// endPipelock removes pipelock's container and its sockets, if there are any. Whatever the
// bundle still asks it is refused from then on.
func (d *Driver) endPipelock(ctx context.Context, identity string) error {
	return errors.Join(d.removeContainer(ctx, resource(identity, rolePipelock)), d.removeVolumes(ctx, identity, []role{rolePipelock}))
}

// recordEnd closes a bottle's record. One whose record somebody has deleted ends all
// the same.
func (d *Driver) recordEnd(identity string, e state.Ending) error {
	err := d.State.End(identity, e)
	if errors.Is(err, fs.ErrNotExist) {
		return d.State.Remove(identity)
	}
	return err
}

// stopAgent ends the agent if it still runs, and returns how it ended.
func (b *Bottle) stopAgent(ctx context.Context) state.Ending {
	how := byItself
	if !b.agent.ended {
		if how = stopped; b.bundle != nil && b.bundle.hasEnded() {
			how = cutOff
		}
		_ = b.driver.stop(ctx, b.agent.id, agentGrace) // what does not stop is removed by force
	}
	return b.driver.endOf(ctx, b.agent.id, how)
}

// How an agent ended, in words for the log.
const (
	byItself = "it ended by itself"
	stopped  = "it was stopped"
	cutOff   = "it was stopped, since its sidecar bundle had ended"
	unheld   = "it ended, or was killed, while no process held it"
	failed   = "it was stopped, since its start failed"
	unseen   = "nobody saw how it ended"
)

// recordLag is how long the engine may take to write down that a container has ended, whose
// processes are gone: a busy one takes seconds.
const recordLag = 15 * time.Second

// endOf is how the agent in a container ended: when and with which status the engine has on
// record. It waits for that record, as long as that may take.
func (d *Driver) endOf(ctx context.Context, id, how string) state.Ending {
	patience, cancel := context.WithTimeout(ctx, recordLag)
	defer cancel()
	for {
		found, err := d.Client.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil || found.Container.State == nil {
			return state.Ending{At: d.Now(), How: how}
		}
		if !found.Container.State.Running || pause(patience) != nil {
			return endIn(*found.Container.State, d.Now(), how)
		}
	}
}

func endIn(s container.State, now time.Time, how string) state.Ending {
	if s.Status == container.StateCreated || s.Running {
		return state.Ending{At: now, How: how}
	}
	e := state.Ending{At: now, Code: &s.ExitCode, How: how}
	if at := parsed(s.FinishedAt); at != nil && at.Year() > 1 {
		e.At = *at
	}
	return e
}

// endBundle ends the bundle once it has said all it has to say. What could not be read, or
// not be written to the disk, the engine still has.
func (b *Bottle) endBundle(ctx context.Context) error {
	if b.bundle == nil {
		return b.driver.harvest(ctx, b.identity)
	}
	done := b.driver.turn(ctx)
	defer done()
	b.bundle.dismiss()
	if !b.bundle.drain(ctx) || b.bundle.unrecorded != nil || b.audit.Sync() != nil {
		done()
		return b.driver.harvest(ctx, b.identity)
	}
	return b.driver.removeContainer(ctx, b.bundle.id)
}

// drain waits until the bundle's last line has been read, and reports whether it was.
func (b *bundle) drain(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, bundleGrace)
	defer cancel()
	select {
	case <-b.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// harvest ends a bundle that another process started, and keeps its audit log.
func (d *Driver) harvest(ctx context.Context, identity string) error {
	id := resource(identity, roleSidecar)
	found, err := d.Client.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil || found.Container.State == nil || found.Container.State.Running {
		defer d.turn(ctx)() // one that has ended is attached to no network
	}
	if err := d.stop(ctx, id, int(bundleGrace/time.Second)); err != nil {
		return err
	}
	if err := d.keepAudit(ctx, identity, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot keep the audit log of %s: %w", identity, err)
	}
	return d.removeContainer(ctx, id)
}

// discard takes down what a failed launch made, and forgets the bottle.
func (d *Driver) discard(ctx context.Context, identity string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
	defer cancel()
	var group errgroup.Group
	for _, r := range []role{roleAgent, roleSidecar, rolePipelock} {
		group.Go(func() error { return d.removeContainer(ctx, resource(identity, r)) })
	}
	err := group.Wait()
	err = errors.Join(err, d.removeVolumes(ctx, identity, []role{roleSockets, rolePipelock, roleHome, roleWorkspace, roleGit}))
	if err != nil {
		return err // the record stays for cleanup
	}
	return d.State.Remove(identity)
}

// stop asks a container to end and makes it after grace seconds. One that is gone is
// stopped.
func (d *Driver) stop(ctx context.Context, id string, grace int) error {
	_, err := d.Client.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &grace})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// removeContainer ends and removes a container; one that is gone, or that somebody
// else is removing, is waited for.
func (d *Driver) removeContainer(ctx context.Context, id string) error {
	for {
		_, err := d.Client.ContainerRemove(context.WithoutCancel(ctx), id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if !errdefs.IsConflict(err) {
			return fmt.Errorf("cannot remove container %s: %w", id, err)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("cannot remove container %s: %w", id, err)
		}
	}
}

// removeVolumes removes a bottle's volumes; those that are gone are fine.
func (d *Driver) removeVolumes(ctx context.Context, identity string, roles []role) error {
	var group errgroup.Group
	for _, r := range roles {
		group.Go(func() error { return d.removeVolume(ctx, resource(identity, r)) })
	}
	return group.Wait()
}

// removeVolume removes a volume. A conflict means that a container of the bottle is
// still on its way out, or that somebody came to use it, which a cleanup respects.
func (d *Driver) removeVolume(ctx context.Context, name string) error {
	var err error
	for range 20 {
		_, err = d.Client.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if !errdefs.IsConflict(err) || pause(ctx) != nil {
			break
		}
	}
	return fmt.Errorf("cannot remove volume %s: %w", name, err)
}

// pause waits for the engine to finish something that it does not tell the end of.
func pause(ctx context.Context) error {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
