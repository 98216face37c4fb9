package docker

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// Control opens a stream to the bundle's control API, through a process in its
// container, so that it works with an engine on another machine, too.
func (b *Bottle) Control(ctx context.Context) (net.Conn, error) {
	bundle := resource(b.identity, roleSidecar)
	conn, err := b.driver.stream(ctx, bundle, "sidecar", "control")
	if errdefs.IsConflict(err) || errdefs.IsNotFound(err) { // a paused one is in conflict, too
		found, inspectErr := b.driver.Client.ContainerInspect(ctx, bundle, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(inspectErr) || inspectErr == nil && !found.Container.State.Running {
			return nil, &control.DownError{Identity: b.identity}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the bundle of %s: %w", b.identity, err)
	}
	return conn, nil
}

// execConn is a process's standard input and output as one connection. What it says on
// standard error is the error of a stream that ends early.
type execConn struct {
	net.Conn
	out    *io.PipeReader
	stream client.HijackedResponse
}

func newExecConn(stream client.HijackedResponse) *execConn {
	out, in := io.Pipe()
	c := &execConn{Conn: stream.Conn, out: out, stream: stream}
	go func() {
		var said plain.Tail
		_, err := stdcopy.StdCopy(in, &said, stream.Reader)
		if why := said.Last(); err == nil && why != "" {
			err = fmt.Errorf("%s", why)
		}
		_ = in.CloseWithError(err) // nil is the end
	}()
	return c
}

// Read implements net.Conn.
func (c *execConn) Read(p []byte) (int, error) { return c.out.Read(p) }

// Close implements net.Conn.
func (c *execConn) Close() error {
	_ = c.out.Close()
	c.stream.Close()
	return nil
}
