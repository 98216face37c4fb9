//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Launch brings the bottle up: bundle, guest, self-check, files, agent. It is recorded and locked
// before anything is made.
func (d *Driver) Launch(ctx context.Context, p Plan, _ bottle.Progress) (bottle.Bottle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	release, err := d.State.Lock(p.Identity)
	if err != nil {
		return nil, err
	}
	m, err := d.launch(ctx, p)
	if err != nil {
		if _, unread := d.State.Read(p.Identity); errors.Is(unread, fs.ErrNotExist) {
			err = errors.Join(err, d.State.Remove(p.Identity)) // the directory that the lock made
		}
		release()
		return nil, err
	}
	m.release = release
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.up == nil {
		d.up = map[string]*machine{}
	}
	d.up[p.Identity] = m
	return &Bottle{machine: m, driver: d, launched: true}, nil
}

// launch leaves nothing behind on error, and of a resumed bottle what there was.
func (d *Driver) launch(ctx context.Context, p Plan) (_ *machine, err error) {
	before, err := d.State.Read(p.Identity)
	if err != nil && (p.Resume || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if d.find(p.Identity) != nil && !p.Resume || d.keeps(p.Identity) != p.Resume {
		return nil, fmt.Errorf("the bottle %s is not as it was when its start was prepared", p.Identity)
	}
	if p.Resume {
		if err := d.closeBefore(ctx, p.Identity, before); err != nil {
			return nil, err
		}
	}
	var log control.Log
	if log.After, log.Cut, err = d.State.ContinueAudit(p.Identity); err != nil {
		return nil, err
	}
	if err := d.State.Write(d.metadata(p, log, before)); err != nil {
		return nil, err
	}
	m, err := newMachine()
	if err == nil {
		m.identity, m.agent, m.remove, m.tty, m.secrets, m.started = p.Identity, p.Agent, p.Remove, p.TTY, p.Secrets, d.Now().UTC()
		m.services = p.Services()
		err = d.bringUp(ctx, p, m, log)
	}
	if err != nil {
		return nil, errors.Join(err, m.halt(), d.undo(p, before))
	}
	return m, nil
}

// undo makes it as it was before.
func (d *Driver) undo(p Plan, before state.Metadata) error {
	if p.Resume {
		before.Audit = d.State.AuditHead(p.Identity)
		return d.State.Write(before)
	}
	return d.discard(p.Identity)
}

func (d *Driver) metadata(p Plan, log control.Log, before state.Metadata) state.Metadata {
	m := state.Metadata{
		Identity: p.Identity, Agent: p.Agent, Bottle: p.Bottle, Backend: Name, Place: d.Dir, Image: p.Image, Runtime: "namespaces",
		Remove: p.Remove, Runs: before.Runs + 1, StartedAt: d.Now().UTC(), Manifest: p.Manifest, Placeholders: p.Placeholders, Preflight: p.summary(), Provider: p.CLI,
	}
	if p.Resume {
		m.Runs = max(m.Runs, 2) // as smolmachines has it: format 1 did not count
	}
	if log.After.Lines > 0 {
		m.Audit = &log.After
	}
	return m
}

// bringUp starts the bundle, and then the guest, which has its sockets.
func (d *Driver) bringUp(ctx context.Context, p Plan, m *machine, log control.Log) error {
	ca, err := pki.NewCA(p.Identity, d.Now())
	if err != nil {
		return err
	}
	files, err := p.Provision(ca, nil)
	if err != nil {
		return err
	}
	config, err := d.bundleConfig(p, ca, log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return err
	}
	if err := d.startBundle(ctx, m, config); err != nil {
		return err
	}
	if err := d.boot(ctx, m, p.Dir); err != nil {
		return err
	}
	return m.bring(ctx, p, files)
}

// bring has the guest check where it is, fills the bottle, and starts the agent, on one stream,
// which is the agent's then.
func (m *machine) bring(ctx context.Context, p Plan, files *provision.Archive) (err error) {
	k, err := m.inside(ctx, "bring")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = k.Close() })()
	s, asked := control.Stream{ReadWriter: k}, control.Bringing{Services: p.Services(), Attach: p.Attach()}
	found, err := s.Ask(asked)
	if err == nil {
		err = found.Err()
	}
	if err == nil {
		err = p.Fill(ctx, control.Pieces{W: k}, files, nil)
	}
	if err == nil {
		err = s.Begin(p.Order(p.Environment(files.Env()), p.Services()))
	}
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("cannot bring %s into its bottle: %w", p.Identity, err), k.Close())
	}
	if asked.Attach == "" {
		return k.Close()
	}
	m.stream = k
	return nil
}

// MakeImages has nothing to make.
func (d *Driver) MakeImages(context.Context, Plan, bottle.Progress) error { return nil }
