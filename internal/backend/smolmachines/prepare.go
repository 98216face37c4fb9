package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Prepare resolves a Spec against this host. It creates nothing.
func (d *Driver) Prepare(ctx context.Context, s bottle.Spec) (Plan, error) {
	cli, err := provider.For(s.Resolved.Bottle.Provider.Template)
	if err != nil {
		return Plan{}, err
	}
	version, err := d.probe(ctx)
	if err != nil {
		return Plan{}, err
	}
	if err := d.offers(ctx, "start", "stop", "delete", "status", "data-dir"); err != nil {
		return Plan{}, err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return Plan{}, err
	}
	if want := s.Resolved.Bottle.Runtime; want == manifest.RuntimeRunc || want == manifest.RuntimeRunsc {
		return Plan{}, fmt.Errorf("runtime %s is of the docker backend: a machine has a kernel of its own (leave runtime out)", want)
	}
	shared, err := resolve.For(ctx, s, cli, owner, d.Name())
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Plan: shared, Smolvm: version, Place: d.place()}
	if p.CPUs <= 0 {
		p.CPUs = defaultCPUs // a machine has some number of them
	}
	p.Versions = map[string]string{"bot-bottle": d.Version, "smolvm": version}
	if p.Dir, err = d.directory(owner, p.Identity); err != nil {
		return Plan{}, err
	}
	var kept machine
	var record state.Metadata
	if s.Resume {
		if kept, record, err = d.resolveResume(ctx, &p); err != nil {
			return Plan{}, err
		}
	}
	if err := p.resolvePipelock(s.Resolved.Bottle.Pipelock, runtime.GOOS); err != nil {
		return Plan{}, err
	}
	if err := p.ResolveAgent(s, cli); err != nil {
		return Plan{}, err
	}
	err = d.resolveImage(&p, cli, s)
	if s.Resume {
		p.keep(kept, record.Image)
	}
	return p, err
}

// resolveImage finds out what the agent will run. A resumed machine has its image on its disk.
func (d *Driver) resolveImage(p *Plan, cli provider.Provider, s bottle.Spec) error {
	if p.Archive = s.Resolved.Bottle.Provider.Archive; p.Archive != "" {
		if !filepath.IsAbs(p.Archive) {
			p.Archive = filepath.Join(s.Cwd, p.Archive)
		}
		if info, err := os.Stat(p.Archive); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("agent_provider.archive %s is not a file", p.Archive)
		}
		p.Image, p.Program = p.Archive, cli.Program
		return nil
	}
	if d.Images == nil && !p.Resume {
		return withHint("start Docker, or name an archive that docker save wrote elsewhere: agent_provider.archive", "there is no engine to build the agent's image with: %w", errors.Join(d.Engine))
	}
	if d.Images == nil {
		return nil
	}
	return p.ResolveImage(d.Images, cli, s)
}

// resolveResume looks for what a bottle left, and makes the plan one for the same bottle.
func (d *Driver) resolveResume(ctx context.Context, p *Plan) (m machine, record state.Metadata, err error) {
	if record, err = d.State.Read(p.Identity); err != nil {
		return m, record, fmt.Errorf("cannot read the record of %s: %w", p.Identity, err)
	}
	if record.Place != "" && record.Place != p.Place {
		return m, record, fmt.Errorf("%s: %w", p.Identity, bottle.ErrElsewhere)
	}
	m, there, err := d.find(ctx, p.Identity)
	if err != nil {
		return m, record, err
	}
	switch {
	case m.lost && !there:
		return m, record, m.doubt()
	case !there:
		return m, record, fmt.Errorf("%s: %w", p.Identity, bottle.ErrGone)
	case m.lost:
		return m, record, withHint("bot-bottle rm "+p.Identity+" removes it, with its disk", "smolvm has lost the labels of machine %s: it is not started again", m.Name)
	}
	if open, err := d.Open(ctx, p.Identity); err == nil {
		if b := open.(*Bottle); b.silent != nil {
			return m, record, errors.Join(b.silent, b.Detach())
		}
		return m, record, errors.Join(fmt.Errorf("%s: %w", p.Identity, bottle.ErrRunning), open.Detach())
	}
	if p.Dir, err = d.keptDirectory(m); err != nil {
		return m, record, err
	}
	p.ResumeFrom(record)
	return m, record, nil
}

// keptDirectory is the directory of a machine's sockets, which were mounted when it was made. The
// label is as good as the machine: it must be one that we would have chosen.
func (d *Driver) keptDirectory(m machine) (string, error) {
	owner, err := d.State.Owner()
	if err != nil {
		return "", err
	}
	dir := m.Labels[labelSockets]
	for _, base := range d.bases() {
		if dir == filepath.Join(base, directoryName(owner, m.Labels[labelIdentity])) {
			return dir, nil
		}
	}
	return "", withHint("set XDG_RUNTIME_DIR as it was when the bottle was started", "the sockets of %s are at %q, which is no place for them here", m.Labels[labelIdentity], dir)
}
