package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Bottle is a running bottle: one that this process launched, or one that it found.
type Bottle struct {
	driver   *Driver
	identity string
	remove   bool                    // home and workspace go too
	secrets  map[string]secret.Value // to keep out of the transcript; nil when found

	agent   *agent
	bundle  *bundle  // nil when found
	audit   *os.File // nil when found
	release func()   // gives up the lock; nil when found

	began time.Time // the run that was found, by its record; zero without one, and when launched

	once   sync.Once
	closed error
}

// agent is the connection with the agent's own process.
type agent struct {
	id      string
	tty     bool
	stream  *client.HijackedResponse // connected before the start; nil when found, or on a terminal
	session net.Conn                 // the same of a terminal, once
	exit    client.ContainerWaitResult
	ended   bool
}

var _ bottle.Bottle = (*Bottle)(nil)

// Open finds a running bottle.
func (d *Driver) Open(ctx context.Context, identity string) (bottle.Bottle, error) {
	c, err := d.ownAgent(ctx, identity)
	if err != nil {
		return nil, err
	}
	if !c.State.Running {
		return nil, &bottle.EndedError{Identity: identity, Code: c.State.ExitCode}
	}
	record, _ := d.State.Read(identity) // somebody may have deleted it
	return &Bottle{
		driver: d, identity: identity, remove: c.Config.Labels[labelRemove] == "true", began: record.StartedAt,
		agent: &agent{id: c.ID, tty: c.Config.Labels[labelTerminal] == "true"},
	}, nil
}

// ownAgent looks at the container of an agent of ours that has been started.
func (d *Driver) ownAgent(ctx context.Context, identity string) (container.InspectResponse, error) {
	if !bottle.ValidIdentity(identity) {
		return container.InspectResponse{}, fmt.Errorf("%q: %w", identity, bottle.ErrNotRunning)
	}
	found, err := d.Client.ContainerInspect(ctx, resource(identity, roleAgent), client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return container.InspectResponse{}, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	if err != nil {
		return container.InspectResponse{}, err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return container.InspectResponse{}, err
	}
	c := found.Container
	if c.Config.Labels[labelOwner] != owner || c.State.Status == container.StateCreated {
		return c, fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	return c, nil
}

// Name is the identity.
func (b *Bottle) Name() string { return b.identity }

// AgentArgv opens the agent's terminal from a pane.
func (b *Bottle) AgentArgv(args []string, _ bool) []string {
	return append([]string{"bot-bottle", "attach", b.identity}, args...)
}

// Agent connects the operator with the agent until it ends.
func (b *Bottle) Agent(ctx context.Context, streams bottle.IO) (int, error) {
	if b.agent.tty {
		return b.onTerminal(ctx, streams)
	}
	if b.agent.stream == nil {
		if err := b.attach(ctx); err != nil {
			return 0, err
		}
	}
	outer := ctx
	ctx, unwatch := b.watchBundle(outer)
	err := pump(ctx, *b.agent.stream, streams, nil)
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

// attach connects to the output of an agent without a terminal that another process started.
func (b *Bottle) attach(ctx context.Context) error {
	attached, err := b.driver.Client.ContainerAttach(ctx, b.agent.id, client.ContainerAttachOptions{
		Stream: true, Stdout: true, Stderr: true, DetachKeys: noDetachKeys,
	})
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", b.identity, err)
	}
	b.agent.stream = &attached.HijackedResponse
	b.awaitExit(ctx)
	return nil
}

func (b *Bottle) awaitExit(ctx context.Context) {
	b.agent.exit = b.driver.Client.ContainerWait(context.WithoutCancel(ctx), b.agent.id, client.ContainerWaitOptions{Condition: "not-running"})
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
	if b.agent.session != nil {
		_ = b.agent.session.Close()
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
