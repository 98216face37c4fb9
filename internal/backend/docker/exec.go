package docker

import (
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

// Exec runs a script to its end.
func (b *Bottle) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	return bottle.RunScript(ctx, b, script, user)
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
	said := &opening{to: streams.Stderr, hold: !streams.TTY}
	if streams.TTY {
		said.to, streams.Stdout = streams.Stdout, said
	} else {
		streams.Stderr = said
	}
	err = pump(ctx, attached.HijackedResponse, streams, func(ctx context.Context, s bottle.Size) {
		_, _ = engine.ExecResize(ctx, created.ID, client.ExecResizeOptions{Height: s.Height, Width: s.Width})
	})
	if err != nil {
		return 0, errors.Join(err, said.flush())
	}
	code, err := b.driver.exitOf(ctx, created.ID)
	if err == nil && code != 0 && said.brokeOff() {
		if err := b.crowded(ctx, argv[0]); err != nil {
			return 0, err
		}
	}
	return code, errors.Join(err, said.flush())
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
	return filecopy.Stream(hostPath, path.Base(target), provider.UID, func(archive io.Reader) error {
		_, err := d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: path.Dir(target), Content: archive})
		return err
	})
}
