package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Limits of what is sent. A git writes something every few seconds, also while it thinks
// (git-config(1), uploadpack.keepAlive).
const (
	uploadSilence = 2 * time.Minute
	uploadLimit   = time.Hour
)

// UploadPack runs git upload-pack on a repository in a bottle's workspace, in its machine, as the
// agent's user. A machine that does not run is started for that alone: its guest runs no agent,
// and its sockets lead nowhere.
func (d *Driver) UploadPack(ctx context.Context, identity, repository string, streams bottle.IO) (code int, err error) {
	if !bottle.ValidIdentity(identity) {
		return 0, fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	m, there, err := d.find(ctx, identity)
	if err != nil {
		return 0, err
	}
	if !there {
		return 0, fmt.Errorf("%s: %w", identity, bottle.ErrGone)
	}
	if m.up() {
		if err := d.answers(ctx, m); err != nil {
			return 0, err
		}
	} else {
		stop, err := d.startAlone(ctx, m, identity)
		if err != nil {
			return 0, explain(err)
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	watched, out, stop := bottle.Patience{Silence: uploadSilence, Whole: uploadLimit}.Watch(ctx, streams.Stdout)
	defer stop()
	streams.Stdout = out
	b := &Bottle{driver: d, identity: identity, machine: m.Name}
	return b.Run(watched, []string{
		"env", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent",
		"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "upload-pack", "--timeout=600",
		path.Join(provider.Workspace, path.Clean("/"+repository)),
	}, bottle.Node, streams)
}

// closeUnseen closes the record of a bottle whose machine has stopped. While the machine is up
// without an agent, nothing else tells it from one that was made a moment ago and holds no work.
func (d *Driver) closeUnseen(ctx context.Context, identity, dir string, record state.Metadata) error {
	if err := endBundle(ctx, dir); err != nil {
		return err
	}
	return d.State.End(identity, state.Ending{At: d.Now(), Code: record.ExitCode, How: unheld})
}

// startAlone starts a machine without its bundle, under the bottle's lock.
func (d *Driver) startAlone(ctx context.Context, m machine, identity string) (stop func() error, err error) {
	release, err := d.State.Lock(identity)
	if err != nil {
		return nil, err
	}
	record, err := d.State.Read(identity)
	dir := ""
	if err == nil {
		dir, err = d.keptDirectory(m)
	}
	if err == nil && record.EndedAt == nil && m.State != created {
		err = d.closeUnseen(ctx, identity, dir, record)
	}
	if err == nil {
		p := Plan{Dir: dir}
		p.Identity = identity
		err = d.start(ctx, p, record.ImageID)
	}
	if err == nil {
		d.fetchTranscript(ctx, &record, m.Name, nil)
	}
	end := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
		defer cancel()
		defer release()
		return d.stop(ctx, m.Name)
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}
