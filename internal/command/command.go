// Package command connects the operator's streams with a process of this host that stands for one
// in a bottle.
package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/moby/term"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Command is such a process, not started yet. Its standard streams are not set.
type Command struct {
	*exec.Cmd
	Kill  func()        // ends it, and with it what runs in the bottle; called when its context ends
	Grace time.Duration // how long what it leaves behind may hold its streams; none on a terminal
	Said  io.Writer     // gets what it tells the operator as well; nil if nobody wants that
}

// Run runs it to its end, connected to streams. A read of streams.Stdin may still be pending when it
// returns. The error is the cause of ctx's end, bottle.ErrDetached when the operator left by the
// detach keys of a terminal, or exec's own: an *exec.ExitError when it did not exit with 0.
func (c Command) Run(ctx context.Context, streams bottle.IO) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error
	if streams.TTY {
		err = c.onTerminal(ctx, streams, cancel)
	} else {
		err = c.onPipes(ctx, streams)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (c Command) onPipes(ctx context.Context, streams bottle.IO) error {
	c.Stdout, c.Stderr, c.WaitDelay = streams.Stdout, c.also(streams.Stderr), c.Grace
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
	defer context.AfterFunc(ctx, c.Kill)()
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

// also is a writer that Said gets everything of; nil if nobody wants it.
func (c Command) also(w io.Writer) io.Writer {
	switch {
	case c.Said == nil:
		return w
	case w == nil:
		return c.Said
	}
	return io.MultiWriter(w, c.Said)
}

// onTerminal gives it a terminal of its own, whose size follows the operator's.
func (c Command) onTerminal(ctx context.Context, streams bottle.IO, leave context.CancelCauseFunc) error {
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	defer func() { _ = master.Close() }()
	select {
	case s := <-streams.Size:
		resize(master, s)
	default:
		resize(master, bottle.Size{Width: 80, Height: 24})
	}
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = c.Start()
	_ = slave.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, c.Kill)()
	following, stop := context.WithCancel(ctx)
	var sizes sync.WaitGroup
	defer sizes.Wait() // before the terminal goes
	defer stop()
	sizes.Go(func() { follow(following, master, streams.Size) })
	if streams.Stdin != nil {
		go typeInto(master, streams, leave)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(c.also(streams.Stdout), master) // it ends with an error: the terminal is gone
	}()
	err = c.Wait()
	<-shown
	return err
}

func resize(master *os.File, s bottle.Size) {
	_ = pty.Setsize(master, &pty.Winsize{Rows: uint16(s.Height), Cols: uint16(s.Width)})
}

func follow(ctx context.Context, master *os.File, sizes <-chan bottle.Size) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			resize(master, s)
		case <-ctx.Done():
			return
		}
	}
}

// typeInto passes on what is typed, until the operator leaves by the detach keys.
func typeInto(master io.Writer, streams bottle.IO, leave context.CancelCauseFunc) {
	in := streams.Stdin
	if len(streams.View.DetachKeys) > 0 {
		in = term.NewEscapeProxy(in, streams.View.DetachKeys)
	}
	if _, err := io.Copy(master, in); errors.As(err, new(term.EscapeError)) {
		leave(bottle.ErrDetached)
	}
}
