package bundle

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// fewFiles tells a child of TestAStartThatFailsKeepsNoFile that it is one.
const fewFiles = "BUNDLE_TEST_FEW_FILES"

// A start that fails for want of file descriptors, wherever it is by then, keeps none: the parent
// starts a service again and again.
func TestAStartThatFailsKeepsNoFile(t *testing.T) {
	if os.Getenv(fewFiles) == "" { // the limit is a child's: what else is tested here must not meet it
		c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestAStartThatFailsKeepsNoFile$")
		c.Env = append(os.Environ(), fewFiles+"=1")
		if said, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, said)
		}
		return
	}
	debug.SetGCPercent(-1) // a collected file is closed
	listener, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{name: control.Egress, listener: listener, errands: t.TempDir(), talk: func(context.Context, net.Conn) {}}
	o := Options{Self: filepath.Join(t.TempDir(), "no-such-program")}
	_ = s.run(t.Context(), o, nil, func() {}) // what the runtime opens for good is open
	before := openFiles(t)
	reasons := map[string]bool{}
	for more := range 24 {
		err := withFiles(t, before+more, func() error { return s.run(t.Context(), o, nil, func() {}) })
		if err == nil {
			t.Fatal("it started")
		}
		reasons[err.Error()] = true
		if now := openFiles(t); now != before {
			t.Fatalf("with room for %d files it kept %d: %v", more, now-before, err)
		}
	}
	if len(reasons) < 3 { // each place by another error, and the last by the program that is missing
		t.Errorf("it failed in the same ways: %v", reasons)
	}
}

// withFiles does something that finds only so many files open at once.
func withFiles(t *testing.T, files int, do func() error) error {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(files), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	err := do()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	return err
}

// openFiles counts this process's, without the one that it looks with.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1
}
