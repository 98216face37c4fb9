package docker

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// MakeImages implements bottle.Driver.
func (d *Driver) MakeImages(ctx context.Context, p Plan, say bottle.Progress) error {
	if _, err := d.agentImage(ctx, p, say); err != nil {
		return err
	}
	if _, err := d.Images.Ensure(ctx, "sidecar", say.Say); err != nil {
		return err
	}
	_, err := d.pipelockID(ctx, p, say)
	return err
}
