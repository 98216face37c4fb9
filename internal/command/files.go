package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"syscall"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Files are the files of a bottle, by programs that run in it as the agent's user. So nothing there
// leads anywhere that the agent could not go. It is a bottle.Files but for Close.
type Files struct {
	bottle.Runner
	Identity string
}

// look says what a path leads to in the end, and what that is. Its output ends with a newline of
// its own, since a path may end with one.
const look = `f=$(readlink -f -- "$0" && echo .) && f=${f%??} && [ -e "$f" ] || exit 9; [ -d "$f" ] && echo d || echo f; printf '%s\n' "$f"`

// noFile is look's status for a path that is not there.
const noFile = 9

// Stat looks at a file. What it leads to is the bottle's word, and is only told to the bottle again.
func (f Files) Stat(ctx context.Context, name string) (bottle.FileInfo, error) {
	found, err := bottle.Output(ctx, f, []string{"sh", "-c", look, name}, bottle.Node)
	if err != nil {
		return bottle.FileInfo{}, err
	}
	kind, target, ok := strings.Cut(strings.TrimSuffix(string(found.Stdout), "\n"), "\n")
	switch {
	case found.Code == noFile:
		return bottle.FileInfo{}, fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
	case found.Code != 0:
		said := &plain.Tail{}
		_, _ = said.Write(found.Stderr)
		return bottle.FileInfo{}, fmt.Errorf("cannot look at %s in %s: %w", name, f.Identity, why(said, "sh", found.Code))
	case !ok || !path.IsAbs(target):
		return bottle.FileInfo{}, fmt.Errorf("cannot look at %s in %s: the bottle does not say what it is", name, f.Identity)
	}
	return bottle.FileInfo{Path: path.Clean(target), Dir: kind == "d"}, nil
}

// Put unpacks an archive.
func (f Files) Put(ctx context.Context, dir string, archive io.Reader) error {
	return f.tar(ctx, bottle.IO{Stdin: archive, Stdout: io.Discard}, "-x", "-o", "-C", dir, "-f", "-")
}

// Get makes an archive, whose reader hears of what went wrong at its end.
func (f Files) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	go func() {
		err := f.tar(ctx, bottle.IO{Stdout: writer}, "-c", "-C", path.Dir(name), "-f", "-", "--", path.Base(name))
		if err != nil {
			err = fmt.Errorf("cannot read %s: %w", name, err)
		}
		_ = writer.CloseWithError(err)
	}()
	return &archiving{reader, cancel}, nil
}

// CopyIn is what a Bottle's does.
func (f Files) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	err := filecopy.Stream(hostPath, path.Base(bottlePath), provider.UID, func(archive io.Reader) error {
		return f.Put(ctx, path.Dir(bottlePath), archive)
	})
	if err != nil {
		return fmt.Errorf("cannot copy %s into %s: %w", hostPath, f.Identity, err)
	}
	return nil
}

// tar runs tar as the agent's user.
func (f Files) tar(ctx context.Context, streams bottle.IO, args ...string) error {
	said := &plain.Tail{}
	streams.Stderr = said
	code, err := f.Run(ctx, append([]string{"tar"}, args...), bottle.Node, streams)
	if err == nil && code != 0 {
		err = why(said, "tar", code)
	}
	return err
}

// why is why a program failed: its first line that is kept, safe to print, since tar's last only says
// that it did. One that was killed says nothing.
func why(said *plain.Tail, program string, code int) error {
	if first := plain.Text(said.Lines()[0]); first != "" {
		return errors.New(first)
	}
	if signal := syscall.Signal(code - 128); code > 128 {
		return fmt.Errorf("%s in the bottle was ended by a signal (%s)", program, signal)
	}
	return fmt.Errorf("%s in the bottle failed with status %d and said nothing", program, code)
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
