package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Bottle is a running bottle: one that this process launched, or one that it found.
type Bottle struct {
	driver   *Driver
	identity string
	remove   bool // home and workspace go too

	agent   *agent
	bundle  *bundle  // nil when found
	audit   *os.File // nil when found
	release func()   // gives up the lock; nil when found

	once   sync.Once
	closed error
}

// agent is the connection with the agent's own process.
type agent struct {
	id     string
	tty    bool
	stream *client.HijackedResponse // connected before the start; nil when found
	exit   client.ContainerWaitResult
	ended  bool
}

var _ bottle.Bottle = (*Bottle)(nil)

// Open finds a running bottle.
func (d *Driver) Open(ctx context.Context, identity string) (bottle.Bottle, error) {
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrNotRunning)
	}
	found, err := d.Client.ContainerInspect(ctx, resource(identity, roleAgent), client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return nil, err
	}
	c := found.Container
	if !c.State.Running || c.Config.Labels[labelOwner] != owner {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	return &Bottle{
		driver: d, identity: identity, remove: c.Config.Labels[labelRemove] == "true",
		agent: &agent{id: c.ID, tty: c.Config.Tty},
	}, nil
}

// Name is the identity.
func (b *Bottle) Name() string { return b.identity }

// AgentArgv opens the agent's terminal from a pane.
func (b *Bottle) AgentArgv(args []string, _ bool) []string {
	return append([]string{"bot-bottle", "attach", b.identity}, args...)
}

// Agent connects the operator with the agent until it ends.
func (b *Bottle) Agent(ctx context.Context, streams bottle.IO) (int, error) {
	a := b.agent
	resize := b.resize
	if a.stream == nil {
		if err := b.attach(ctx); err != nil {
			return 0, err
		}
		resize = b.redraw(resize)
	}
	outer := ctx
	ctx, unwatch := b.watchBundle(outer)
	err := pump(ctx, *a.stream, a.tty, streams, resize)
	unwatch()
	if err != nil {
		return 0, err
	}
	return b.exitStatus(outer)
}

// watchBundle ends ctx, with the reason as its cause, when the bundle ends: an agent
// without its bundle is cut off from everything and does not know why.
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

func (b *Bottle) resize(ctx context.Context, s bottle.Size) {
	_, _ = b.driver.Client.ContainerResize(ctx, b.agent.id, client.ContainerResizeOptions{Height: s.Height, Width: s.Width})
}

// redrawPause is how long a program gets to notice the first change of the size. On a busy
// machine it may take a while to run at all, and would see both changes as none.
const redrawPause = 500 * time.Millisecond

// redraw makes a program that is on the terminal already paint itself again: it does
// when the size changes, so at first the size is another one for a moment.
func (b *Bottle) redraw(resize func(context.Context, bottle.Size)) func(context.Context, bottle.Size) {
	first := true
	return func(ctx context.Context, s bottle.Size) {
		if first {
			first = false
			resize(ctx, bottle.Size{Width: s.Width - 1, Height: s.Height})
			select {
			case <-time.After(redrawPause):
			case <-ctx.Done():
			}
		}
		resize(ctx, s)
	}
}

// attach connects to an agent that another process started.
func (b *Bottle) attach(ctx context.Context) error {
	attached, err := b.driver.Client.ContainerAttach(ctx, b.agent.id, client.ContainerAttachOptions{
		Stream: true, Stdin: b.agent.tty, Stdout: true, Stderr: true, DetachKeys: noDetachKeys,
	})
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", b.identity, err)
	}
	b.agent.stream = &attached.HijackedResponse
	b.agent.exit = b.driver.Client.ContainerWait(context.WithoutCancel(ctx), b.agent.id, client.ContainerWaitOptions{Condition: "not-running"})
	return nil
}

// exitGrace is how long the engine may take to report an agent whose output ended.
const exitGrace = 15 * time.Second

func (b *Bottle) exitStatus(ctx context.Context) (int, error) {
	grace := time.NewTimer(exitGrace)
	defer grace.Stop()
	select {
	case result := <-b.agent.exit.Result:
		b.agent.ended = true
		if result.Error != nil {
			return 0, fmt.Errorf("the agent's container ended badly: %s", result.Error.Message)
		}
		return int(result.StatusCode), nil
	case err := <-b.agent.exit.Error:
		return 0, fmt.Errorf("lost the engine: %w", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-grace.C:
		return 0, errors.New("lost the connection to the agent, which still runs")
	}
}

// Detach lets go of the bottle and leaves it running.
func (b *Bottle) Detach() error {
	b.once.Do(b.letGo)
	return nil
}

// letGo ends what this process holds, not the bottle.
func (b *Bottle) letGo() {
	if b.agent.stream != nil {
		b.agent.stream.Close()
	}
	if b.bundle != nil {
		b.bundle.abandon()
	}
	if b.audit != nil {
		_ = b.audit.Close()
	}
	if b.release != nil {
		b.release()
	}
}

// Close ends the bottle: the agent is asked, then made, to end; its containers and
// sockets go; home and workspace stay unless the bottle was started to be removed.
func (b *Bottle) Close() error {
	b.once.Do(func() { b.closed = explain(b.close()) })
	return b.closed
}
