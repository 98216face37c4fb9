package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
)

// Built is an image that was built for bottles, whoever's they are on this engine.
type Built struct {
	Ref        string `json:"image"`      // its name; the ID of one that lost it, built again since
	Size       int64  `json:"size"`       // bytes, of which others may share some
	Containers int    `json:"containers"` // that run it or are made of it
	Current    bool   `json:"current"`    // this version builds it from what it holds
	Kept       bool   `json:"kept"`       // somebody else may need it, or a bottle of the manifest, or one that could be resumed
	For        string `json:"-"`          // who, in words, where it is kept
}

// Unused reports whether nothing is lost without it but the time to build it again.
func (b Built) Unused() bool { return b.Containers == 0 && !b.Current && !b.Kept }

// Kept says for whom an image is kept that nothing runs, by its name or its ID.
type Kept map[string]string

// Anything is the key of an image of this $BOT_BOTTLE_HOME's own that has no other.
const Anything = "*"

// by is for whom one is kept, "" for nobody. What another $BOT_BOTTLE_HOME has had built it may need:
// nobody here can tell. An image of ours without an owner was built before they had one.
func (k Kept) by(ref string, found image.Summary, ours string) string {
	owner := found.Labels[LabelOwner]
	personal := ref == found.ID || slices.ContainsFunc([]string{customName, LayerName, PipelockName}, func(name string) bool { return strings.HasPrefix(ref, name+":") })
	switch {
	case owner != ours && (personal || owner != ""):
		return "perhaps, by another $BOT_BOTTLE_HOME"
	case personal:
		return cmp.Or(k[ref], k[found.ID], k[Anything])
	}
	return cmp.Or(k[ref], k[found.ID])
}

// Built lists the images that were built for bottles, in order of name.
func (b Builder) Built(ctx context.Context, kept Kept) ([]Built, error) {
	ours, err := b.labels()
	if err != nil {
		return nil, err
	}
	images, err := b.Client.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("label", "bot-bottle.role=image")})
	if err != nil {
		return nil, fmt.Errorf("cannot list the engine's images: %w", err)
	}
	containers, err := b.Client.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("cannot list the engine's containers: %w", err)
	}
	uses := map[string]int{}
	for _, c := range containers.Items {
		uses[c.ImageID]++
	}
	built := []Built{}
	for _, found := range images.Items {
		for _, ref := range NamesOf(found) {
			nameless := ref == found.ID
			if nameless || strings.HasPrefix(ref, "bot-bottle/") {
				by := kept.by(ref, found, ours[LabelOwner])
				built = append(built, Built{ref, found.Size, uses[found.ID], b.current(ref), by != "", by})
			}
		}
	}
	slices.SortFunc(built, func(x, y Built) int { return cmp.Compare(x.Ref, y.Ref) })
	return built, nil
}

// NamesOf are an image's names; its ID for one that has none, which older engines say in a way of
// their own.
func NamesOf(found image.Summary) []string {
	names := slices.DeleteFunc(slices.Clone(found.RepoTags), func(name string) bool { return name == "<none>:<none>" })
	if len(names) == 0 {
		return []string{found.ID}
	}
	return names
}

// current reports whether a reference is that of an image of ours as it is now.
func (b Builder) current(ref string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(ref, "bot-bottle/"), ":")
	now, err := b.Ref(name)
	return err == nil && now == ref
}

// Remove removes one by its name, and the steps that it alone was built of; the engine refuses if a
// container is made of it after all.
func (b Builder) Remove(ctx context.Context, built Built) error {
	if _, err := b.Client.ImageRemove(ctx, built.Ref, client.ImageRemoveOptions{PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove image %s: %w", built.Ref, err)
	}
	return nil
}
