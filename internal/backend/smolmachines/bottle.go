package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// Bottle is a running bottle: one that this process launched, or one that it found.
type Bottle struct {
	driver   *Driver
	identity string
	machine  string
	dir      string                  // of the sockets
	remove   bool                    // the machine goes too
	secrets  map[string]secret.Value // to keep out of the transcript; nil when found
	tty      bool
	silent   error     // why the guest does not answer; nil if it does
	began    time.Time // the run that was found, by its record; zero without one, and when launched

	bundle  *bundle // nil when found
	release func()  // gives up the lock; nil when found

	mu     sync.Mutex
	stream net.Conn // the agent's, from its first byte; taken once

	once   sync.Once
	closed error
}

var _ bottle.Bottle = (*Bottle)(nil)

// Open finds a running bottle. One whose guest does not answer, in a machine that runs with its
// bundle, can be closed, and little else.
func (d *Driver) Open(ctx context.Context, identity string) (bottle.Bottle, error) {
	m, now, err := d.begun(ctx, identity)
	silent := d.silence(ctx, m, err)
	if err != nil && silent == nil {
		return nil, explain(err)
	}
	if now.Ended {
		return nil, &bottle.EndedError{Identity: identity, Code: now.Status & 0xff}
	}
	dir, err := d.keptDirectory(m)
	if err != nil {
		return nil, err
	}
	record, _ := d.State.Read(identity) // somebody may have deleted it
	// A guest that is gone left a transcript.
	tty := now.Terminal || silent != nil && record.TranscriptLeft && !errors.Is(silent, context.DeadlineExceeded)
	return &Bottle{
		driver: d, identity: identity, machine: m.Name, dir: dir, remove: m.Labels[labelRemove] == "true", tty: tty, silent: silent, began: record.StartedAt,
	}, nil
}

// silence is the error of begun where it is the guest's or the machine's silence, in a bottle that runs;
// else nil.
func (d *Driver) silence(ctx context.Context, m machine, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, bottle.ErrNotRunning) || !m.hasAgent() {
		return nil
	}
	return withHint("bot-bottle stop "+m.Labels[labelIdentity]+" ends it", "%w", err)
}

// hasAgent reports whether an agent was started in a machine, whose bundle runs: nothing but a stop, or
// what goes wrong, parts them.
func (m machine) hasAgent() bool {
	dir := m.Labels[labelSockets]
	_, begun := readMark(dir)
	return begun && bundleLives(dir)
}

// begun finds the machine of a bottle whose agent has been started, and how far it is.
func (d *Driver) begun(ctx context.Context, identity string) (m machine, now control.Condition, err error) {
	notRunning := fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	if !bottle.ValidIdentity(identity) {
		return m, now, fmt.Errorf("%q: %w", identity, bottle.ErrNotRunning)
	}
	m, there, err := d.find(ctx, identity)
	if err != nil {
		return m, now, err
	}
	switch {
	case there && m.State != running && m.up() && m.hasAgent(): // it is suspended, say
		return m, now, fmt.Errorf("%s does not answer: its machine is %s", identity, printableState(m.State))
	case !there || m.State != running:
		return m, now, notRunning
	}
	if now, err = d.condition(ctx, m.Name); err == nil && !now.Begun {
		err = notRunning
	}
	return m, now, err
}

// condition asks a machine's guest how far it is.
func (d *Driver) condition(ctx context.Context, name string) (control.Condition, error) {
	return d.conditionWithin(ctx, askLimit, name)
}

func (d *Driver) conditionWithin(ctx context.Context, limit time.Duration, name string) (now control.Condition, err error) {
	limit = d.within(limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, lateError("it has said nothing for "+limit.String()))
	defer cancel()
	return now, d.ask(ctx, name, "status", &now)
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
	return b.driver.inside(ctx, b.machine, "guest", "talk", verb)
}

// Agent connects the operator with the agent until it ends.
func (b *Bottle) Agent(ctx context.Context, streams bottle.IO) (int, error) {
	if b.silent != nil {
		return 0, b.silent
	}
	if b.tty {
		return b.onTerminal(ctx, streams)
	}
	k, err := b.take(ctx, "pipe")
	if err != nil {
		return 0, err
	}
	watched, unwatch := b.watchBundle(ctx)
	defer unwatch()
	defer context.AfterFunc(watched, func() { _ = k.Close() })()
	status, err := session.Plug(k, streams.Stdin, streams.Stdout, streams.Stderr)
	if cause := context.Cause(watched); err != nil && cause != nil {
		return 0, cause
	}
	return status & 0xff, err
}

// Watch opens a stream to look at the agent's screen.
func (b *Bottle) Watch(ctx context.Context) (*session.Watcher, error) {
	if b.silent != nil {
		return nil, b.silent
	}
	if !b.tty {
		return nil, fmt.Errorf("%s: %w", b.identity, bottle.ErrNoTerminal)
	}
	k, err := b.driver.inside(ctx, b.machine, "guest", "talk", "session")
	if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w", b.identity, err)
	}
	return session.Watch(k), nil
}

// onTerminal shows the agent's terminal until it ends, or the operator leaves it.
func (b *Bottle) onTerminal(outer context.Context, streams bottle.IO) (int, error) {
	view := session.NewView(session.Options{
		Stdin: streams.Stdin, Stdout: streams.Stdout, Size: streams.Size, First: b.bundle != nil,
		DetachKeys: streams.View.DetachKeys, Allow: streams.View.Allow, ReadOnly: streams.View.ReadOnly, Only: streams.View.Only, History: streams.View.History, Colours: streams.View.Colours,
	})
	defer view.Leave()
	ctx, unwatch := b.watchBundle(outer)
	status, err := b.show(ctx, view)
	unwatch()
	if outer.Err() != nil { // a signal, or a terminal that is gone
		return 0, bottle.ErrDetached
	}
	return status & 0xff, err
}

// reconnects is how often a stream that is lost is made anew.
const reconnects = 5

// show shows the session, on a new stream when one was lost, until it ends.
func (b *Bottle) show(ctx context.Context, view *session.View) (int, error) {
	for lost := 0; ; lost++ {
		status, err := 0, error(nil)
		k, err := b.take(ctx, "session")
		if err == nil {
			status, err = view.Attach(ctx, k)
			_ = k.Close()
		}
		switch {
		case err == nil:
			return status, nil
		case context.Cause(ctx) != nil:
			return 0, context.Cause(ctx)
		case errors.Is(err, bottle.ErrDetached):
			return 0, err
		}
		now, failed := b.driver.condition(ctx, b.machine)
		if failed == nil && now.Ended {
			return now.Status, nil
		}
		if failed != nil { // then nobody knows whether the session goes on
			return 0, fmt.Errorf("cannot show the session of %s any more: %w", b.identity, failed)
		}
		if lost == reconnects {
			return 0, fmt.Errorf("cannot show the session of %s: %w", b.identity, err)
		}
	}
}

// watchBundle ends ctx, with the reason as its cause, when the bundle ends.
func (b *Bottle) watchBundle(ctx context.Context) (context.Context, func()) {
	if b.bundle == nil {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-b.bundle.ended:
			cancel(b.bundle.why())
		case <-watched.Done():
		}
	}()
	return watched, func() { cancel(nil); <-done }
}

// Detach lets go of the bottle and leaves it running.
func (b *Bottle) Detach() error {
	b.once.Do(b.letGo)
	return nil
}

// letGo ends what this process holds, not the bottle.
func (b *Bottle) letGo() {
	b.mu.Lock()
	k := b.stream
	b.stream = nil
	b.mu.Unlock()
	if k != nil {
		_ = k.Close()
	}
	if b.release != nil {
		b.release()
	}
}

// Close ends the bottle: the agent is asked, then made, to end; the machine is stopped, or goes
// if the bottle was started to be removed; the bundle and its sockets go.
func (b *Bottle) Close() error {
	b.once.Do(func() { b.closed = explain(b.close()) })
	return b.closed
}
