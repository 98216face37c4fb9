package image

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

// job is what one build needs.
type job struct {
	context   io.Reader         // a tar archive
	arguments map[string]string // besides the host's
	untrusted bool              // an agent wrote what is run
	offline   bool              // its steps have no network

	dockerfile string // of the operator's: a hash of its path; "" for another's

	credentials map[string]registry.AuthConfig // for the registry of the image that it builds on
}

// build builds one image with the classic builder.
func (b Builder) build(ctx context.Context, ref string, say func(string), prepare func() (job, error)) error {
	j, err := prepare()
	if err != nil {
		return fmt.Errorf("cannot build image %s: %w", ref, err)
	}
	labels, err := b.labels()
	if err != nil {
		return fmt.Errorf("cannot build image %s: %w", ref, err)
	}
	say("building image " + ref + " (once)")
	options := b.options(ref, j)
	if j.dockerfile != "" {
		labels[LabelDockerfile] = j.dockerfile
	}
	options.Version, options.Labels = build.BuilderV1, labels
	result, err := b.Client.ImageBuild(ctx, j.context, options)
	if err != nil {
		return unread(ref, err)
	}
	defer func() { _ = result.Body.Close() }()
	stages, err := watch(result.Body, ref, say)
	b.tidy(context.WithoutCancel(ctx), stages)
	return err
}

func (b Builder) labels() (map[string]string, error) {
	labels := map[string]string{LabelRole: Role}
	if b.Owner == nil {
		return labels, nil
	}
	owner, err := b.Owner()
	labels[LabelOwner] = owner
	return labels, err
}

// network is the engine's name of what a build's steps have.
func (j job) network() string {
	if j.offline {
		return "none"
	}
	return "" // the engine's default
}

// tidy removes the stages that the classic builder leaves behind. One that has a name is
// somebody's image: a stage without a step of its own is just that, and a hostile
// Dockerfile can print any image's ID. What cannot be removed is in use.
func (b Builder) tidy(ctx context.Context, stages []string) {
	for _, id := range stages {
		found, err := b.Client.ImageInspect(ctx, id)
		if err != nil || len(found.RepoTags) > 0 || len(found.RepoDigests) > 0 {
			continue
		}
		_, _ = b.Client.ImageRemove(ctx, id, client.ImageRemoveOptions{PruneChildren: true})
	}
}

// arguments are what the host uses to reach the outside. The engine knows the proxy
// ones and keeps them out of the image's history.
func (b Builder) arguments(more map[string]string) map[string]*string {
	arguments := map[string]*string{}
	for name, value := range more {
		arguments[name] = &value
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if value := b.Getenv(name); value != "" {
			arguments[name] = &value
		}
	}
	if registry := b.npmRegistry(); registry != "" {
		arguments["NPM_REGISTRY"] = &registry
	}
	return arguments
}
