package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// resolveResume looks for what a bottle left, and makes the plan one for the same bottle:
// it knows its placeholders, of which the agent's files at home are full.
func (d *Driver) resolveResume(ctx context.Context, p *Plan) error {
	record, err := d.State.Read(p.Identity)
	if err != nil {
		return fmt.Errorf("cannot read the record of %s: %w", p.Identity, err)
	}
	if record.Place != "" && record.Place != p.Engine {
		return fmt.Errorf("%s: %w", p.Identity, bottle.ErrElsewhere)
	}
	if open, err := d.Open(ctx, p.Identity); err == nil {
		return errors.Join(fmt.Errorf("%s: %w", p.Identity, bottle.ErrRunning), open.Detach())
	}
	switch left, err := d.left(ctx, p.Identity); {
	case err != nil:
		return err
	case len(left) == 1 && left[0] == roleHome:
		return &bottle.GoneError{Identity: p.Identity, Gone: "workspace", Left: "home", At: provider.Home}
	case len(left) == 1:
		return &bottle.GoneError{Identity: p.Identity, Gone: "home", Left: "workspace", At: provider.Workspace}
	}
	p.ResumeFrom(record)
	return nil
}

// left tells which of home and workspace a bottle has, which are ours. With neither the error is
// ErrGone.
func (d *Driver) left(ctx context.Context, identity string) ([]role, error) {
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	owner, err := d.State.Owner()
	if err != nil {
		return nil, err
	}
	var left []role
	for _, r := range []role{roleHome, roleWorkspace} {
		found, err := d.Client.VolumeInspect(ctx, resource(identity, r), client.VolumeInspectOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		if err == nil && found.Volume.Labels[labelOwner] == owner {
			left = append(left, r)
		}
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrGone)
	}
	return left, nil
}

// sweepBefore removes what a crash has left of a bottle's last run, but for its home and
// workspace, and keeps what its containers have to tell: where that cannot be kept, they stay, and
// do not run. It tells the log how the agent ended, if the engine has one that ran, and otherwise
// what is in unseen, if anything is; and returns what it told.
func (d *Driver) sweepBefore(ctx context.Context, identity, how string, unseen *state.Ending) (ending *state.Ending, err error) {
	ending = unseen
	agent := resource(identity, roleAgent)
	if found, err := d.ownAgent(ctx, identity); err == nil {
		e := endIn(*found.State, d.Now(), how)
		ending = &e
		if err := d.stop(ctx, agent, 0); err != nil {
			return nil, err
		}
	}
	err = errors.Join(d.keepTranscript(ctx, identity, nil), d.harvest(ctx, identity))
	if err == nil && ending != nil {
		_, err = d.State.CloseAudit(identity, *ending)
	}
	if err != nil {
		return nil, errors.Join(err, d.endPipelock(ctx, identity))
	}
	return ending, errors.Join(d.removeContainer(ctx, agent), d.endPipelock(ctx, identity), d.removeVolumes(ctx, identity, []role{roleSockets}))
}

// closeBefore sweeps, and tells the log how the last run ended if nobody has. What it finds out of that is
// in the record of before, should the resume fail.
func (d *Driver) closeBefore(ctx context.Context, before *state.Metadata) error {
	if before.EndedAt != nil {
		_, err := d.sweepBefore(ctx, before.Identity, unheld, nil)
		return err
	}
	ending, err := d.sweepBefore(ctx, before.Identity, unheld, &state.Ending{At: d.Now(), Code: before.ExitCode, How: unseen})
	if ending != nil {
		before.Saw(*ending)
	}
	return err
}

// retreat takes down what a failed resume made. What was there before stays, and so does
// the record of it, unless something of the failed one is left: that is on record then, for cleanup.
func (d *Driver) retreat(ctx context.Context, before state.Metadata) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
	defer cancel()
	if _, err := d.sweepBefore(ctx, before.Identity, failed, nil); err != nil {
		return err
	}
	before.Audit = d.State.AuditHead(before.Identity)
	return d.State.Write(before)
}
