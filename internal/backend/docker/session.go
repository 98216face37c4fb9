package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// session opens a stream to a session: a process in the bottle that connects its standard
// streams with it. As root, which nothing in the bottle can become.
func (d *Driver) session(ctx context.Context, id string) (net.Conn, error) {
	return d.stream(ctx, id, "guest", "attach")
}

// stream connects with the standard streams of our own binary in a container.
func (d *Driver) stream(ctx context.Context, id string, args ...string) (net.Conn, error) {
	created, err := d.Client.ExecCreate(ctx, id, client.ExecCreateOptions{
		User: "0:0", Cmd: append([]string{control.Binary}, args...),
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return nil, err
	}
	attached, err := d.Client.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	return newExecConn(attached.HijackedResponse), nil
}

// Watch opens a stream to look at the agent's screen.
func (b *Bottle) Watch(ctx context.Context) (*session.Watcher, error) {
	if !b.agent.tty {
		return nil, fmt.Errorf("%s: %w", b.identity, bottle.ErrNoTerminal)
	}
	conn, err := b.driver.session(ctx, b.agent.id)
	if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w", b.identity, err)
	}
	return session.Watch(conn), nil
}

// onTerminal shows the agent's terminal until it ends, or the operator leaves it.
func (b *Bottle) onTerminal(outer context.Context, streams bottle.IO) (int, error) {
	first := b.agent.session != nil
	if b.agent.exit.Result == nil {
		b.awaitExit(outer)
	}
	view := session.NewView(session.Options{
		Stdin: streams.Stdin, Stdout: streams.Stdout, Size: streams.Size, First: first || b.bundle != nil,
		DetachKeys: streams.View.DetachKeys, Allow: streams.View.Allow, ReadOnly: streams.View.ReadOnly, Only: streams.View.Only, History: streams.View.History, Colours: streams.View.Colours,
	})
	defer view.Leave()
	ctx, unwatch := b.watchBundle(outer)
	err := b.show(ctx, view)
	unwatch()
	if outer.Err() != nil { // a signal, or a terminal that is gone
		return 0, bottle.ErrDetached
	}
	if err != nil {
		return 0, err
	}
	status, err := b.exitStatus(outer)
	if err == nil && status != 0 {
		view.Leave()
		b.tellFailure(outer, streams.Stderr)
	}
	return status, err
}

// reconnects is how often a stream that is lost is made anew, without one that held.
const reconnects = 5

// show shows the session, on a new stream when one was lost, until it ends.
func (b *Bottle) show(ctx context.Context, view *session.View) error {
	for lost := 0; ; lost++ {
		conn, err := b.takeSession(ctx)
		if err == nil {
			_, err = view.Attach(ctx, conn)
			_ = conn.Close()
		}
		switch {
		case err == nil:
			return nil
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case errors.Is(err, bottle.ErrDetached):
			return err
		case !b.agentRuns(ctx):
			return nil
		case lost == reconnects:
			return fmt.Errorf("cannot show the session of %s: %w", b.identity, err)
		}
		if err := pause(ctx); err != nil {
			return context.Cause(ctx)
		}
	}
}

func (b *Bottle) takeSession(ctx context.Context) (net.Conn, error) {
	if conn := b.agent.session; conn != nil {
		b.agent.session = nil
		return conn, nil
	}
	return b.driver.session(ctx, b.agent.id)
}

func (b *Bottle) agentRuns(ctx context.Context) bool {
	found, err := b.driver.Client.ContainerInspect(ctx, b.agent.id, client.ContainerInspectOptions{})
	return err == nil && found.Container.State != nil && found.Container.State.Running
}

// maxFailure bounds what is told of a guest that failed.
const maxFailure = 4 << 10

// tellFailure passes on what the guest had to say about an agent that it could not run. An
// agent with a terminal has no standard error of its own.
func (b *Bottle) tellFailure(ctx context.Context, w io.Writer) {
	logs, err := b.driver.Client.ContainerLogs(ctx, b.agent.id, client.ContainerLogsOptions{ShowStderr: true})
	if err != nil {
		return
	}
	defer func() { _ = logs.Close() }()
	var said bytes.Buffer
	if _, err := stdcopy.StdCopy(io.Discard, &said, io.LimitReader(logs, maxFailure)); err != nil || w == nil {
		return
	}
	_, _ = w.Write(said.Bytes())
}
