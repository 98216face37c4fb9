//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// Prepare resolves a Spec. It creates nothing.
func (d *Driver) Prepare(ctx context.Context, s bottle.Spec) (Plan, error) {
	if err := fits(s.Resolved.Bottle); err != nil {
		return Plan{}, err
	}
	cli, err := provider.For(s.Resolved.Bottle.Provider.Template)
	if err != nil {
		return Plan{}, err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return Plan{}, err
	}
	shared, err := resolve.For(ctx, s, cli, owner, Name)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Plan: shared, Dir: d.dir(s.Identity)}
	p.Image = "none: this machine's own programs"
	if s.Resume {
		if err := d.resolveResume(ctx, &p); err != nil {
			return Plan{}, err
		}
	}
	return p, p.ResolveAgent(s, cli)
}

// fits refuses what would be left out: a test that relied on it would prove nothing.
func fits(b manifest.Bottle) error {
	if b.Pipelock != nil || b.Provider.Dockerfile != "" || b.Provider.Image != "" || b.Provider.Archive != "" {
		return fmt.Errorf("bottle %s: the memory backend has no image and no pipelock", b.Name)
	}
	return nil
}

// dir is where a bottle's home and workspace are, for as long as there is something of it.
func (d *Driver) dir(identity string) string { return filepath.Join(d.Dir, identity) }

func (d *Driver) keeps(identity string) bool {
	_, err := os.Stat(d.dir(identity))
	return bottle.ValidIdentity(identity) && err == nil
}

// resolveResume looks for what a bottle left, and makes the plan one for the same bottle.
func (d *Driver) resolveResume(ctx context.Context, p *Plan) error {
	record, err := d.State.Read(p.Identity)
	if err != nil {
		return fmt.Errorf("cannot read the record of %s: %w", p.Identity, err)
	}
	if record.Place != "" && record.Place != d.Dir {
		return fmt.Errorf("%s: %w", p.Identity, bottle.ErrElsewhere)
	}
	if !d.keeps(p.Identity) {
		return fmt.Errorf("%s: %w", p.Identity, bottle.ErrGone)
	}
	if open, err := d.Open(ctx, p.Identity); err == nil {
		return errors.Join(fmt.Errorf("%s: %w", p.Identity, bottle.ErrRunning), open.Detach())
	}
	p.ResumeFrom(record)
	return nil
}
