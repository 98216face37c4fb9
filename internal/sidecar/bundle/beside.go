package bundle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// beside is pipelock as a process beside the services of a bundle on a host. It is no service: the
// bottle cannot reach it, it gets no configuration from the parent, and egress alone decides
// whether it is well.
type beside struct {
	options Options
	what    *control.PipelockConfig // nil: there is none

	said atomic.Pointer[plain.Tail] // by the last that ran: our words, not pipelock's own
}

func newBeside(o Options, c *control.EgressConfig) *beside {
	b := &beside{options: o}
	if c != nil && c.Pipelock.RunsItself() {
		b.what = c.Pipelock
	}
	return b
}

// besideDir is where its sockets are.
func besideDir(o Options) string { return filepath.Join(o.SocketDir, control.PipelockBeside) }

// keep runs it again and again until ctx ends. While it does not run, egress lets nothing pass that
// it guards.
func (b *beside) keep(ctx context.Context, out *log) {
	if b.what == nil {
		return
	}
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		started := time.Now()
		err := b.withItsWord(orEnded(b.run(ctx)))
		if ctx.Err() != nil {
			return
		}
		out.record(string(control.Pipelock), audit.Event{Kind: audit.Lifecycle, Reason: fmt.Sprintf("pipelock ended: %v; it is started again", err)})
		if time.Since(started) > time.Minute {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (b *beside) run(ctx context.Context) error {
	if err := os.MkdirAll(besideDir(b.options), 0o700); err != nil {
		return err
	}
	attributes, err := alone()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, b.options.Self, "sidecar", string(control.Pipelock), besideDir(b.options), b.what.Binary, b.what.Hash)
	c.Env = []string{} // nil would be ours
	c.Dir = "/"
	said := &plain.Tail{}
	b.said.Store(said)
	c.Stderr = said
	c.SysProcAttr = attributes
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopGrace
	return c.Run()
}

// withItsWord adds what it complained of last to an error that cannot say it: egress only sees that
// nobody answers, and who waits for a process only its status.
func (b *beside) withItsWord(err error) error {
	said := b.said.Load()
	if said == nil || said.Last() == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, said.Last())
}
