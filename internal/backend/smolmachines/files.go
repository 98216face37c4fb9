package smolmachines

import (
	"context"
	"errors"
	"fmt"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/command"
)

// files are those of a machine, which programs of it read and write for us, as the agent's user.
// It is started for that alone if it does not run, with its disk.
type files struct {
	command.Files
	stop func() error
}

// Files opens a bottle's files.
func (d *Driver) Files(ctx context.Context, identity string) (bottle.Files, error) {
	if !bottle.ValidIdentity(identity) {
		return nil, fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	m, there, err := d.find(ctx, identity)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("%s: %w", identity, bottle.ErrGone)
	}
	f := &files{
		Files: command.Files{Runner: &Bottle{driver: d, identity: identity, machine: m.Name}, Identity: identity},
		stop:  func() error { return nil },
	}
	if m.up() {
		err = d.answers(ctx, m)
	} else {
		f.stop, err = d.startAlone(ctx, m, identity)
	}
	if err != nil {
		return nil, explain(err)
	}
	return f, nil
}

// answers looks whether a machine that has a process runs programs. It need not have a guest: files can
// be had of it all the same.
func (d *Driver) answers(ctx context.Context, m machine) error {
	_, err := d.condition(ctx, m.Name)
	if !errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err()
	}
	return withHint("bot-bottle stop "+m.Labels[labelIdentity]+" ends it, or cleanup", "%w", err)
}

// Close stops a machine that was started for its files.
func (f *files) Close() error { return f.stop() }
