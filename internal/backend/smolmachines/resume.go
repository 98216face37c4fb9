package smolmachines

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// closeBefore sweeps, and tells the log how the last run ended if nobody has. What it finds out of that is
// in the record of before, should the resume fail.
func (d *Driver) closeBefore(ctx context.Context, p Plan, before *state.Metadata) error {
	code, err := d.sweepBefore(ctx, p)
	if err != nil {
		return err
	}
	now, err := d.State.Read(p.Identity)
	if err != nil {
		return err
	}
	if before.TranscriptLeft = now.TranscriptLeft; before.EndedAt != nil { // it may be kept by now
		return nil
	}
	ending := state.Ending{At: d.Now(), Code: cmp.Or(code, before.ExitCode), How: unheld}
	before.Saw(ending)
	_, err = d.State.CloseAudit(p.Identity, ending)
	return err
}

// sweepBefore ends what a crash has left of a bottle's last run, but for its disk. It tells how the
// agent ended, nil if that is not known.
func (d *Driver) sweepBefore(ctx context.Context, p Plan) (code *int, err error) {
	name := machineName(p.Identity)
	m, there, err := d.find(ctx, p.Identity)
	if err != nil {
		return nil, err
	}
	if there && m.State == running {
		now, failed := d.condition(ctx, name)
		if failed == nil && now.Terminal {
			d.keepTranscript(ctx, p.Identity, name, nil)
		}
		if failed == nil && now.Ended {
			status := now.Status & 0xff
			code = &status
		}
	}
	if there && m.up() {
		err = d.stop(ctx, name)
	}
	return code, errors.Join(err, endBundle(ctx, p.Dir))
}

// retreat takes down what a failed resume made. The disk stays, and so does the record of before.
func (d *Driver) retreat(ctx context.Context, p Plan, before state.Metadata) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
	defer cancel()
	err := d.takeDown(ctx, p.Identity, machineName(p.Identity), p.Dir, false)
	before.Audit = d.State.AuditHead(p.Identity)
	return errors.Join(err, d.State.Write(before))
}

// rootsOf finds what the image of an archive that was made trusts. One that was tidied away since
// is known by what is left of it; without that, the agent trusts the bottle's own CA, which is all
// that it meets.
func (d *Driver) rootsOf(sha string) (archive, error) {
	for _, file := range state.Glob(d.archives(), "*.json") {
		if a, err := d.cached(strings.TrimSuffix(filepath.Base(file), ".json")); err == nil && a.SHA == sha {
			return a, nil
		}
	}
	return archive{SHA: sha}, nil
}
