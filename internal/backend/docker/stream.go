package docker

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// The operator's detach keys are recognised here, not by the engine, which would
// close the stream without saying why. The engine wants some other keys then; nobody
// types these.
const noDetachKeys = "ctrl-^,ctrl-],ctrl-^,ctrl-]"

// pump carries bytes both ways until the process's output ends (nil), the operator
// detaches (bottle.ErrDetached), ctx ends, or the operator's side cannot be written.
// A read of streams.Stdin may still be pending when it returns: nothing can interrupt
// it, and its bytes go nowhere.
func pump(ctx context.Context, conn client.HijackedResponse, streams bottle.IO, resize func(context.Context, bottle.Size)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	defer work.Wait()
	defer conn.Close()
	defer cancel(nil)
	defer context.AfterFunc(ctx, conn.Close)()
	if streams.Stdin != nil {
		go func() { cancelOn(cancel, send(conn, streams)) }()
	}
	if resize != nil && streams.Size != nil {
		work.Go(func() { follow(ctx, streams.Size, resize) })
	}
	err := receive(conn, streams)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func cancelOn(cancel context.CancelCauseFunc, err error) {
	if err != nil {
		cancel(err)
	}
}

// send writes the operator's input, and its end. With a terminal it looks for the
// detach keys. An agent that no longer reads is not an error.
func send(conn client.HijackedResponse, streams bottle.IO) error {
	stdin := streams.Stdin
	if streams.TTY && len(streams.View.DetachKeys) > 0 {
		stdin = session.NewLeaving(stdin, streams.View.DetachKeys)
	}
	_, err := io.Copy(conn.Conn, stdin)
	if errors.Is(err, bottle.ErrDetached) {
		return bottle.ErrDetached
	}
	_ = conn.CloseWrite()
	return nil
}

func receive(conn client.HijackedResponse, streams bottle.IO) error {
	if streams.TTY {
		_, err := io.Copy(streams.Stdout, conn.Reader)
		return err
	}
	_, err := stdcopy.StdCopy(streams.Stdout, streams.Stderr, conn.Reader)
	return err
}

func follow(ctx context.Context, sizes <-chan bottle.Size, resize func(context.Context, bottle.Size)) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			resize(ctx, size)
		case <-ctx.Done():
			return
		}
	}
}
