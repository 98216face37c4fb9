//go:build linux

package memory

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

const (
	teardownLimit = time.Minute
	agentGrace    = 10 * time.Second // the guest makes the agent end before that
	holderGrace   = 10 * time.Second
)

// How an agent ended, in words for the log.
const (
	byItself = "it ended by itself"
	stopped  = "it was stopped"
	unheld   = "it ended, or was killed, while no process held it"
)

// letGo ends what is held of a machine, not the machine.
func (m *machine) letGo() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stream != nil {
		_ = m.stream.Close()
	}
	if m.release != nil {
		m.release()
		close(m.free)
	}
	m.stream, m.release = nil, nil
}

// askHolder ends the agent of a bottle that is held, and waits until it is not.
func (m *machine) askHolder() {
	m.mu.Lock()
	held := m.release != nil
	m.mu.Unlock()
	if !held {
		return
	}
	_ = m.ask(context.Background(), control.SayEnd, new(struct{}))
	select {
	case <-m.free:
	case <-time.After(holderGrace):
	}
}

// takeDown ends a bottle: the agent is asked, then made, to end. Home and workspace go if it was
// started for that.
func (d *Driver) takeDown(m *machine) error {
	m.once.Do(func() { m.closed = d.tearDown(m) })
	return m.closed
}

func (d *Driver) tearDown(m *machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), teardownLimit)
	defer cancel()
	defer m.letGo()
	how := byItself
	if now, err := m.condition(ctx); err == nil && now.Begun && !now.Ended {
		how = stopped
		_ = m.ask(ctx, control.SayEnd, new(struct{}))
	}
	code, err := d.halt(ctx, m)
	if m.remove {
		err = errors.Join(err, removeFiles(d.dir(m.identity)))
	}
	if err != nil {
		return err // the record stays open, for cleanup
	}
	err = d.State.End(m.identity, state.Ending{At: d.Now(), Code: code, How: how})
	if errors.Is(err, fs.ErrNotExist) { // somebody has deleted it
		err = d.State.Remove(m.identity)
	}
	return err
}

// halt ends a machine and what is known of it, once its transcript is kept. It tells how the agent
// ended, nil if that is not known.
func (d *Driver) halt(ctx context.Context, m *machine) (code *int, err error) {
	if now, err := m.condition(ctx); err == nil && now.Ended {
		status := now.Status & 0xff
		code = &status
	}
	err = errors.Join(d.keepTranscript(ctx, m), m.halt())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.up[m.identity] == m {
		delete(d.up, m.identity)
	}
	return code, err
}

// discard forgets a bottle that does not run.
func (d *Driver) discard(identity string) error {
	return errors.Join(removeFiles(d.dir(identity)), d.State.Remove(identity))
}

// closeBefore ends what is left of a bottle's last run, but for its files, and tells the log how
// it ended if nobody has.
func (d *Driver) closeBefore(ctx context.Context, identity string, before state.Metadata) error {
	code := before.ExitCode
	if m := d.find(identity); m != nil {
		ended, err := d.halt(ctx, m)
		if err != nil {
			return err
		}
		if ended != nil {
			code = ended
		}
	}
	if before.EndedAt != nil {
		return nil
	}
	_, err := d.State.CloseAudit(identity, state.Ending{At: d.Now(), Code: code, How: unheld})
	return err
}
