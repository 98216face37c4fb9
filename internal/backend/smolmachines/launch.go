package smolmachines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Launch brings the bottle up: machine, bundle, start, self-check, provisioning, agent. It is
// recorded and locked before anything is created, so that a crash leaves a trail.
func (d *Driver) Launch(ctx context.Context, p Plan, say bottle.Progress) (bottle.Bottle, error) {
	release, err := d.State.Lock(p.Identity)
	if err != nil {
		return nil, err
	}
	b, err := d.launch(ctx, p, say)
	if err != nil {
		if _, unread := d.State.Read(p.Identity); errors.Is(unread, fs.ErrNotExist) {
			err = errors.Join(err, d.State.Remove(p.Identity)) // the directory that the lock made
		}
		release()
		return nil, explain(err)
	}
	b.release = release
	return b, nil
}

// launch leaves nothing behind on error, and of a resumed bottle what there was.
func (d *Driver) launch(ctx context.Context, p Plan, say bottle.Progress) (_ *Bottle, err error) {
	before, err := d.State.Read(p.Identity)
	if err != nil && (p.Resume || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	made := false
	undo := func() error { return d.discard(ctx, p.Identity, p.Dir, made) }
	if p.Resume {
		if err := d.closeBefore(ctx, p, &before); err != nil {
			return nil, err
		}
		undo = func() error { return d.retreat(ctx, p, before) }
	} else if m, _, err := d.find(ctx, p.Identity); err != nil {
		return nil, err
	} else if m.Name != "" { // whoever's it is
		return nil, fmt.Errorf("there is a machine %s already", machineName(p.Identity))
	}
	var log control.Log
	if log.After, log.Cut, err = d.State.ContinueAudit(p.Identity); err != nil {
		return nil, err
	}
	record := d.metadata(p, log, before)
	if err := d.State.Write(record); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, undo())
		}
	}()
	return d.bringUp(ctx, p, run{before: &before, record: record, log: log}, &made, say)
}

func (d *Driver) metadata(p Plan, log control.Log, before state.Metadata) state.Metadata {
	m := state.Metadata{
		Identity: p.Identity, Agent: p.Agent, Bottle: p.Bottle, Backend: p.Backend, Place: p.Place,
		Image: p.Image, Runtime: "smolvm", Remove: p.Remove, Runs: before.Runs + 1, StartedAt: d.Now().UTC(),
		Versions: p.Versions, Manifest: p.Manifest, Placeholders: p.Placeholders, Preflight: p.summary(), Provider: p.CLI,
	}
	if p.Resume {
		m.Image, m.ImageID = before.Image, before.ImageID
		m.Runs = max(m.Runs, 2) // it ran before, also where format 1 did not count: a first run may leave nothing behind
	}
	if log.After.Lines > 0 {
		m.Audit = &log.After
	}
	return m
}

// supplies are what a bottle needs, and its CA.
type supplies struct {
	archive archive // of a resumed bottle: only what its image trusts
	ca      pki.CA
}

func (d *Driver) supplies(ctx context.Context, p Plan, record state.Metadata, say bottle.Progress) (s supplies, err error) {
	group, grouped := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if p.Resume {
			s.archive, err = d.rootsOf(record.ImageID)
			return err
		}
		s.archive, err = d.imageArchive(grouped, p, say)
		return err
	})
	group.Go(func() (err error) {
		s.ca, err = pki.NewCA(p.Identity, d.Now())
		return err
	})
	return s, group.Wait()
}

// run is one of a bottle's, and the one before.
type run struct {
	before *state.Metadata
	record state.Metadata
	log    control.Log
}

// bringUp makes the machine and the bundle side by side, and starts the machine once both are as
// they must be. made tells whether there is a machine by then.
func (d *Driver) bringUp(ctx context.Context, p Plan, now run, made *bool, say bottle.Progress) (_ *Bottle, err error) {
	needs, err := d.supplies(ctx, p, now.record, say)
	if err != nil {
		return nil, err
	}
	files, err := p.Provision(needs.ca, needs.archive.Roots)
	if err != nil {
		return nil, err
	}
	config, err := d.bundleConfig(p, needs.ca, now.log)
	if err != nil {
		return nil, err
	}
	b := &Bottle{driver: d, identity: p.Identity, machine: machineName(p.Identity), dir: p.Dir, remove: p.Remove, secrets: p.Secrets, tty: p.TTY}
	group, grouped := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := d.create(grouped, p, needs.archive, &now.record)
		*made = err == nil && !p.Resume
		return err
	})
	group.Go(func() (err error) {
		b.bundle, err = d.startBundle(grouped, p, config)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	say.Say("starting the virtual machine")
	if err := d.start(ctx, p, needs.archive.SHA); err != nil {
		return nil, err
	}
	d.fetchTranscript(ctx, now.before, b.machine, p.Secrets)
	if err := d.bring(ctx, p, b, files, say); err != nil {
		return nil, err
	}
	if now.record.TranscriptLeft = p.TTY; p.TTY {
		if err := d.State.Write(now.record); err != nil {
			return nil, err
		}
	}
	return b, writeMark(p.Dir, mark{Services: p.Services(), Started: d.Now().UTC()})
}

// bundleConfig is the document for the bundle's standard input.
func (d *Driver) bundleConfig(p Plan, ca pki.CA, log control.Log) (control.BundleConfig, error) {
	roots, err := d.Roots()
	if err != nil {
		return control.BundleConfig{}, fmt.Errorf("cannot read this host's certificates for egress: %w", err)
	}
	h := resolve.Host{CA: ca, Roots: roots, Log: log}
	if p.Resume {
		if h.Requests, err = d.State.Requests(p.Identity); err != nil {
			return control.BundleConfig{}, err
		}
	}
	return p.withPipelock(p.BundleConfig(h)), nil
}

// everyService has a socket in every machine: a bottle that is resumed may have more than it had.
func everyService() []control.Service {
	return []control.Service{control.Egress, control.GitGate, control.Supervise}
}

// create makes the machine, if it is not there from before.
func (d *Driver) create(ctx context.Context, p Plan, a archive, record *state.Metadata) error {
	if p.Resume {
		return nil
	}
	record.Image, record.ImageID = p.Image, a.SHA
	if err := d.State.Write(*record); err != nil {
		return err
	}
	if err := a.verify(ctx); err != nil {
		return err
	}
	return d.whole(ctx, createLimit, p.createArgs(a.Path))
}

// createArgs describe the machine. What is not said is as important: no network, no port, no
// volume, no variable.
func (p Plan) createArgs(archive string) []string {
	args := []string{"machine", "create", "--name", machineName(p.Identity), "--image", archive,
		"--cpus", strconv.Itoa(p.cpus()), "--mem", strconv.FormatInt(p.memory(), 10), "--storage", strconv.Itoa(diskGiB)}
	labels := p.labels()
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		args = append(args, "--label", key+"="+labels[key])
	}
	for _, s := range everyService() {
		args = append(args, "--mount-socket", p.Dir+"/"+string(s)+".sock:"+control.SocketDir+"/"+string(s)+".sock")
	}
	return append(args, "--workdir", provider.Workspace, "--", control.Binary, "guest", "machine")
}

// check makes sure that a machine is the one that we made, and has no way out but its sockets.
func (d *Driver) check(ctx context.Context, p Plan, sha string) error {
	m, ours, err := d.find(ctx, p.Identity)
	if err != nil {
		return err
	}
	if !ours || m.lost {
		return fmt.Errorf("the machine %s does not carry this bottle's labels", machineName(p.Identity))
	}
	switch {
	case m.Network == nil || *m.Network:
		return fmt.Errorf("the machine %s has a network, or smolvm does not say that it has none", m.Name)
	case m.Ports == nil || *m.Ports != 0:
		return fmt.Errorf("the machine %s has published ports, which give it a network, or smolvm does not say that it has none", m.Name)
	case m.Mounts == nil || *m.Mounts != 0:
		return fmt.Errorf("the machine %s sees directories of this host, or smolvm does not say that it sees none", m.Name)
	case m.Labels[labelSockets] != p.Dir || m.Labels[labelSchema] != schema:
		return fmt.Errorf("the machine %s was made for other sockets", m.Name)
	case m.Image != imageOf(sha):
		return fmt.Errorf("the machine %s runs image %s, not the archive that it was made of", m.Name, plain.Text(m.Image))
	case m.up():
		return fmt.Errorf("the machine %s is %s already", m.Name, plain.Text(m.State))
	}
	return nil
}

// start boots the machine, once it is as it must be.
func (d *Driver) start(ctx context.Context, p Plan, sha string) error {
	if err := d.check(ctx, p, sha); err != nil {
		return fmt.Errorf("the machine is not started: %w", err)
	}
	name := machineName(p.Identity)
	return d.cramped(ctx, name, d.whole(ctx, startLimit, []string{"machine", "start", "--name", name}, d.landlock()...))
}

// bringLimit bounds what comes before the agent runs.
const bringLimit = 10 * time.Minute

// bring has the guest check its machine, fills that, and starts the agent, on one stream, which
// is the agent's then.
func (d *Driver) bring(ctx context.Context, p Plan, b *Bottle, files *provision.Archive, say bottle.Progress) (err error) {
	k, err := d.inside(ctx, b.machine, "guest", "bring")
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			_ = k.Close()
		}
	}()
	limited, cancel := context.WithTimeoutCause(ctx, bringLimit, errors.New("the machine's guest takes too long"))
	defer cancel()
	defer k.until(limited)()
	s := control.Stream{ReadWriter: k}
	asked := control.Bringing{Services: p.reached(), Attach: p.Attach()}
	found, err := s.Ask(asked)
	if err == nil {
		if why := found.Err(); why != nil {
			return fmt.Errorf("the machine was taken down, since its self-check failed: %w", why)
		}
		err = p.Fill(limited, control.Pieces{W: k}, files, say)
	}
	if err == nil {
		err = s.Begin(p.Order(p.Environment(files.Env()), p.reached()))
	}
	if err != nil {
		if limited.Err() != nil {
			return context.Cause(limited)
		}
		return fmt.Errorf("cannot bring the bottle into its machine: %w", err)
	}
	if asked.Attach != "" {
		b.stream, keep = k, true
	}
	return nil
}

// decodeLine reads one line of JSON from a machine.
func decodeLine(r io.Reader, v any) error {
	return json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(v)
}
