package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxOutput bounds what Exec keeps of each stream.
const maxOutput = 1 << 20

// Exec runs a script to its end.
func (b *Bottle) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	stdout, stderr := &bounded{}, &bounded{}
	code, err := b.Run(ctx, []string{"/bin/sh", "-c", script}, user, bottle.IO{Stdout: stdout, Stderr: stderr})
	return bottle.ExecResult{Code: code, Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, err
}

// bounded keeps the first maxOutput bytes and swallows the rest.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Run runs a command in the bottle, connected to streams. Our own binary finds and
// becomes it, so that a command that cannot be run is told on standard error and by the
// same exit status on every engine.
func (b *Bottle) Run(ctx context.Context, argv []string, user bottle.User, streams bottle.IO) (int, error) {
	engine := b.driver.Client
	created, err := engine.ExecCreate(ctx, b.agent.id, client.ExecCreateOptions{
		User: string(user), TTY: streams.TTY, Cmd: slices.Concat([]string{control.Binary, "guest", "exec", "--"}, argv), DetachKeys: noDetachKeys,
		AttachStdin: streams.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, fmt.Errorf("cannot run %q in %s: %w", argv[0], b.identity, err)
	}
	attached, err := engine.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: streams.TTY})
	if err != nil {
		return 0, fmt.Errorf("cannot run %q in %s: %w", argv[0], b.identity, err)
	}
	err = pump(ctx, attached.HijackedResponse, streams, func(ctx context.Context, s bottle.Size) {
		_, _ = engine.ExecResize(ctx, created.ID, client.ExecResizeOptions{Height: s.Height, Width: s.Width})
	})
	if err != nil {
		return 0, err
	}
	return b.driver.exitOf(ctx, created.ID)
}

// exitOf waits until a command that was run has ended, and returns its exit status. The end of its
// streams is not that: they may have been lost, or closed, and of a command that still runs the
// engine says 0.
func (d *Driver) exitOf(ctx context.Context, id string) (int, error) {
	for {
		result, err := d.Client.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil || !result.Running {
			return result.ExitCode, err
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}

// CopyIn copies a file or tree in, owned by the agent's user. The engine resolves
// bottlePath inside the bottle, so nothing there can lead outside.
func (b *Bottle) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	if err := b.driver.copyTree(ctx, b.agent.id, hostPath, bottlePath); err != nil {
		return fmt.Errorf("cannot copy %s into %s: %w", hostPath, b.identity, err)
	}
	return nil
}

// copyTree streams a file or tree into a container.
func (d *Driver) copyTree(ctx context.Context, id, hostPath, target string) error {
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := filecopy.Pack(writer, hostPath, path.Base(target), provider.UID, nil)
		_ = writer.CloseWithError(err)
		done <- err
	}()
	_, err := d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: path.Dir(target), Content: reader})
	_ = reader.Close()
	if wrote := <-done; wrote != nil && !errors.Is(wrote, io.ErrClosedPipe) {
		err = wrote
	}
	return err
}
