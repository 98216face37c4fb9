package resolve

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Images makes the images that bottles and bundles run.
type Images interface {
	// Ref names an image; it touches nothing.
	Ref(name string) (string, error)
	// Ensure builds the image if the engine does not have it.
	Ensure(ctx context.Context, name string, say func(string)) (image.Image, error)
	// EnsureCustom makes an image that is not ours alone.
	EnsureCustom(ctx context.Context, c image.Custom, say func(string)) (image.Image, error)
	// Credential is what the registry of an image is told, as the engine takes it; "" for nothing.
	Credential(ctx context.Context, ref string) (string, error)
	// EnsurePipelock makes an image of a program of the operator's, with this hash.
	EnsurePipelock(ctx context.Context, path, hash string, say func(string)) (image.Image, error)
	// EnsureLayer builds a layer that an operator approved on an image.
	EnsureLayer(ctx context.Context, on image.Image, l image.Layer, say func(string)) (image.Image, error)
	// CustomRef names the image that EnsureCustom would make, "" while its base is missing.
	CustomRef(ctx context.Context, c image.Custom) (string, error)
}

// ResolveImage says what the agent will run, as far as it can be said without an engine.
func (p *Plan) ResolveImage(images Images, cli provider.Provider, s bottle.Spec) error {
	ref, err := images.Ref(cli.Image)
	if err != nil {
		return err
	}
	p.Template, p.Image, p.Program = cli.Image, ref, cli.Program
	p.Offline = s.Resolved.Bottle.Provider.Offline
	if p.Foreign = s.Resolved.Bottle.Provider.Image; p.Foreign != "" {
		p.Image = p.Foreign
		return nil
	}
	if file := s.Resolved.Bottle.Provider.Dockerfile; file != "" {
		p.Dockerfile = file
		if !filepath.IsAbs(file) {
			p.Dockerfile = filepath.Join(s.Cwd, file)
		}
		p.Image = p.Dockerfile + " on " + ref
	}
	return nil
}

// Ours reports whether the agent runs an image of ours as it is, whose name says what is in it.
func (p Plan) Ours() bool { return p.Dockerfile == "" && p.Foreign == "" }

// MakeImage makes the image that the manifest names.
func (p Plan) MakeImage(ctx context.Context, images Images, say bottle.Progress) (image.Image, error) {
	if !p.Ours() {
		return images.EnsureCustom(ctx, p.Custom(), say.Say)
	}
	return images.Ensure(ctx, p.Template, say.Say)
}

// Custom is the image that is not ours alone.
func (p Plan) Custom() image.Custom {
	return image.Custom{
		Base: p.Template, Dockerfile: p.Dockerfile, Image: p.Foreign, Program: p.Program, Offline: p.Offline, Secret: p.secretFinder(),
	}
}

// CustomOf is the image of a bottle of the manifest, as a build of it would be asked for in
// cwd; false if it is ours alone. Files that hold a secret count as part of it, since cleanup,
// which asks, fetches none.
func CustomOf(b manifest.Bottle, cli provider.Provider, cwd string) (image.Custom, bool) {
	c := image.Custom{Base: cli.Image, Dockerfile: b.Provider.Dockerfile, Image: b.Provider.Image, Program: cli.Program, Offline: b.Provider.Offline}
	if c.Dockerfile != "" && !filepath.IsAbs(c.Dockerfile) {
		c.Dockerfile = filepath.Join(cwd, c.Dockerfile)
	}
	return c, c.Dockerfile != "" || c.Image != ""
}

// secretFinder finds the bottle's secrets in what a build may see: as they are and, unless they are
// so short that this would be by chance, encoded (dlp.Forms), also over several lines, as base64 prints.
func (p Plan) secretFinder() func(data []byte) bool {
	var forms [][]byte
	for _, value := range p.Secrets {
		if text := value.Reveal(); len(text) >= dlp.MinKnown {
			forms = append(forms, dlp.Forms(text)...)
		} else if text != "" {
			forms = append(forms, []byte(text))
		}
	}
	in := func(data []byte) bool {
		return slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(data, form) })
	}
	return func(data []byte) bool { return in(data) || in(onOneLine(data)) }
}

// onOneLine is data without line ends, and nil if it has none.
func onOneLine(data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 {
		return nil
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), nil), []byte("\n"), nil)
}

// Approved are the changes of the image that were approved for a bottle, in the order in which
// they were asked for, less those that the bottle's Dockerfile has by now: twice, they might not
// build.
func (p Plan) Approved(asked []requests.Request) ([]requests.Request, error) {
	var dockerfile []byte
	if p.Dockerfile != "" {
		var err error
		if dockerfile, err = os.ReadFile(p.Dockerfile); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(asked), func(r requests.Request) bool {
		return r.Kind != requests.Capability || r.Grant == nil || !r.Grant.Ended.IsZero() || image.Holds(dockerfile, r.ID)
	}), nil
}

// Layered puts what was approved for a bottle on an image. refs are the layers' names.
func (p Plan) Layered(ctx context.Context, images Images, on image.Image, asked []requests.Request, say bottle.Progress) (_ image.Image, refs []string, err error) {
	approved, err := p.Approved(asked)
	if err != nil {
		return on, nil, err
	}
	for _, r := range approved {
		if on, err = images.EnsureLayer(ctx, on, image.Layer{Packages: r.Image.Packages, Dockerfile: r.Image.Dockerfile}, say.Say); err != nil {
			return on, refs, fmt.Errorf("cannot build what was approved as %s: %w", r.ID, err)
		}
		refs = append(refs, on.Ref)
	}
	return on, refs, nil
}
