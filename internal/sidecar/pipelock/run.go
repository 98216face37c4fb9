// Package pipelock runs the agent firewall Pipelock for one bottle, in a container that has
// no network, or as a process: it starts it as egress orders, hangs up when it crashes, and
// carries connections from a unix socket to its Scan API.
//
// It must never keep what pipelock prints but for its last line of errors, since that may
// quote what it was shown, and must end once nobody needs pipelock.
package pipelock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// Options of a run.
type Options struct {
	Dir        string   // of the sockets; who may enter it may use pipelock
	Program    string   // pipelock
	Copy       *os.File // of the program, to be run in its place; nil: the program itself
	ConfigFile string   // is written, for us alone
	Settings   pipelock.Settings
	Grace      time.Duration // how long nobody may need it
	CloseOff   func() error  // closes this process off, once it has its sockets; nil where walls are around it already
	Init       bool          // this is process 1 of a namespace that has nothing in it but pipelock

	orphans *orphans
}

// Run runs pipelock until ctx ends, or nobody has needed it for as long as the grace lasts,
// which is no error.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders, err := listen(filepath.Join(o.Dir, pipelock.OrderSocket))
	if err != nil {
		return err
	}
	defer func() { _ = orders.Close() }()
	scans, err := listen(filepath.Join(o.Dir, pipelock.ScanSocket))
	if err != nil {
		return err
	}
	defer func() { _ = scans.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = orders.Close(), scans.Close() })()
	if o.CloseOff != nil {
		if err := o.CloseOff(); err != nil {
			return fmt.Errorf("cannot close pipelock off: %w", err)
		}
	}
	if o.Init {
		adopted, stop := adopt()
		defer stop()
		o.orphans = adopted
	}
	r := &runner{options: o, needed: newNeed(o.Grace, cancel)}
	var serving sync.WaitGroup
	serving.Go(func() { r.relay(ctx, scans) })
	err = r.take(ctx, orders)
	cancel()
	serving.Wait()
	r.end()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listen makes a socket that whoever enters its directory may connect to.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

// need knows how many need pipelock, and calls unneeded when nobody has for the grace.
type need struct {
	mu    sync.Mutex
	count int
	grace time.Duration
	timer *time.Timer
}

func newNeed(grace time.Duration, unneeded func()) *need {
	return &need{grace: grace, timer: time.AfterFunc(grace, unneeded)}
}

// begin says that one more needs it, until end is called.
func (n *need) begin() (end func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.timer.Stop()
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.count--; n.count == 0 {
			n.timer.Reset(n.grace)
		}
	}
}
