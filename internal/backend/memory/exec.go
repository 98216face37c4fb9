//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/moby/term"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxOutput bounds what Exec keeps of each stream.
const maxOutput = 1 << 20

// Exec runs a script to its end.
func (m *machine) Exec(ctx context.Context, script string, user bottle.User) (bottle.ExecResult, error) {
	return m.exec(ctx, user, bottle.IO{}, "/bin/sh", "-c", script)
}

// exec is Run of what tells something on its standard streams.
func (m *machine) exec(ctx context.Context, user bottle.User, streams bottle.IO, argv ...string) (bottle.ExecResult, error) {
	stdout, stderr := &beginning{}, &beginning{}
	streams.Stdout, streams.Stderr = stdout, stderr
	code, err := m.Run(ctx, argv, user, streams)
	return bottle.ExecResult{Code: code, Stdout: stdout.kept, Stderr: stderr.kept}, err
}

// beginning keeps the first maxOutput bytes and swallows the rest.
type beginning struct{ kept []byte }

func (f *beginning) Write(p []byte) (int, error) {
	f.kept = append(f.kept, p[:min(maxOutput-len(f.kept), len(p))]...)
	return len(p), nil
}

// Run runs a command, connected to streams: as the agent's user, or as root without a capability.
func (m *machine) Run(ctx context.Context, argv []string, user bottle.User, streams bottle.IO) (int, error) {
	c := m.command(append([]string{"within", string(user), "--"}, argv...)...)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error
	if streams.TTY {
		err = runOnTerminal(ctx, c, streams, cancel)
	} else {
		err = runOnPipes(ctx, c, streams)
	}
	if cause := context.Cause(ctx); cause != nil {
		return 0, cause
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	ws := c.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case m.guest.over() && !c.ProcessState.Success():
		return 0, fmt.Errorf("cannot run %q: %s: %w", argv[0], m.identity, bottle.ErrNotRunning)
	case ws.Signaled():
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// outputGrace is how long what a command has left behind may hold its streams.
const outputGrace = time.Second

// runOnPipes runs a command to its end. A read of streams.Stdin may still be pending then.
func runOnPipes(ctx context.Context, c *exec.Cmd, streams bottle.IO) error {
	c.Stdout, c.Stderr, c.WaitDelay = streams.Stdout, streams.Stderr, outputGrace
	var stdin io.WriteCloser
	if streams.Stdin != nil {
		var err error
		if stdin, err = c.StdinPipe(); err != nil {
			return err
		}
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { kill(c) })()
	if stdin != nil {
		go func() {
			_, _ = io.Copy(stdin, streams.Stdin)
			_ = stdin.Close()
		}()
	}
	if err := c.Wait(); !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	return nil
}

// runOnTerminal runs a command on a terminal that follows the operator's in size, until it ends or
// is left by the detach keys.
func runOnTerminal(ctx context.Context, c *exec.Cmd, streams bottle.IO, leave context.CancelCauseFunc) error {
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	defer func() { _ = master.Close() }()
	resize := func(s bottle.Size) {
		_ = pty.Setsize(master, &pty.Winsize{Rows: uint16(s.Height), Cols: uint16(s.Width)})
	}
	select {
	case s := <-streams.Size:
		resize(s)
	default:
		resize(bottle.Size{Width: 80, Height: 24})
	}
	c.Stdin, c.Stdout, c.Stderr, c.Env = slave, slave, slave, append(c.Env, "TERM=xterm-256color")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = c.Start()
	_ = slave.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { kill(c) })()
	following, stop := context.WithCancel(ctx)
	var sizes sync.WaitGroup
	defer sizes.Wait() // before the terminal goes
	defer stop()
	sizes.Go(func() {
		for {
			select {
			case s, ok := <-streams.Size:
				if !ok {
					return
				}
				resize(s)
			case <-following.Done():
				return
			}
		}
	})
	if in := streams.Stdin; in != nil {
		if len(streams.View.DetachKeys) > 0 {
			in = term.NewEscapeProxy(in, streams.View.DetachKeys)
		}
		go func() {
			if _, err := io.Copy(master, in); errors.As(err, new(term.EscapeError)) {
				leave(bottle.ErrDetached)
			}
		}()
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(streams.Stdout, master) // it ends with an error: the terminal is gone
	}()
	err = c.Wait()
	<-shown
	return err
}

// CopyIn copies a file or a tree in, owned by the agent's user, who unpacks it.
func (m *machine) CopyIn(ctx context.Context, hostPath, bottlePath string) error {
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := filecopy.Pack(writer, hostPath, path.Base(bottlePath), provider.UID, nil)
		_ = writer.CloseWithError(err)
		packed <- err
	}()
	err := m.unpack(ctx, path.Dir(bottlePath), reader)
	_ = reader.Close()
	if failed := <-packed; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("cannot copy %s into %s: %w", hostPath, m.identity, err)
	}
	return nil
}

// unpack has the agent's user unpack an archive in a directory.
func (m *machine) unpack(ctx context.Context, dir string, archive io.Reader) error {
	r, err := m.exec(ctx, bottle.Node, bottle.IO{Stdin: archive}, "tar", "-x", "-o", "-C", dir, "-f", "-")
	return errors.Join(err, failure(r))
}

// failure is what a command complained of when it failed.
func failure(r bottle.ExecResult) error {
	if r.Code == 0 {
		return nil
	}
	first, _, _ := strings.Cut(string(r.Stderr), "\n")
	return errors.New(first)
}
