package smolmachines

import (
	"context"
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
	if !m.up() {
		if f.stop, err = d.startAlone(ctx, m, identity); err != nil {
			return nil, explain(err)
		}
	}
	return f, nil
}

// Close stops a machine that was started for its files.
func (f *files) Close() error { return f.stop() }
