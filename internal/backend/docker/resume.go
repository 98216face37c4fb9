package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
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
	for _, r := range []role{roleHome, roleWorkspace} {
		if _, err := d.Client.VolumeInspect(ctx, resource(p.Identity, r), client.VolumeInspectOptions{}); errdefs.IsNotFound(err) {
			return fmt.Errorf("%s: %w", p.Identity, bottle.ErrGone)
		} else if err != nil {
			return err
		}
	}
	p.ResumeFrom(record)
	return nil
}

// sweepBefore removes what a crash has left of a bottle's last run, but for its home and
// workspace, and keeps what its bundle has to tell. It returns how the agent ended, nil if
// the engine has none that ran.
func (d *Driver) sweepBefore(ctx context.Context, identity, how string) (*state.Ending, error) {
	var ending *state.Ending
	if found, err := d.ownAgent(ctx, identity); err == nil {
		e := endIn(*found.State, d.Now(), how)
		ending = &e
	}
	return ending, errors.Join(
		d.keepTranscript(ctx, identity, nil), d.removeContainer(ctx, resource(identity, roleAgent)), d.harvest(ctx, identity),
		d.endPipelock(ctx, identity), d.removeVolumes(ctx, identity, []role{roleSockets}),
	)
}

// closeBefore sweeps, and tells the log how the last run ended if nobody has.
func (d *Driver) closeBefore(ctx context.Context, before state.Metadata) error {
	ending, err := d.sweepBefore(ctx, before.Identity, unheld)
	if err != nil || before.EndedAt != nil {
		return err
	}
	if ending == nil {
		ending = &state.Ending{At: d.Now(), Code: before.ExitCode, How: unseen}
	}
	_, err = d.State.CloseAudit(before.Identity, *ending)
	return err
}

// retreat takes down what a failed resume made. What was there before stays, and so does
// the record of it.
func (d *Driver) retreat(ctx context.Context, before state.Metadata) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
	defer cancel()
	ending, err := d.sweepBefore(ctx, before.Identity, failed)
	if err == nil && ending != nil {
		_, err = d.State.CloseAudit(before.Identity, *ending)
	}
	before.Audit = d.State.AuditHead(before.Identity)
	return errors.Join(err, d.State.Write(before))
}
