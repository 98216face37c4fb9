package hostcmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A command with grace is asked to end, with all that it started, and is waited for while it
// cleans up.
func TestGraceIsForCleaningUp(t *testing.T) {
	dir := t.TempDir()
	up := filepath.Join(dir, "up")
	if err := syscall.Mkfifo(up, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = os.ReadFile(up)
		cancel()
	}()
	const script = `sh -c 'trap "echo >\"$0/cleaned\"; exit" TERM; echo >"$0/up"; while :; do sleep 0.05; done' "$0" & wait`
	_, err := Command{Argv: []string{"sh", "-c", script, dir}, Grace: time.Minute}.Output(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cleaned")); err != nil {
		t.Error("it was not let clean up")
	}
}
