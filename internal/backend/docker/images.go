package docker

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// roleImage is the role of the images that we build.
const roleImage = "image"

// imagesLock is shared by starts, from looking for an image until a container uses it, and
// is a cleanup's own while it removes images.
const imagesLock = "docker-images"

// unusedImages are those built for this $BOT_BOTTLE_HOME that no bottle of the manifest and
// no container would miss; what builds on another one comes first.
func (d *Driver) unusedImages(ctx context.Context, c census, o bottle.CleanupOptions) ([]bottle.Task, error) {
	if o.Manifest == nil || len(c.images) == 0 {
		return nil, nil
	}
	used, err := d.usedImages(ctx, c, o)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(c.images, func(a, b imagetypes.Summary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	var all []bottle.Task
	for _, i := range c.images {
		if slices.ContainsFunc(append([]string{i.ID}, i.RepoTags...), func(name string) bool { return used[name] }) {
			continue
		}
		since, size := time.Unix(i.Created, 0).UTC(), i.Size
		name := i.ID
		if len(i.RepoTags) > 0 {
			name = i.RepoTags[0]
		}
		all = append(all, bottle.Task{ID: name, Leftover: bottle.Leftover{Kind: bottle.LeftImage, Name: name, Why: "no bottle of the manifest uses it", Bytes: &size, Since: &since}})
	}
	return all, nil
}

// usedImages names the images that are in use, by reference or id: of the manifest's bottles
// as it is now, of containers, and of kept bottles.
func (d *Driver) usedImages(ctx context.Context, c census, o bottle.CleanupOptions) (map[string]bool, error) {
	used := map[string]bool{}
	use := func(ref string, err error) error {
		used[ref] = true
		return err
	}
	if err := use(d.Images.Ref("sidecar")); err != nil {
		return nil, err
	}
	for _, b := range o.Manifest.Bottles {
		cli, err := provider.For(b.Provider.Template)
		if err != nil {
			continue // no bottle of this manifest can run it
		}
		if err := use(d.Images.Ref(cli.Image)); err != nil {
			return nil, err
		}
		if b.Pipelock != nil && b.Pipelock.Binary != "" {
			if ref, _, err := image.PipelockRef(b.Pipelock.Binary, ""); err == nil { // else it cannot run
				used[ref] = true
			}
		}
		if custom, ok := resolve.CustomOf(b, cli, o.Cwd); ok {
			if ref, err := d.Images.CustomRef(ctx, custom); err == nil { // else there is no such file here
				used[ref] = true
			}
		}
	}
	for _, found := range c.containers {
		used[found.Image], used[found.ImageID] = true, true
	}
	for _, identity := range c.states {
		if r := c.records[identity]; !r.missing {
			d.keep(used, identity, r.Metadata)
		}
	}
	return used, nil
}

// KeptImages names the images, by reference or id, that bottles on record may come back to and that
// nobody else could build: their Dockerfile may be one that only another directory has, or they
// were granted a change.
func (d *Driver) KeptImages() (map[string]bool, error) {
	identities, err := d.State.Identities()
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{}
	for _, identity := range identities {
		if m, err := d.State.Read(identity); !errors.Is(err, fs.ErrNotExist) {
			d.keep(kept, identity, m)
		}
	}
	return kept, nil
}

// keep adds the images that the bottle of a record may come back to.
func (d *Driver) keep(kept map[string]bool, identity string, m state.Metadata) {
	if m.Remove {
		return // nobody resumes it
	}
	if strings.HasPrefix(m.Image, "bot-bottle/custom:") || isLayer(m.Image) {
		kept[m.Image], kept[m.ImageID] = true, true
	}
	layers, _ := d.State.Layers(identity)
	for _, ref := range layers {
		kept[ref] = true
	}
}
