package docker

import (
	"bytes"
	"context"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// custom is the image that is not ours alone.
func (p Plan) custom() image.Custom {
	return image.Custom{
		Base: p.Template, Dockerfile: p.Dockerfile, Image: p.Foreign, Program: p.Program, Offline: p.Offline, Secret: p.holdsSecret,
	}
}

// customOf is the image of a bottle of the manifest, as a build of it would be asked for in
// cwd; false if it is ours alone. Files that hold a secret count as part of it, since cleanup,
// which asks, fetches none.
func customOf(b manifest.Bottle, cli provider.Provider, cwd string) (image.Custom, bool) {
	c := image.Custom{Base: cli.Image, Dockerfile: b.Provider.Dockerfile, Image: b.Provider.Image, Program: cli.Program, Offline: b.Provider.Offline}
	if c.Dockerfile != "" && !filepath.IsAbs(c.Dockerfile) {
		c.Dockerfile = filepath.Join(cwd, c.Dockerfile)
	}
	return c, c.Dockerfile != "" || c.Image != ""
}

// holdsSecret reports whether data holds one of the bottle's secrets.
func (p Plan) holdsSecret(data []byte) bool {
	for _, value := range p.Secrets {
		if bytes.Contains(data, []byte(value.Reveal())) {
			return true
		}
	}
	return false
}

// MakeImages implements bottle.Driver.
func (d *Driver) MakeImages(ctx context.Context, p Plan, say bottle.Progress) error {
	if _, err := d.agentImage(ctx, p, say); err != nil {
		return err
	}
	_, err := d.Images.Ensure(ctx, "sidecar", say.Say)
	return err
}
