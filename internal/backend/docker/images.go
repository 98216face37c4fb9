package docker

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
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
	far := elsewhere(o.Manifest, o.Cwd) != ""
	slices.SortFunc(c.images, func(a, b imagetypes.Summary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	var all []bottle.Task
	for _, i := range c.images {
		if slices.ContainsFunc(append([]string{i.ID}, i.RepoTags...), func(name string) bool { return used[name] }) {
			continue
		}
		if far && slices.ContainsFunc(image.NamesOf(i), ofDockerfile) {
			continue
		}
		since, size, name := time.Unix(i.Created, 0).UTC(), i.Size, image.NamesOf(i)[0]
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
	named, err := d.namedImages(ctx, o.Manifest, o.Cwd)
	if err != nil {
		return nil, err
	}
	maps.Copy(used, named)
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

// ofDockerfile reports whether an image may be one that a Dockerfile of the operator's was built to: one
// without a name may.
func ofDockerfile(name string) bool {
	return strings.HasPrefix(name, "bot-bottle/custom:") || isLayer(name) || !strings.HasPrefix(name, "bot-bottle/")
}

// elsewhere names a bottle of the manifest whose Dockerfile is where agents are started, and not
// here, "" for none: which image it has built nobody can tell from here.
func elsewhere(m *manifest.Manifest, cwd string) string {
	for _, name := range slices.Sorted(maps.Keys(m.Bottles)) {
		b := m.Bottles[name]
		if b.Provider.Dockerfile == "" || filepath.IsAbs(b.Provider.Dockerfile) {
			continue
		}
		if _, err := os.Stat(filepath.Join(cwd, b.Provider.Dockerfile)); err != nil {
			return name
		}
	}
	return ""
}

// namedImages are those that the manifest's bottles as they are now would run, by reference.
func (d *Driver) namedImages(ctx context.Context, m *manifest.Manifest, cwd string) (map[string]bool, error) {
	named := map[string]bool{}
	for _, b := range m.Bottles {
		cli, err := provider.For(b.Provider.Template)
		if err != nil {
			continue // no bottle of this manifest can run it
		}
		ref, err := d.Images.Ref(cli.Image)
		if err != nil {
			return nil, err
		}
		named[ref] = true
		if b.Pipelock != nil && b.Pipelock.Binary != "" {
			if ref, _, err := image.PipelockRef(b.Pipelock.Binary, ""); err == nil { // else it cannot run
				named[ref] = true
			}
		}
		if custom, ok := resolve.CustomOf(b, cli, cwd); ok {
			if ref, err := d.Images.CustomRef(ctx, custom); err == nil { // else there is no such file here
				named[ref] = true
			}
		}
	}
	return named, nil
}

// BuiltImages lists what was built for bottles, and for whom it is kept. m is the manifest, nil where
// there is none; cwd is where relative paths in it begin.
func (d *Driver) BuiltImages(ctx context.Context, images image.Builder, m *manifest.Manifest, cwd string) ([]image.Built, error) {
	all := image.Kept{}
	if m != nil {
		named, err := d.namedImages(ctx, m, cwd)
		if err != nil {
			return nil, err
		}
		for ref := range named {
			all[ref] = "by a bottle of the manifest"
		}
		if name := elsewhere(m, cwd); name != "" {
			all[image.Anything] = "perhaps, by bottle " + name + ": its Dockerfile is not in this directory"
		}
		if len(m.Problems) > 0 {
			all[image.Anything] = "perhaps, by a bottle of the manifest, which has problems"
		}
	}
	kept, err := d.keptImages()
	for ref := range kept {
		all[ref] = cmp.Or(all[ref], "perhaps, by a bottle that is kept")
	}
	if err != nil {
		return nil, err
	}
	return images.Built(ctx, all)
}

// PruneImages removes what is unused of BuiltImages, as far as it was agreed to, and returns how
// many those were and how much space that has made; -1 if the engine does not say. No start is about
// to use an image meanwhile.
func (d *Driver) PruneImages(ctx context.Context, images image.Builder, agreed []image.Built, m *manifest.Manifest, cwd string) (removed int, freed int64, err error) {
	release, err := d.State.CacheLock(ctx, imagesLock)
	if err != nil {
		return 0, -1, err
	}
	defer release()
	now, err := d.BuiltImages(ctx, images, m, cwd)
	if err != nil {
		return 0, -1, err
	}
	before := d.layers(ctx)
	for _, b := range now {
		if !b.Unused() || !slices.ContainsFunc(agreed, func(a image.Built) bool { return a.Ref == b.Ref }) {
			continue
		}
		if failed := images.Remove(ctx, b); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		removed++
	}
	after := d.layers(ctx)
	if before < 0 || after < 0 {
		return removed, -1, err
	}
	return removed, max(0, before-after), err
}

// layers is how much space all images take, what they share counted once; -1 if the engine does not
// say in time.
func (d *Driver) layers(ctx context.Context) int64 {
	usage, err := d.usage(ctx, client.DiskUsageOptions{Images: true})
	if err != nil {
		return -1
	}
	return usage.Images.TotalSize
}

// keptImages names the images, by reference or id, that bottles on record may come back to and that
// nobody else could build: their Dockerfile may be one that only another directory has, or they
// were granted a change.
func (d *Driver) keptImages() (map[string]bool, error) {
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
