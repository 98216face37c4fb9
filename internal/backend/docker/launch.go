package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Launch brings the bottle up. The bottle is recorded and locked before anything is
// created, so that a crash leaves a trail and a cleanup leaves it alone meanwhile.
func (d *Driver) Launch(ctx context.Context, p Plan, say bottle.Progress) (bottle.Bottle, error) {
	release, err := d.State.Lock(p.Identity)
	if err != nil {
		return nil, err
	}
	b, err := d.launch(ctx, p, say)
	if missing := (*binaryMissingError)(nil); errors.As(err, &missing) {
		d.forgetBinary(p, missing.volume)
		release() // the lock went with the record
		if release, err = d.State.Lock(p.Identity); err != nil {
			return nil, err
		}
		b, err = d.launch(ctx, p, say)
	}
	if err != nil {
		release()
		return nil, explain(err)
	}
	b.release = release
	return b, nil
}

// launch does it once, and leaves nothing behind on error.
func (d *Driver) launch(ctx context.Context, p Plan, say bottle.Progress) (_ *Bottle, err error) {
	undo := func() error { return d.discard(ctx, p.Identity) }
	before, err := d.State.Read(p.Identity)
	if err != nil && (p.Resume || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if p.Resume {
		if err := d.closeBefore(ctx, &before); err != nil {
			return nil, err
		}
		undo = func() error { return d.retreat(ctx, before) }
	}
	log, err := d.continueLog(p.Identity)
	if err != nil {
		return nil, err
	}
	runs := before.Runs + 1
	if p.Resume {
		runs = max(runs, 2) // it ran before, also where format 1 did not count: a first run may leave nothing behind
	}
	record := d.metadata(p, log, runs)
	if err := d.State.Write(record); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, undo())
		}
	}()
	done, err := d.State.CacheShare(ctx, imagesLock) // no cleanup takes the image away before a container uses it
	if err != nil {
		return nil, err
	}
	defer done()
	needs, err := d.supplies(ctx, p, say)
	if err != nil {
		return nil, err
	}
	return d.bringUp(ctx, p, needs, record, log, say)
}

func (d *Driver) continueLog(identity string) (log control.Log, err error) {
	log.After, log.Cut, err = d.State.ContinueAudit(identity)
	return log, err
}

func (d *Driver) metadata(p Plan, log control.Log, runs int) state.Metadata {
	m := state.Metadata{
		Identity: p.Identity, Agent: p.Agent, Bottle: p.Bottle, Backend: p.Backend, Place: p.Engine,
		Image: p.Image, Runtime: cmp.Or(p.Runtime, p.DefaultRuntime), Remove: p.Remove, Runs: runs, StartedAt: d.Now().UTC(),
		Versions: p.Versions, Manifest: p.Manifest,
		Placeholders: p.Placeholders, Preflight: p.summary(), Provider: p.CLI,
	}
	if log.After.Lines > 0 {
		m.Audit = &log.After
	}
	return m
}

// supplies are the things that a bottle needs and shares with others, and its CA.
type supplies struct {
	agent, sidecar image.Image
	network        string
	binaries       string
	pipelock       string // id of its image; "" for none
	roots          []byte // what the agent's image trusts
	ca             pki.CA
}

// supply makes what is missing; when warm, it is a handful of look-ups side by side.
func (d *Driver) supplies(ctx context.Context, p Plan, say bottle.Progress) (s supplies, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if s.agent, err = d.agentImage(ctx, p, say); err != nil {
			return err
		}
		s.roots, err = d.imageBundle(ctx, p, s.agent.ID)
		return err
	})
	group.Go(func() (err error) {
		if s.sidecar, err = d.Images.Ensure(ctx, "sidecar", say.Say); err != nil {
			return err
		}
		s.binaries, err = d.ensureBinary(ctx, p, s.sidecar.ID, say)
		return err
	})
	group.Go(func() (err error) {
		s.pipelock, err = d.pipelockID(ctx, p, say)
		return err
	})
	group.Go(func() (err error) {
		s.network, err = d.ensureNetwork(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.ca, err = pki.NewCA(p.Identity, d.Now())
		return err
	})
	return s, group.Wait()
}

// agentImage is what the manifest names, with what was approved for this bottle on top: its
// audit log is where that is recorded.
func (d *Driver) agentImage(ctx context.Context, p Plan, say bottle.Progress) (image.Image, error) {
	on, err := p.MakeImage(ctx, d.Images, say)
	if err != nil || !p.Resume {
		return on, err
	}
	asked, err := d.State.Requests(p.Identity)
	if err != nil {
		return on, err
	}
	on, refs, err := p.Layered(ctx, d.Images, on, asked, say)
	if err != nil {
		return on, err
	}
	return on, d.State.KeepLayers(p.Identity, refs)
}

// bringUp creates and starts both containers side by side. Neither waits for the
// other: until egress answers, the guest holds connections back.
func (d *Driver) bringUp(ctx context.Context, p Plan, needs supplies, record state.Metadata, log control.Log, say bottle.Progress) (*Bottle, error) {
	archive, err := p.Provision(needs.ca, needs.roots)
	if err != nil {
		return nil, err
	}
	config, err := d.bundleConfig(p, needs.ca, log)
	if err != nil {
		return nil, err
	}
	audit, err := os.OpenFile(d.State.AuditFile(p.Identity), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	b := &Bottle{driver: d, identity: p.Identity, remove: p.Remove, secrets: p.Secrets, audit: audit, agent: &agent{tty: p.TTY}}
	group, grouped := errgroup.WithContext(ctx)
	group.Go(func() error {
		record.Image, record.ImageID = needs.agent.Ref, needs.agent.ID
		return d.State.Write(record)
	})
	group.Go(func() (err error) {
		b.bundle, err = d.makeBundle(grouped, p, needs, config, audit)
		return d.withPipelocksWord(ctx, p, err)
	})
	group.Go(func() error {
		return named("agent's container", needs.binaries, d.startAgent(grouped, p, needs, archive, b.agent, say))
	})
	if err := group.Wait(); err != nil {
		b.letGo()
		return nil, err
	}
	return b, nil
}

// makeBundle creates and starts the bundle, and pipelock before it, whose test the bundle
// waits for.
func (d *Driver) makeBundle(ctx context.Context, p Plan, needs supplies, config control.BundleConfig, audit io.Writer) (b *bundle, err error) {
	group, grouped := errgroup.WithContext(ctx)
	var id string
	group.Go(func() error { return d.startPipelock(grouped, p, needs) })
	group.Go(func() (err error) {
		id, err = d.create(grouped, p.bundleContainer(needs.sidecar.ID, needs.network, needs.binaries))
		return named("sidecar bundle", needs.binaries, err)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	b, err = d.startBundle(ctx, id, config, audit)
	return b, named("sidecar bundle", needs.binaries, err)
}

// startAgent creates the agent's container, fills it, and starts it with its output
// already connected, so that no byte is lost. Of a terminal the guest keeps all until its
// operator has come, whose way in is made while the bundle still starts.
func (d *Driver) startAgent(ctx context.Context, p Plan, needs supplies, archive *provision.Archive, a *agent, say bottle.Progress) error {
	profile, err := seccompProfile()
	if err != nil {
		return err
	}
	a.id, err = d.create(ctx, p.agentContainer(needs.agent.ID, profile, p.Environment(archive.Env()), needs.binaries))
	if err != nil {
		return err
	}
	if err := d.copyArchive(ctx, a.id, archive); err != nil {
		return err
	}
	if err := d.copyRepository(ctx, p, a.id, say); err != nil {
		return err
	}
	if !p.TTY {
		if err := d.attachStreams(ctx, p, a); err != nil {
			return err
		}
	}
	a.exit = d.Client.ContainerWait(context.WithoutCancel(ctx), a.id, client.ContainerWaitOptions{Condition: "next-exit"})
	if _, err = d.Client.ContainerStart(ctx, a.id, client.ContainerStartOptions{}); err == nil && p.TTY && !p.Detached {
		a.session, _ = d.session(ctx, a.id) // an agent that ended, or never ran, is Agent's to tell of
	}
	return err
}

func (d *Driver) attachStreams(ctx context.Context, p Plan, a *agent) error {
	limited, cancel := context.WithTimeout(ctx, answerLimit) // for the answer; the stream lasts
	defer cancel()
	attached, err := d.Client.ContainerAttach(limited, a.id, client.ContainerAttachOptions{
		Stream: true, Stdin: p.Stdin, Stdout: true, Stderr: true, DetachKeys: noDetachKeys,
	})
	if err == nil {
		a.stream = &attached.HijackedResponse
	}
	return err
}

// createLimit bounds one creation on a busy engine.
const createLimit = 2 * time.Minute

// create creates a container. It is not interrupted half way: an engine goes on with
// what its client no longer waits for, and what it then made nobody would know of.
func (d *Driver) create(ctx context.Context, o client.ContainerCreateOptions) (id string, err error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), createLimit)
	defer cancel()
	created, err := d.Client.ContainerCreate(whole, o)
	return created.ID, err
}

func (d *Driver) copyArchive(ctx context.Context, id string, archive *provision.Archive) error {
	var data bytes.Buffer
	if err := archive.Tar(&data); err != nil {
		return err
	}
	_, err := d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: io.Reader(&data), CopyUIDGID: false})
	return err
}

// patience is how long a start may be silent about a repository that takes its time.
const patience = 2 * time.Second

// copyRepository brings the repository at hand into the workspace.
func (d *Driver) copyRepository(ctx context.Context, p Plan, id string, say bottle.Progress) (err error) {
	if p.Source == nil {
		return nil
	}
	defer time.AfterFunc(patience, func() { say.Say("bringing " + p.Source.Root + " along; that takes longer the more history it has") }).Stop()
	packed, remove, err := provision.PackRepository(ctx, *p.Source, p.Git)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return d.copyTree(ctx, id, packed, provider.Workspace)
}

// binaryMissingError says that the volume that should hold our binary does not.
type binaryMissingError struct {
	volume string
	err    error
}

func (e *binaryMissingError) Error() string { return e.err.Error() }
func (e *binaryMissingError) Unwrap() error { return e.err }

// named says which container an error is about.
func named(what, volume string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = fmt.Errorf("cannot start the %s: %w", what, err)
	if strings.Contains(err.Error(), "bot-bottle/bot-bottle") && strings.Contains(err.Error(), "no such file") {
		return &binaryMissingError{volume, err}
	}
	return err
}
