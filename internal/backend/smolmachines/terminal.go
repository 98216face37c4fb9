package smolmachines

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"github.com/moby/term"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// runOnTerminal runs a smolvm on a terminal of ours, which it puts into raw mode and whose size it
// follows, and connects that with the operator's.
func runOnTerminal(ctx context.Context, c *exec.Cmd, streams bottle.IO, said io.Writer) error {
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	defer func() { _ = master.Close() }()
	var first bottle.Size
	select {
	case first = <-streams.Size:
	default:
		first = bottle.Size{Width: 80, Height: 24}
	}
	resize(master, first)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = c.Start()
	_ = slave.Close()
	if err != nil {
		return &callError{verb: "machine exec", err: err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { kill(c) })()
	go follow(ctx, master, streams.Size)
	go typeInto(master, streams, cancel)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(io.MultiWriter(streams.Stdout, said), master) // it ends with an error: the terminal is gone
	}()
	err = c.Wait()
	<-shown
	return ended(ctx, err)
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
func typeInto(master *os.File, streams bottle.IO, cancel context.CancelCauseFunc) {
	if streams.Stdin == nil {
		return
	}
	in := streams.Stdin
	if len(streams.View.DetachKeys) > 0 {
		in = term.NewEscapeProxy(in, streams.View.DetachKeys)
	}
	_, err := io.Copy(master, in)
	if escape := (term.EscapeError{}); errors.As(err, &escape) {
		cancel(bottle.ErrDetached)
	}
}
