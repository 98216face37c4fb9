package docker

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Remove removes a stopped bottle for good.
func (d *Driver) Remove(ctx context.Context, identity string) error {
	release, err := bottle.Stopped(ctx, d, d.State.Lock, identity)
	if err != nil {
		return err
	}
	defer release()
	layers := d.layersOf(identity)
	if err := d.discard(ctx, identity); err != nil {
		return err
	}
	d.dropLayers(context.WithoutCancel(ctx), layers)
	return nil
}
