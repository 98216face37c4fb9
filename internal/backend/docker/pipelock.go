package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// Pipelock is somebody else's program, shown all that a bottle sends: it runs in a container of
// its own, without a network, without a secret, as nobody, and writes nothing that stays.
// Our binary is its PID 1, which egress reaches through a socket (docs/pipelock.md).

// pipelockImage is the name under which its maker publishes it. It is never fetched by a tag:
// whoever wants it without saying a digest has fetched it before.
const pipelockImage = "ghcr.io/luckypipewrench/pipelock"

// resolvePipelock finds out which pipelock the bottle gets, and whether it can be had: a
// bottle that is to have one does not start without.
func (d *Driver) resolvePipelock(ctx context.Context, p *Plan, want *manifest.Pipelock, info system.Info) (err error) {
	if want == nil {
		return nil
	}
	plan := resolve.Pipelock{MinVersion: want.MinVersion, Answers: want.Answers}
	switch {
	case want.Binary != "":
		plan.Binary = want.Binary
		plan.Image, plan.Hash, err = image.PipelockRef(want.Binary, info.Architecture)
	case want.Image != "":
		plan.Image = want.Image
		plan.Fetch, err = d.toBeFetched(ctx, want.Image)
	default:
		plan.Image, err = d.havePipelock(ctx)
	}
	if err != nil {
		return fmt.Errorf("pipelock cannot be had: %w", err)
	}
	p.Pipelock = &plan
	return nil
}

// toBeFetched reports whether the engine does not have an image; it is an error if it cannot
// get it either. Nothing is fetched.
func (d *Driver) toBeFetched(ctx context.Context, ref string) (bool, error) {
	_, err := d.Client.ImageInspect(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return false, err
	}
	credential, err := d.Images.Credential(ctx, ref)
	if err != nil {
		return false, err
	}
	if _, err := d.Client.DistributionInspect(ctx, ref, client.DistributionInspectOptions{EncodedRegistryAuth: credential}); err != nil {
		return false, fmt.Errorf("the engine does not have %s, and cannot fetch it: %w; docker load it, or name a binary", ref, err)
	}
	return true, nil
}

// havePipelock names the newest image of pipelock that the engine has, by its digest where it
// has one.
func (d *Driver) havePipelock(ctx context.Context) (string, error) {
	list, err := d.Client.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("reference", pipelockImage)})
	if err != nil {
		return "", err
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("the engine has no image %s: docker pull the version that you trust, or say pipelock: {image: …@sha256:…} or {binary: /path}", pipelockImage)
	}
	newest := slices.MaxFunc(list.Items, func(a, b imagetypes.Summary) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	for _, digest := range newest.RepoDigests {
		if strings.HasPrefix(digest, pipelockImage+"@") {
			return digest, nil
		}
	}
	return newest.ID, nil
}

// pipelockID makes sure that the engine has the image.
func (d *Driver) pipelockID(ctx context.Context, p Plan, say bottle.Progress) (string, error) {
	switch {
	case p.Pipelock == nil:
		return "", nil
	case p.Pipelock.Binary != "":
		made, err := d.Images.EnsurePipelock(ctx, p.Pipelock.Binary, p.Pipelock.Hash, say.Say)
		return made.ID, err
	case p.Pipelock.Fetch:
		say.Say("fetching " + p.Pipelock.Image)
		if err := d.fetch(ctx, p.Pipelock.Image); err != nil {
			return "", fmt.Errorf("cannot fetch pipelock's image: %w", err)
		}
	}
	found, err := d.Client.ImageInspect(ctx, p.Pipelock.Image)
	if err != nil {
		return "", fmt.Errorf("cannot look for pipelock's image: %w", err)
	}
	return found.ID, nil
}

func (d *Driver) fetch(ctx context.Context, ref string) error {
	credential, err := d.Images.Credential(ctx, ref)
	if err != nil {
		return err
	}
	pull, err := d.Client.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: credential})
	if err != nil {
		return err
	}
	return pull.Wait(ctx)
}

// pipelockContainer describes pipelock's container.
func (p Plan) pipelockContainer(imageID, profile, binaries string) client.ContainerCreateOptions {
	pids, memory := int64(64), int64(256<<20)
	user := strconv.Itoa(control.PipelockUID)
	return client.ContainerCreateOptions{
		Name: resource(p.Identity, rolePipelock),
		Config: &container.Config{
			Image:           imageID,
			User:            user + ":" + user, // the image's own is root
			Hostname:        "pipelock",
			Entrypoint:      []string{control.Binary, "sidecar", string(control.Pipelock)},
			Cmd:             []string{},
			Labels:          p.labels(rolePipelock),
			Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}}, // egress tests it, and better
			NetworkDisabled: p.DefaultRuntime == "runc",
		},
		HostConfig: &container.HostConfig{
			NetworkMode:    "none",
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			SecurityOpt:    p.securityOptions(profile),
			CgroupnsMode:   "private",
			IpcMode:        "private",
			Tmpfs:          map[string]string{control.PipelockConfigDir: fmt.Sprintf("rw,noexec,nosuid,nodev,size=1m,mode=0700,uid=%s,gid=%[1]s", user)},
			LogConfig:      boundedLog("1m"),
			Resources: container.Resources{
				Memory: memory, MemorySwap: memory, NanoCPUs: 1e9,
				PidsLimit: &pids,
				Ulimits:   []*container.Ulimit{{Name: "core"}},
			},
			Mounts: []mount.Mount{binaryMount(binaries), p.pipelockVolume()},
		},
	}
}

// pipelockVolume holds the sockets between pipelock and egress; the agent's container does
// not have it.
func (p Plan) pipelockVolume() mount.Mount {
	v := p.volume(rolePipelock, control.PipelockVolume, false)
	v.VolumeOptions.NoCopy = true
	return v
}

// startPipelock starts pipelock's container, if the bottle has one. Egress waits until it is
// well.
func (d *Driver) startPipelock(ctx context.Context, p Plan, needs supplies) error {
	if p.Pipelock == nil {
		return nil
	}
	profile, err := seccompProfile()
	if err != nil {
		return err
	}
	id, err := d.create(ctx, p.pipelockContainer(needs.pipelock, profile, needs.binaries))
	if err == nil {
		err = d.makeSocketDir(ctx, id)
	}
	if err == nil {
		_, err = d.Client.ContainerStart(ctx, id, client.ContainerStartOptions{})
	}
	return named("pipelock's container", needs.binaries, err)
}

// makeSocketDir makes the directory in the volume that pipelock may write in and egress may
// enter, and nobody else: an engine makes volumes of root's alone.
func (d *Driver) makeSocketDir(ctx context.Context, id string) error {
	var data bytes.Buffer
	archive := tar.NewWriter(&data)
	err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Base(control.PipelockDir) + "/", Mode: 0o710, Uid: control.PipelockUID, Gid: control.EgressUID})
	if err = errors.Join(err, archive.Close()); err != nil {
		return err
	}
	_, err = d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: control.PipelockVolume, Content: &data})
	return err
}

// withPipelocksWord adds to an error what pipelock's container said at its end, where it has
// ended: egress can only say that it does not answer.
func (d *Driver) withPipelocksWord(ctx context.Context, p Plan, err error) error {
	if err == nil || p.Pipelock == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	name := resource(p.Identity, rolePipelock)
	found, gone := d.Client.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if gone != nil || found.Container.State == nil || found.Container.State.Running {
		return err
	}
	logs, gone := d.Client.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStderr: true, Tail: "1"})
	if gone != nil {
		return err
	}
	defer func() { _ = logs.Close() }()
	var last plain.Tail
	_, _ = stdcopy.StdCopy(io.Discard, &last, logs)
	return fmt.Errorf("%w (pipelock's container has ended: %s)", err, last.Last())
}
