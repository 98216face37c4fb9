package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// hinted is an error with a next step for the operator.
type hinted struct {
	error
	hint string
}

// Hint says what to do.
func (h *hinted) Hint() string { return h.hint }

// Unwrap returns the cause.
func (h *hinted) Unwrap() error { return h.error }

// explain adds what to do to the failures that operators meet.
func explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded): // what net/http's own limits are, too
		return &hinted{fmt.Errorf("the engine does not answer: %w", err), "restart the engine (often: systemctl restart docker), then run bot-bottle cleanup"}
	case client.IsErrConnectionFailed(err):
		return &hinted{err, "the engine stopped answering: start it again, then run bot-bottle cleanup"}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &hinted{err, "the disk that holds $BOT_BOTTLE_HOME (~/.bot-bottle) is full: make room there"}
	case strings.Contains(text, "no space left on device"):
		return &hinted{err, "the engine's disk is full: docker system df shows what uses it, and bot-bottle cleanup removes what is left of ours"}
	case strings.Contains(text, "unknown or invalid runtime name"):
		return &hinted{err, "the engine no longer lists that runtime: see runtime: in the bottle's manifest"}
	}
	return err
}
