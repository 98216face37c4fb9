package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
)

// Build implements bottle.Driver: it builds on the very image that the bottle runs.
func (d *Driver) Build(ctx context.Context, identity string, l image.Layer, say bottle.Progress) error {
	found, err := d.Client.ContainerInspect(ctx, resource(identity, roleAgent), client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: %w", identity, bottle.ErrNotRunning)
	}
	if err != nil {
		return err
	}
	on := image.Image{Ref: found.Container.Image, ID: found.Container.Image}
	_, err = d.Images.EnsureLayer(ctx, on, l, say.Say)
	return err
}
