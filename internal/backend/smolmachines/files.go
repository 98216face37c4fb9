package smolmachines

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// files are those of a machine, which programs of it read and write for us, as the agent's user.
// It is started for that alone if it does not run, with its disk.
type files struct {
	bottle *Bottle
	stop   func() error
}

// Files opens a bottle's files.
func (d *Driver) Files(ctx context.Context, identity string) (bottle.Files, error) {
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	m, there, err := d.find(ctx, identity)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrGone)
	}
	f := &files{bottle: &Bottle{driver: d, identity: identity, machine: m.Name}, stop: func() error { return nil }}
	if !m.up() {
		if f.stop, err = d.startAlone(ctx, m, identity); err != nil {
			return nil, explain(err)
		}
	}
	return f, nil
}

// look says what a path leads to in the end, and what that is. Its output ends with a newline of
// its own, since a path may end with one.
const look = `f=$(readlink -f -- "$0" && echo .) && f=${f%??} && [ -e "$f" ] || exit 9; [ -d "$f" ] && echo d || echo f; printf '%s\n' "$f"`

// noFile is look's status for a path that is not there.
const noFile = 9

// Stat looks at a file. What it leads to is the bottle's word, and is only told to the bottle again.
func (f *files) Stat(ctx context.Context, name string) (bottle.FileInfo, error) {
	found, err := f.bottle.runArgv(ctx, []string{"sh", "-c", look, name})
	if err != nil {
		return bottle.FileInfo{}, err
	}
	kind, target, ok := strings.Cut(strings.TrimSuffix(string(found.Stdout), "\n"), "\n")
	switch {
	case found.Code == noFile:
		return bottle.FileInfo{}, fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
	case found.Code != 0:
		said := &tail{}
		_, _ = said.Write(found.Stderr)
		return bottle.FileInfo{}, fmt.Errorf("cannot look at %s in %s: %w", name, f.bottle.identity, said.why("sh", found.Code))
	case !ok || !path.IsAbs(target):
		return bottle.FileInfo{}, fmt.Errorf("cannot look at %s in %s: the bottle does not say what it is", name, f.bottle.identity)
	}
	return bottle.FileInfo{Path: path.Clean(target), Dir: kind == "d"}, nil
}

// runArgv is Exec of a program with its arguments.
func (b *Bottle) runArgv(ctx context.Context, argv []string) (bottle.ExecResult, error) {
	stdout, stderr := &first{}, &first{}
	code, err := b.Run(ctx, argv, bottle.Node, bottle.IO{Stdout: stdout, Stderr: stderr})
	return bottle.ExecResult{Code: code, Stdout: stdout.kept, Stderr: stderr.kept}, err
}

// Put unpacks an archive.
func (f *files) Put(ctx context.Context, dir string, archive io.Reader) error {
	said := &tail{}
	code, err := f.bottle.Run(ctx, []string{"tar", "-x", "-o", "-C", dir, "-f", "-"}, bottle.Node, bottle.IO{Stdin: archive, Stdout: io.Discard, Stderr: said})
	if err == nil && code != 0 {
		err = said.why("tar", code)
	}
	return err
}

// Get makes an archive, whose reader hears of what went wrong at its end.
func (f *files) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	go func() {
		said := &tail{}
		code, err := f.bottle.Run(ctx, []string{"tar", "-c", "-C", path.Dir(name), "-f", "-", "--", path.Base(name)}, bottle.Node, bottle.IO{Stdout: writer, Stderr: said})
		if err == nil && code != 0 {
			err = fmt.Errorf("cannot read %s: %w", name, said.why("tar", code))
		}
		_ = writer.CloseWithError(err)
	}()
	return &archiving{reader, cancel}, nil
}

// archiving is an archive that is made while it is read.
type archiving struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends what makes it.
func (a *archiving) Close() error {
	a.cancel()
	return a.PipeReader.Close()
}

// Close stops a machine that was started for its files.
func (f *files) Close() error { return f.stop() }
