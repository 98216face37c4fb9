//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// files are those of a machine, whose own programs read and write for us, as the agent's user.
type files struct {
	*machine
	stop func() error
}

// Files opens a bottle's files.
func (d *Driver) Files(ctx context.Context, identity string) (bottle.Files, error) {
	m, stop, err := d.machineOf(ctx, identity)
	if err != nil {
		return nil, err
	}
	return files{m, stop}, nil
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

// look says what a path leads to in the end, and what that is. Its output ends with a newline of
// its own, since a path may end with one.
const look = `f=$(readlink -f -- "$0" && echo .) && f=${f%??} && [ -e "$f" ] || exit 9; [ -d "$f" ] && echo d || echo f; printf '%s\n' "$f"`

// noFile is look's status for a path that is not there.
const noFile = 9

// Stat looks at a file.
func (f files) Stat(ctx context.Context, name string) (bottle.FileInfo, error) {
	r, err := f.exec(ctx, bottle.Node, bottle.IO{}, "sh", "-c", look, name)
	if err == nil && r.Code == noFile {
		err = fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
	}
	if err := errors.Join(err, failure(r)); err != nil {
		return bottle.FileInfo{}, err
	}
	kind, target, _ := strings.Cut(strings.TrimSuffix(string(r.Stdout), "\n"), "\n")
	return bottle.FileInfo{Path: path.Clean(target), Dir: kind == "d"}, nil
}

// Put unpacks an archive.
func (f files) Put(ctx context.Context, dir string, archive io.Reader) error {
	return f.unpack(ctx, dir, archive)
}

// Get makes an archive, whose reader hears of what went wrong at its end.
func (f files) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	reader, writer := io.Pipe() // who closes it ends what writes
	go func() {
		stderr := &beginning{}
		code, err := f.Run(ctx, []string{"tar", "-c", "-C", path.Dir(name), "-f", "-", "--", path.Base(name)}, bottle.Node, bottle.IO{Stdout: writer, Stderr: stderr})
		_ = writer.CloseWithError(errors.Join(err, failure(bottle.ExecResult{Code: code, Stderr: stderr.kept})))
	}()
	return reader, nil
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
