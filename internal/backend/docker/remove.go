package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Remove removes a stopped bottle for good.
func (d *Driver) Remove(ctx context.Context, identity string) error {
	if open, err := d.Open(ctx, identity); err == nil {
		return errors.Join(fmt.Errorf("%s: %w", identity, bottle.ErrRunning), open.Detach())
	} else if !errors.Is(err, bottle.ErrNotRunning) {
		return err
	}
	release, err := d.State.Lock(identity)
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
