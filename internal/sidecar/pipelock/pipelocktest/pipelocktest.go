// Package pipelocktest runs a pipelock for tests: the stand-in of this repository, or the real
// one, where BOT_BOTTLE_PIPELOCK names its program.
package pipelocktest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	client "github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock"
)

// Real reports whether the tests run with the real one.
func Real() bool { return os.Getenv("BOT_BOTTLE_PIPELOCK") != "" }

// Program is the path of the pipelock that is tested.
func Program(t testing.TB) string {
	if Real() {
		return os.Getenv("BOT_BOTTLE_PIPELOCK")
	}
	return StandIn(t)
}

// StandIn builds the stand-in, statically, for it runs in an empty image, too.
func StandIn(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "standin") // t.TempDir may be gone before who runs it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	built := filepath.Join(dir, "pipelock")
	c := exec.Command("go", "build", "-o", built, "github.com/bot-bottle/bot-bottle/test/pipelock")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the stand-in: %v\n%s", err, out)
	}
	return built
}

// Lab is a running pipelock with its runner.
type Lab struct {
	Dir   string     // of the sockets
	Ended chan error // what Run returned; closed then

	stop context.CancelFunc
	once sync.Once
}

// Start runs a program, until the test ends or nobody has needed it for grace.
func Start(t testing.TB, program string, grace time.Duration) *Lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "pl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Lab{Dir: dir, Ended: make(chan error, 1), stop: stop}
	o := pipelock.Options{
		Dir: dir, Program: program, ConfigFile: filepath.Join(dir, "pipelock.yaml"), Grace: grace,
		Settings: client.Settings{Scan: freeAddress(t), Health: freeAddress(t), Metrics: freeAddress(t)},
	}
	go func() {
		l.Ended <- pipelock.Run(ctx, o)
		close(l.Ended)
	}()
	t.Cleanup(func() {
		l.Stop(t)
		_ = os.RemoveAll(dir)
	})
	return l
}

// Stop ends it, as when its container is killed.
func (l *Lab) Stop(t testing.TB) {
	l.once.Do(func() {
		l.stop()
		if err := <-l.Ended; err != nil {
			t.Errorf("pipelock's runner ended with %v", err)
		}
	})
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
