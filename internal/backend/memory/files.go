//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/command"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// files are those of a machine, whose own programs read and write for us, as the agent's user.
type files struct {
	command.Files
	stop func() error
}

// Files opens a bottle's files.
func (d *Driver) Files(ctx context.Context, identity string) (bottle.Files, error) {
	m, stop, err := d.machineOf(ctx, identity)
	if err != nil {
		return nil, err
	}
	return files{command.Files{Runner: m, Identity: identity}, stop}, nil
}

// machineOf is a bottle's machine; of one that is stopped, one that is started for that alone,
// without a bundle and under the bottle's lock, until stop is called.
func (d *Driver) machineOf(ctx context.Context, identity string) (m *machine, stop func() error, err error) {
	if !d.keeps(identity) {
		return nil, nil, fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	if m = d.find(identity); m != nil {
		return m, func() error { return nil }, nil
	}
	release, err := d.State.Lock(identity)
	if err != nil {
		return nil, nil, err
	}
	if m, err = newMachine(); err == nil {
		m.identity = identity
		err = d.boot(ctx, m, d.dir(identity))
	}
	stop = func() error {
		defer release()
		return m.halt()
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return m, stop, nil
}

// Close stops a machine that was started for its files.
func (f files) Close() error { return f.stop() }

// UploadPack runs git upload-pack in the bottle, as the agent's user.
func (d *Driver) UploadPack(ctx context.Context, identity, repository string, streams bottle.IO) (code int, err error) {
	m, stop, err := d.machineOf(ctx, identity)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return m.Run(ctx, []string{
		"env", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent",
		"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "upload-pack",
		path.Join(provider.Workspace, path.Clean("/"+repository)),
	}, bottle.Node, streams)
}
