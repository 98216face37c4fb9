package image

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

const customName = "bot-bottle/custom"

// baseArgument is the build argument that names the template's image.
const baseArgument = "BOT_BOTTLE_BASE"

// Custom is an image that is not ours alone.
type Custom struct {
	Base       string // the image of ours that a Dockerfile without FROM builds on
	Dockerfile string // of the operator's, absolute
	Image      string // instead of a Dockerfile: one that is run as it is, NAME@sha256:…
	Program    string // what it must have to run the agent; "" for what it says itself
	Offline    bool   // the Dockerfile's steps have no network

	// Secret reports whether data holds a secret, which no build may see; nil for none.
	Secret func(data []byte) bool
}

// EnsureCustom builds the operator's own Dockerfile, whose directory is the context, or takes
// an image as it is, and checks that it fits a bottle. A Dockerfile without FROM builds on the
// named image of ours; one with it finds that image's reference in the build argument
// BOT_BOTTLE_BASE. The tag is a hash of everything in the context.
//
// The directory may be a repository, so its content is hostile: no link leads out of it,
// and files that hold a secret, or look like credentials, stay behind.
func (b Builder) EnsureCustom(ctx context.Context, c Custom, say func(string)) (Image, error) {
	if c.Image != "" {
		return b.ensureForeign(ctx, c, say)
	}
	on, err := b.Ensure(ctx, c.Base, say)
	if err != nil {
		return Image{}, err
	}
	in, err := customContext(c, on.Ref)
	if err != nil {
		return Image{}, err
	}
	// What was hashed is what is sent: the directory may change meanwhile.
	ref := customRef(on, in.sent)
	return b.ensure(ctx, ref, say, func() (job, error) {
		if len(in.left.secret) > 0 {
			say("left out of the build, since they hold a secret of the bottle's: " + summary(in.left.secret))
		}
		if len(in.left.private) > 0 {
			say("left out of the build, since they may hold credentials: " + summary(in.left.private))
		}
		return job{context: bytes.NewReader(in.sent), arguments: map[string]string{baseArgument: on.Ref}, offline: c.Offline, untrusted: in.agents, dockerfile: c.of()}, nil
	})
}

// ensureForeign checks an image of somebody's once; the tag that it is then given says so.
func (b Builder) ensureForeign(ctx context.Context, c Custom, say func(string)) (Image, error) {
	file := foreignFile(c)
	return b.ensure(ctx, foreignRef(file), say, func() (job, error) {
		files := newContext()
		if err := files.add("Dockerfile", file); err != nil {
			return job{}, err
		}
		credential, err := b.credential(ctx, c.Image)
		if err != nil {
			return job{}, err
		}
		sent, err := files.bytes()
		j := job{context: bytes.NewReader(sent), offline: true}
		if credential != nil {
			j.credentials = map[string]registry.AuthConfig{credential.ServerAddress: *credential}
		}
		return j, err
	})
}

func foreignFile(c Custom) []byte { return []byte("FROM " + c.Image + "\n" + contract(c.Program)) }

func foreignRef(file []byte) string { return customName + ":" + hash(file) }

func customRef(on Image, sent []byte) string { return customName + ":" + hash([]byte(on.ID), sent) }

// of is what an image says of the Dockerfile that it was built from.
func (c Custom) of() string { return hash([]byte(c.Dockerfile), []byte(c.Base)) }

// CustomRef names the image that EnsureCustom would build now, "" while the base is
// missing. It builds nothing. Without the bottle's secrets it cannot know what stays behind: where
// there is no such image, it is the latest of this Dockerfile's.
func (b Builder) CustomRef(ctx context.Context, c Custom) (string, error) {
	if c.Image != "" {
		return foreignRef(foreignFile(c)), nil
	}
	ref, err := b.Ref(c.Base)
	if err != nil {
		return "", err
	}
	on, err := b.find(ctx, ref)
	if err != nil || on.ID == "" {
		return "", err
	}
	in, err := customContext(c, on.Ref)
	if err != nil {
		return "", err
	}
	ref = customRef(on, in.sent)
	if found, err := b.find(ctx, ref); err != nil || found.ID != "" || c.Secret != nil {
		return ref, err
	}
	latest, err := b.latest(ctx, c.of())
	return cmp.Or(latest, ref), err
}

// latest names the latest image of a Dockerfile that this $BOT_BOTTLE_HOME has had built, "" for none.
func (b Builder) latest(ctx context.Context, of string) (ref string, err error) {
	labels, err := b.labels()
	if err != nil {
		return "", err
	}
	filters := client.Filters{}.Add("label", LabelDockerfile+"="+of)
	for name, value := range labels {
		filters.Add("label", name+"="+value)
	}
	found, err := b.Client.ImageList(ctx, client.ImageListOptions{Filters: filters})
	if err != nil {
		return "", fmt.Errorf("cannot list the engine's images: %w", err)
	}
	var created int64
	for _, i := range found.Items {
		if len(i.RepoTags) > 0 && strings.HasPrefix(i.RepoTags[0], customName+":") && i.Created >= created {
			ref, created = i.RepoTags[0], i.Created
		}
	}
	return ref, nil
}

// ownContext is what a build of an operator's Dockerfile sees.
type ownContext struct {
	sent   []byte // a tar archive
	left   leftOut
	agents bool // some of its steps are an agent's (Layer.AddTo)
}

func customContext(custom Custom, base string) (found ownContext, err error) {
	file := custom.Dockerfile
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return found, fmt.Errorf("cannot read the directory of %s: %w", file, err)
	}
	defer func() { _ = dir.Close() }()
	content, err := dir.ReadFile(filepath.Base(file))
	if err != nil {
		return found, fmt.Errorf("cannot read the bottle's Dockerfile: %w", err)
	}
	if custom.Secret != nil && custom.Secret(content) {
		return found, fmt.Errorf("%s holds a secret of the bottle's: a build must not see one, since it would stay in the image", file)
	}
	c := newContext()
	c.secret = custom.Secret
	ignored, err := ignoredIn(dir.FS(), filepath.Base(file))
	if err == nil {
		found.left, err = c.addTree(dir.FS(), ignored)
	}
	if err != nil {
		return found, fmt.Errorf("cannot read the directory of %s: %w", file, err)
	}
	if err := c.add("Dockerfile", slices.Concat(onBase(content, base), []byte("\n"+contract(custom.Program)))); err != nil {
		return found, err
	}
	found.agents = hasApproved(content)
	found.sent, err = c.bytes()
	return found, err
}

// onBase has a Dockerfile without FROM build on the base, and tells one with FROM what
// the base is.
func onBase(content []byte, base string) []byte {
	first := "FROM " + base + "\n"
	if hasFrom(string(content)) {
		first = "ARG " + baseArgument + "=" + base + "\n"
	}
	return append([]byte(first), content...)
}

// hasFrom reports whether a Dockerfile begins with FROM. Only comments and arguments may
// stand before it; a line that begins with "from" further on is part of a command.
func hasFrom(content string) bool {
	continued := false
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word := strings.ToUpper(strings.Fields(line)[0])
		if !continued && word != "ARG" {
			return word == "FROM"
		}
		continued = strings.HasSuffix(line, `\`)
	}
	return false
}

// summary lists a few names.
func summary(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
