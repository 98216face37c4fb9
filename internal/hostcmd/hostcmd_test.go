package hostcmd

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	out, err := Output(t.Context(), "", []string{"sh", "-c", "printf hello"})
	if err != nil || string(out) != "hello" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestFailureShowsStderrAndNeverStdout(t *testing.T) {
	_, err := Output(t.Context(), "", []string{"sh", "-c", "echo s3cret; echo first >&2; echo no such login >&2; exit 3"})
	if err == nil || !strings.Contains(err.Error(), "no such login") || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("got %v", err)
	}
}

func TestMissingCommand(t *testing.T) {
	if _, err := Output(t.Context(), "", []string{"no-such-command-at-all"}); !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestCancelKillsWhatTheCommandStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Output(ctx, "", []string{"sh", "-c", "sleep 1000 & wait"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}
