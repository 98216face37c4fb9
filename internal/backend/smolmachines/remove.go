package smolmachines

import (
	"context"
	"errors"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
)

// Remove removes a stopped bottle for good.
func (d *Driver) Remove(ctx context.Context, identity string) error {
	release, err := bottle.Stopped(ctx, d, d.State.Lock, identity)
	if err != nil {
		return err
	}
	defer release()
	owner, err := d.State.Owner()
	if err != nil {
		return err
	}
	dir, err := d.directory(owner, identity)
	if err != nil {
		return err
	}
	if m, there, err := d.find(ctx, identity); err != nil {
		return err
	} else if m.lost && !there {
		return m.doubt()
	} else if there {
		if kept, err := d.keptDirectory(m); err == nil {
			dir = kept
		}
	}
	return explain(d.discard(ctx, identity, dir, false))
}

// Build implements bottle.Driver. A machine's disk begins as its image once: another image would
// be another machine, without the home and the workspace of this one.
func (d *Driver) Build(ctx context.Context, identity string, _ image.Layer, _ bottle.Progress) error {
	open, err := d.Open(ctx, identity)
	if err != nil {
		return err
	}
	return errors.Join(withHint("reject it, put it into the manifest's Dockerfile, and start a new bottle", "the image of a virtual machine cannot be changed once it is made"), open.Detach())
}
