package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	done, err := d.State.CacheShare(ctx, imagesLock) // no cleanup takes it away before it is on record
	if err != nil {
		return err
	}
	defer done()
	on := image.Image{Ref: found.Container.Image, ID: found.Container.Image}
	built, err := d.Images.EnsureLayer(ctx, on, l, say.Say)
	if err != nil {
		return err
	}
	return d.State.AddLayer(identity, built.Ref)
}

// isLayer reports whether an image is one that was built for a bottle.
func isLayer(ref string) bool { return strings.HasPrefix(ref, image.LayerName+":") }

// layersOf are a bottle's layers, and the one that it ran last.
func (d *Driver) layersOf(identity string) []string {
	refs, _ := d.State.Layers(identity)
	if m, err := d.State.Read(identity); err == nil && isLayer(m.Image) && !slices.Contains(refs, m.Image) {
		refs = append(refs, m.Image)
	}
	return refs
}

// dropLayers removes the layers of a bottle that is gone, but for those that another bottle has.
// What cannot be removed now is left to cleanup.
func (d *Driver) dropLayers(ctx context.Context, refs []string) {
	if len(refs) == 0 {
		return
	}
	patience, cancel := context.WithTimeout(ctx, imagesPatience)
	release, err := d.State.CacheLock(patience, imagesLock)
	cancel()
	if err != nil {
		return // a start may be about to use one
	}
	defer release()
	others, err := d.State.Identities()
	if err != nil {
		return
	}
	for _, identity := range others {
		has := d.layersOf(identity)
		refs = slices.DeleteFunc(refs, func(ref string) bool { return slices.Contains(has, ref) })
	}
	owner, err := d.State.Owner()
	for _, ref := range slices.Backward(refs) {
		found, failed := d.Client.ImageInspect(ctx, ref)
		if err != nil || failed != nil || found.Config == nil || found.Config.Labels[labelOwner] != owner {
			continue
		}
		if _, err := d.Client.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true}); ignoreGone(err) != nil {
			d.Log.Info("an image stays", "image", ref, "err", err)
		}
	}
}
