//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// Bottle is a hand on a machine.
type Bottle struct {
	*machine
	driver   *Driver
	launched bool // it is the first: the agent's first byte is to come, and the machine's lock is its own

	once   sync.Once
	closed error
}

var _ bottle.Bottle = (*Bottle)(nil)

// find is a bottle that was launched and not taken down, nil for none.
func (d *Driver) find(identity string) *machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.up[identity]
}

// Open finds a running bottle.
func (d *Driver) Open(ctx context.Context, identity string) (bottle.Bottle, error) {
	m, now, err := d.begun(ctx, identity)
	if err != nil {
		return nil, err
	}
	if now.Ended {
		return nil, &bottle.EndedError{Identity: identity, Code: now.Status & 0xff}
	}
	return &Bottle{machine: m, driver: d}, nil
}

// begun finds a bottle whose agent was started, and how far that is.
func (d *Driver) begun(ctx context.Context, identity string) (m *machine, now control.Condition, err error) {
	if m = d.find(identity); m != nil {
		now, err = m.condition(ctx)
	}
	if err == nil && !now.Begun {
		err = notRunning(identity)
	}
	return m, now, err
}

func notRunning(identity string) error {
	if !bottle.ValidIdentity(identity) {
		identity = strconv.Quote(identity)
	}
	return fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
}

// Name is the identity.
func (b *Bottle) Name() string { return b.identity }

// AgentArgv opens the agent's terminal from a pane.
func (b *Bottle) AgentArgv(args []string, _ bool) []string {
	return append([]string{"bot-bottle", "attach", b.identity}, args...)
}

// take returns the agent's stream, a new one if the first is taken.
func (b *Bottle) take(ctx context.Context, verb string) (net.Conn, error) {
	b.mu.Lock()
	k := b.stream
	b.stream = nil
	b.mu.Unlock()
	if k != nil {
		return k, nil
	}
	return b.inside(ctx, "talk", verb)
}

// Agent connects the operator with the agent until it ends.
func (b *Bottle) Agent(ctx context.Context, streams bottle.IO) (int, error) {
	watched, unwatch := b.watchBundle(ctx)
	defer unwatch()
	if b.tty {
		return b.onTerminal(ctx, watched, streams)
	}
	k, err := b.take(watched, control.SayPipe)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(watched, func() { _ = k.Close() })()
	status, err := session.Plug(k, streams.Stdin, streams.Stdout, streams.Stderr)
	if cause := context.Cause(watched); err != nil && cause != nil {
		return 0, cause
	}
	return status & 0xff, err
}

// onTerminal shows the agent's terminal until it ends, or the operator leaves it.
func (b *Bottle) onTerminal(operator, watched context.Context, streams bottle.IO) (int, error) {
	view := session.NewView(session.Options{
		Stdin: streams.Stdin, Stdout: streams.Stdout, Size: streams.Size, First: b.launched,
		DetachKeys: streams.View.DetachKeys, Allow: streams.View.Allow, ReadOnly: streams.View.ReadOnly, Only: streams.View.Only, History: streams.View.History, Colours: streams.View.Colours,
	})
	defer view.Leave()
	k, err := b.take(watched, control.SaySession)
	if err != nil {
		return 0, err
	}
	defer func() { _ = k.Close() }()
	status, err := view.Attach(watched, k)
	if operator.Err() != nil { // a signal, or a terminal that is gone
		return 0, bottle.ErrDetached
	}
	if cause := context.Cause(watched); cause != nil {
		return 0, cause
	}
	return status & 0xff, err
}

// watchBundle ends ctx, with the reason as its cause, when the bundle ends.
func (b *Bottle) watchBundle(ctx context.Context) (context.Context, func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-b.bundle.ended:
			if now, err := b.condition(ctx); err != nil || !now.Ended { // else it ended with the agent
				cancel(errors.New("the bottle was taken down, since its sidecar bundle ended"))
			}
		case <-watched.Done():
		}
	})
	return watched, func() { cancel(nil); watching.Wait() }
}

// Watch opens a stream to look at the agent's screen.
func (b *Bottle) Watch(ctx context.Context) (*session.Watcher, error) {
	if !b.tty {
		return nil, fmt.Errorf("%s: %w", b.identity, bottle.ErrNoTerminal)
	}
	k, err := b.inside(ctx, "talk", control.SaySession)
	if err != nil {
		return nil, err
	}
	return session.Watch(k), nil
}

// Detach lets go of the bottle and leaves it running.
func (b *Bottle) Detach() error {
	b.once.Do(func() {
		if b.launched {
			b.letGo()
		}
	})
	return nil
}

// Close ends the bottle. Who holds it takes it down, once its agent has ended; who does not react to
// that is not waited for long.
func (b *Bottle) Close() error {
	b.once.Do(func() {
		if !b.launched {
			b.askHolder()
		}
		b.closed = b.driver.takeDown(b.machine)
	})
	return b.closed
}
