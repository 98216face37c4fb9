//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Driver implements bottle.Driver. Its fields are set once, before use.
type Driver struct {
	State    state.Store
	Program  string // cmd/bot-bottle, as Build makes it
	Dir      string // of homes and workspaces
	Programs string // what is in /usr/local/bin of every bottle
	Roots    func() (string, error)
	Now      func() time.Time

	mu sync.Mutex
	up map[string]*machine // by identity

	tried  sync.Once
	usable error
}

var _ bottle.Driver[Plan, bottle.Tasks] = (*Driver)(nil)

// Build builds the program that guests and bundles run, without what a test's own program may be
// burdened with.
func Build(path string) error {
	c := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/bot-bottle/bot-bottle/cmd/bot-bottle")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build bot-bottle: %w: %s", err, out)
	}
	return nil
}

// Name is what --backend says.
func (d *Driver) Name() string { return Name }

// Place is the directory: who made it has the bottles.
func (d *Driver) Place(context.Context) (string, error) { return d.Dir, nil }

// Available makes the namespaces of a bottle, once, and nothing in them.
func (d *Driver) Available(ctx context.Context) error {
	d.tried.Do(func() { d.usable = d.try(context.WithoutCancel(ctx)) }) // it is not only the first caller's
	return d.usable
}

func (d *Driver) try(ctx context.Context) error {
	if _, err := exec.LookPath("nsenter"); err != nil {
		return fmt.Errorf("there is no nsenter (util-linux): %w", err)
	}
	dir, err := os.MkdirTemp("", "bb")
	if err != nil {
		return err
	}
	defer func() { _ = removeFiles(dir) }()
	m, err := newMachine()
	if err == nil {
		err = errors.Join(d.boot(ctx, m, dir), m.halt())
	}
	if err != nil {
		return fmt.Errorf("this machine's kernel makes no bottle: %w", err)
	}
	return nil
}

// Close ends all that runs and removes all that is kept.
func (d *Driver) Close() error {
	var err error
	for _, m := range d.machines() {
		err = errors.Join(err, d.takeDown(m))
	}
	return errors.Join(err, removeFiles(d.Dir))
}
