package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

const (
	teardownLimit = 5 * time.Minute
	agentGrace    = 10 * time.Second // the guest makes the agent end before that
	holderGrace   = 30 * time.Second
)

// How an agent ended, in words for the log.
const (
	byItself = "it ended by itself"
	stopped  = "it was stopped"
	unheld   = "it ended, or was killed, while no process held it"
)

// close ends a bottle. One that another process holds is only asked to end: its holder sees that
// and does the rest.
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
			return err
		}
		b.release = release
		if b.over(ctx) {
			return nil
		}
	}
	return b.tearDown(ctx)
}

// over reports whether the run that was found is: another process, such as one that looked at the same
// terminal, has taken it down, and perhaps resumed the bottle, or removed it. Nothing is locked to find
// that out: a lock would make the directory of a bottle that was removed.
func (b *Bottle) over(ctx context.Context) bool {
	m, err := b.driver.State.Read(b.identity)
	if errors.Is(err, fs.ErrNotExist) {
		_, there, err := b.driver.find(ctx, b.identity)
		return err == nil && !there
	}
	return err == nil && (m.EndedAt != nil || m.AnotherRun(b.began))
}

// askHolder ends the agent and waits until the process that holds the bottle has taken it down. Who
// resumes it then may hold it before that is seen.
func (b *Bottle) askHolder(ctx context.Context) error {
	b.endAgent(ctx)
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

// unlessOver takes down a bottle that was locked by somebody who was not its holder, such as a
// cleanup that looked at it.
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

// overrule ends a bottle whose holder hangs or is suspended: its key must not stay up for that.
func (b *Bottle) overrule(ctx context.Context) error {
	if b.over(ctx) {
		return nil
	}
	return errors.Join(
		fmt.Errorf("the process that holds %s does not react; its machine was stopped without it", b.identity),
		b.driver.stop(ctx, b.machine), endBundle(ctx, b.dir),
	)
}

// endAgent asks the guest to end the agent, and waits for it. A guest that does not answer is
// ended with its machine.
func (b *Bottle) endAgent(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, agentGrace)
	defer cancel()
	var done struct{}
	_ = b.driver.ask(ctx, b.machine, "end", &done)
}

func (b *Bottle) tearDown(ctx context.Context) error {
	code, how := b.end(ctx)
	if b.tty {
		b.driver.keepTranscript(ctx, b.identity, b.machine, b.secrets)
	} else if m, err := b.driver.State.Read(b.identity); err == nil && b.silent != nil && m.TranscriptLeft && !m.Remove {
		b.driver.tellLeft(b.identity, b.silent)
	}
	if err := b.driver.takeDown(ctx, b.identity, b.machine, b.dir, b.remove); err != nil { // it may still run: then the record stays open, for cleanup
		return err
	}
	return b.driver.recordEnd(b.identity, code, how)
}

// end makes the agent end, if it has not, and tells how it did.
func (b *Bottle) end(ctx context.Context) (code *int, how string) {
	if b.silent != nil { // its guest was asked already, and is not waited for again
		return nil, stopped
	}
	if code := b.driver.agentStatus(ctx, b.machine); code != nil {
		return code, byItself
	}
	b.endAgent(ctx)
	return b.driver.agentStatus(ctx, b.machine), stopped
}

// agentStatus is how a machine's agent ended, nil if that is not known.
func (d *Driver) agentStatus(ctx context.Context, name string) *int {
	var now control.Condition
	ctx, cancel := context.WithTimeout(ctx, agentGrace)
	defer cancel()
	if d.ask(ctx, name, "status", &now) != nil || !now.Ended {
		return nil
	}
	code := now.Status & 0xff
	return &code
}

// takeDown stops or removes a machine, and ends its bundle, whoever started them.
func (d *Driver) takeDown(ctx context.Context, identity, name, dir string, remove bool) error {
	end := d.stop
	if remove {
		end = d.delete
	}
	err := errors.Join(end(ctx, name), endBundle(ctx, dir))
	if remove {
		err = errors.Join(err, os.RemoveAll(d.gitDir(identity)))
	}
	return err
}

// attempts is how often an end is tried: smolvm keeps what it could not remove.
const attempts = 2

// stop stops a machine, and makes sure that it is. One that is gone is stopped.
func (d *Driver) stop(ctx context.Context, name string) (err error) {
	for range attempts {
		err = d.whole(ctx, stopLimit, []string{"machine", "stop", "--name", name})
		if gone(err, name) {
			return nil
		}
		m, asked := d.status(ctx, name)
		switch {
		case gone(asked, name):
			return nil
		case asked != nil:
			return errors.Join(err, asked)
		case !m.up():
			return nil
		}
	}
	if err == nil {
		err = errors.New("smolvm says that it is, and still shows it as running")
	}
	return fmt.Errorf("machine %s could not be stopped: %w", name, err)
}

// delete removes a machine, and makes sure that it is gone.
func (d *Driver) delete(ctx context.Context, name string) (err error) {
	for range attempts {
		err = d.whole(ctx, stopLimit, []string{"machine", "delete", "--name", name, "--force"})
		if gone(err, name) {
			return nil
		}
		all, listed := d.machines(ctx)
		if listed != nil {
			return errors.Join(err, listed)
		}
		if !has(all, name) {
			return nil
		}
	}
	if err == nil {
		err = errors.New("smolvm says that it is, and still lists it")
	}
	return fmt.Errorf("machine %s could not be removed: %w", name, err)
}

func has(all []machine, name string) bool {
	for _, m := range all {
		if m.Name == name {
			return true
		}
	}
	return false
}

// recordEnd closes a bottle's record. One whose record somebody has deleted ends all the same.
func (d *Driver) recordEnd(identity string, code *int, how string) error {
	err := d.State.End(identity, state.Ending{At: d.Now(), Code: code, How: how})
	if errors.Is(err, fs.ErrNotExist) {
		return d.State.Remove(identity)
	}
	return err
}

// discard takes down all of a bottle, and forgets it. A machine that was made a moment ago, where there
// was none, is known to be ours also when smolvm says nothing of it that can be understood.
func (d *Driver) discard(ctx context.Context, identity, dir string, made bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
	defer cancel()
	var err error
	if _, ours, findErr := d.find(ctx, identity); findErr != nil && !made {
		err = findErr
	} else if ours || made {
		err = d.delete(ctx, machineName(identity))
	}
	if err = errors.Join(err, endBundle(ctx, dir)); err != nil {
		return err // the record stays for cleanup
	}
	return d.State.Remove(identity)
}
