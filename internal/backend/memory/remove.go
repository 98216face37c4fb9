//go:build linux

package memory

import (
	"context"
	"errors"
	"fmt"

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
	if m := d.find(identity); m != nil {
		if _, err := d.halt(ctx, m); err != nil {
			return err
		}
	}
	return d.discard(identity)
}

// Build has no image to build on.
func (d *Driver) Build(ctx context.Context, identity string, _ image.Layer, _ bottle.Progress) error {
	open, err := d.Open(ctx, identity)
	if err != nil {
		return err
	}
	return errors.Join(fmt.Errorf("%s has no image that could be changed", identity), open.Detach())
}
