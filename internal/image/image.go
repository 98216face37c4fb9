// Package image holds the Dockerfiles of the images that bottles run, and builds them
// over the Engine API with the classic builder, which every engine has.
//
// An image's tag is a hash of what goes into it, so it is built once and never stale.
// Nothing of the host gets into one: extra certificates reach build stages only.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

//go:embed *.Dockerfile
var dockerfiles embed.FS

// Labels of every image that is built here.
const (
	LabelRole  = "bot-bottle.role"
	Role       = "image" // the value of LabelRole
	LabelOwner = "bot-bottle.owner"

	LabelDockerfile = "bot-bottle.dockerfile" // of one of the operator's: a hash of its path
)

//go:embed npm-fetch
var npmFetch []byte

// Base is the image that all of ours are built on.
const Base = "debian:bookworm-slim"

// Image is one that the engine has.
type Image struct {
	Ref string // repository:tag
	ID  string // sha256:…
}

// Builder makes images. It may be used concurrently.
type Builder struct {
	Client *client.Client
	Lock   func(ctx context.Context, name string) (release func(), err error)
	Getenv func(string) string    // proxies, registries and certificates of the host
	Owner  func() (string, error) // whose images they are; nil for nobody's

	Again   bool // build also what the engine has already
	NoCache bool // and every step of it
	Pull    bool // and look for a newer base image first
}

// Ref names an image of ours. It touches nothing.
func (b Builder) Ref(name string) (string, error) {
	file, err := dockerfile(name)
	if err != nil {
		return "", err
	}
	return "bot-bottle/" + name + ":" + hash(file, npmFetch), nil
}

// dockerfile is the one of an image of ours; an agent's begins with the stages that all
// share, word for word, so that the engine builds them once.
func dockerfile(name string) ([]byte, error) {
	file, err := dockerfiles.ReadFile(name + ".Dockerfile")
	if err != nil || name == shared {
		return nil, fmt.Errorf("there is no image %q", name)
	}
	if !bytes.Contains(file, []byte("\nFROM "+shared+"\n")) {
		return file, nil
	}
	stages, err := dockerfiles.ReadFile(shared + ".Dockerfile")
	return slices.Concat(stages, file), err
}

// shared is the Dockerfile with the first stages of every agent's image, and the stage in
// it that their last one builds on.
const shared = "tools"

func hash(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:", len(part))
		_, _ = h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// Ensure returns an image of ours, and builds it first if the engine does not have it.
// say is told what takes time.
func (b Builder) Ensure(ctx context.Context, name string, say func(string)) (Image, error) {
	ref, err := b.Ref(name)
	if err != nil {
		return Image{}, err
	}
	file, err := dockerfile(name)
	if err != nil {
		return Image{}, err
	}
	return b.ensure(ctx, ref, say, func() (job, error) { return b.job(file) })
}

// job is the build of a Dockerfile of ours.
func (b Builder) job(file []byte) (job, error) {
	c := newContext()
	if err := errors.Join(c.add("extra-ca.pem", b.extraCertificates()), c.add("npm-fetch", npmFetch), c.add("Dockerfile", file)); err != nil {
		return job{}, err
	}
	sent, err := c.bytes()
	return job{context: bytes.NewReader(sent)}, err
}

// ensure looks for an image, and has one process at a time build what is missing.
func (b Builder) ensure(ctx context.Context, ref string, say func(string), prepare func() (job, error)) (Image, error) {
	if found, err := b.find(ctx, ref); err != nil || found.ID != "" && !b.Again {
		return found, err
	}
	unlock, err := b.Lock(ctx, "build-"+hash([]byte(ref)))
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if found, err := b.find(ctx, ref); err != nil || found.ID != "" && !b.Again {
		return found, err
	}
	if err := b.build(ctx, ref, say, prepare); err != nil {
		return Image{}, err
	}
	return b.find(ctx, ref)
}

// find returns an image without an ID when the engine does not have it.
func (b Builder) find(ctx context.Context, ref string) (Image, error) {
	found, err := b.Client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return Image{Ref: ref}, nil
	}
	if err != nil {
		return Image{}, fmt.Errorf("cannot look for image %s: %w", ref, err)
	}
	return Image{Ref: ref, ID: found.ID}, nil
}
