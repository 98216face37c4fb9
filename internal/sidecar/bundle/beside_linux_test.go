package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Each end of pipelock is in the log with what it complained of, and nothing of the ends before.
func TestTheLogSaysWhyPipelockEnded(t *testing.T) {
	dir := t.TempDir()
	self, once := filepath.Join(dir, "self"), filepath.Join(dir, "once")
	script := "#!/bin/sh\n[ -e " + once + " ] && exit 4\n: > " + once + "\necho the program has changed >&2\nexit 3\n"
	if err := errors.Join(os.WriteFile(self, []byte(script), 0o700), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var written bytes.Buffer
	out := newLog(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return written.Write(p)
	}), control.BundleConfig{Bottle: "b"}, func(error) {})
	if err := out.begin(nil); err != nil {
		t.Fatal(err)
	}
	b := newBeside(Options{Self: self, SocketDir: dir}, &control.EgressConfig{Pipelock: &control.PipelockConfig{Binary: "/p", Hash: "h"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.keep(ctx, out) }()
	said := ""
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said, "exit status 4") && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		said = written.String()
		mu.Unlock()
	}
	cancel()
	<-done
	if !strings.Contains(said, "exit status 3 (the program has changed);") || !strings.Contains(said, "exit status 4;") {
		t.Errorf("got %s", said)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
