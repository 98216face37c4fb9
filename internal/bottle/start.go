package bottle

import (
	"context"
	"errors"
	"io"
)

// Operator is how Start speaks with the person in front of it.
type Operator interface {
	// Confirm shows the preflight and asks. False means that nothing is created.
	Confirm(ctx context.Context, summary func(io.Writer) error) (bool, error)
	// Progress is told what takes time.
	Progress(string)
	// Launched is told the identity once the agent runs.
	Launched(identity string)
	// Connect gives the streams for the agent; release undoes what it did to the
	// terminal, is told how the agent's session ended, and is always called.
	Connect() (streams IO, release func(error), err error)
}

// ErrDeclined is Start's answer when the operator said no.
var ErrDeclined = errors.New("declined")

// LaunchError wraps a failure to bring a bottle up or to keep it: exit status 125.
type LaunchError struct{ Err error }

func (e *LaunchError) Error() string { return e.Err.Error() }
func (e *LaunchError) Unwrap() error { return e.Err }

// Start is the whole life of a bottle: prepare → preflight → launch → agent →
// close. It returns the agent's exit status. With detach it returns as soon as the
// agent runs, and the bottle stays. An agent with a terminal outlives ctx, too.
func Start(ctx context.Context, b Backend, spec Spec, op Operator, detach bool) (int, error) {
	plan, err := b.Prepare(ctx, spec)
	if err != nil {
		return 0, err
	}
	if ok, err := op.Confirm(ctx, plan.WriteSummary); err != nil {
		return 0, err
	} else if !ok {
		return 0, ErrDeclined
	}
	running, err := plan.Launch(ctx, op.Progress)
	if err != nil {
		return 0, &LaunchError{err}
	}
	op.Launched(plan.Identity())
	if detach {
		return 0, running.Detach()
	}
	code, err := ExecAgent(ctx, running, op)
	if errors.Is(err, ErrDetached) {
		return 0, errors.Join(err, running.Detach())
	}
	return code, errors.Join(lost(err), running.Close())
}

// ExecAgent runs the agent in the foreground and returns its exit status.
func ExecAgent(ctx context.Context, running Bottle, op Operator) (code int, err error) {
	streams, release, err := op.Connect()
	if err != nil {
		return 0, err
	}
	defer func() { release(err) }() // also when Agent panics
	return running.Agent(ctx, streams)
}

func lost(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &LaunchError{err}
}
