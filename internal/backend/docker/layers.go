package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/requests"
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

// layered puts on an image what was approved for a bottle, in the order in which it was
// asked for. The bottle's audit log is where that is recorded.
func (d *Driver) layered(ctx context.Context, identity string, on image.Image, say bottle.Progress) (image.Image, error) {
	asked, err := d.State.Requests(identity)
	if err != nil {
		return on, err
	}
	for _, r := range asked {
		if r.Kind != requests.Capability || r.Grant == nil || !r.Grant.Ended.IsZero() {
			continue
		}
		if on, err = d.Images.EnsureLayer(ctx, on, image.Layer{Packages: r.Image.Packages, Dockerfile: r.Image.Dockerfile}, say.Say); err != nil {
			return on, fmt.Errorf("cannot build what was approved as %s: %w", r.ID, err)
		}
	}
	return on, nil
}
