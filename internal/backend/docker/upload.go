package docker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// UploadPack runs git upload-pack on a repository in a bottle's workspace. Its
// configuration is the agent's, so it runs in a container of its own: our own image, the
// agent's uid, no network, the workspace and nothing else, which it cannot write.
func (d *Driver) UploadPack(ctx context.Context, identity, repository string, streams bottle.IO) (code int, err error) {
	volume, err := d.workspace(ctx, identity)
	if err != nil {
		return 0, err
	}
	if open, err := d.Open(ctx, identity); err == nil {
		_ = open.Detach()
	} else if release, err := d.State.Lock(identity); err == nil {
		defer release() // no cleanup takes our container for one that was left
	}
	image, err := d.Images.Ensure(ctx, "sidecar", func(string) {})
	if err != nil {
		return 0, err
	}
	profile, err := seccompProfile()
	if err != nil {
		return 0, err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return 0, err
	}
	id, err := d.create(ctx, uploader(identity, owner, image.ID, volume, profile, path.Join(provider.Workspace, path.Clean("/"+repository))))
	if err != nil {
		return 0, explain(err)
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
		defer cancel()
		err = errors.Join(err, d.removeContainer(ending, id))
	}()
	attached, err := d.Client.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, err
	}
	exit := d.Client.ContainerWait(context.WithoutCancel(ctx), id, client.ContainerWaitOptions{Condition: "next-exit"})
	if _, err := d.Client.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		attached.Close()
		return 0, explain(err)
	}
	patience := bottle.Patience{Silence: uploadSilence, Whole: uploadLimit}
	if err := relay(ctx, attached.HijackedResponse, streams, patience); err != nil {
		return 0, err
	}
	return exitOf(ctx, exit)
}

// Limits of what is sent. A git writes something every few seconds, also while it thinks
// (git-config(1), uploadpack.keepAlive).
const (
	uploadSilence = 2 * time.Minute
	uploadLimit   = time.Hour
)

// relay is pump for a bottle that is not waited for without end.
func relay(ctx context.Context, conn client.HijackedResponse, streams bottle.IO, patience bottle.Patience) error {
	ctx, out, stop := patience.Watch(ctx, streams.Stdout)
	defer stop()
	streams.Stdout = out
	return pump(ctx, conn, streams, nil)
}

// exitOf is a container's exit status, which the engine may take a moment to tell.
func exitOf(ctx context.Context, exit client.ContainerWaitResult) (int, error) {
	grace := time.NewTimer(exitGrace)
	defer grace.Stop()
	select {
	case result := <-exit.Result:
		return int(result.StatusCode), nil
	case err := <-exit.Error:
		return 0, fmt.Errorf("lost the engine: %w", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-grace.C:
		return 0, errors.New("the engine does not say how git ended")
	}
}

// workspace is the name of a bottle's volume, if it is ours.
func (d *Driver) workspace(ctx context.Context, identity string) (string, error) {
	if !bottle.ValidIdentity(identity) {
		return "", fmt.Errorf("%q: %w", identity, bottle.ErrGone)
	}
	owner, err := d.State.Owner()
	if err != nil {
		return "", err
	}
	found, err := d.Client.VolumeInspect(ctx, resource(identity, roleWorkspace), client.VolumeInspectOptions{})
	if errdefs.IsNotFound(err) || err == nil && found.Volume.Labels[labelOwner] != owner {
		return "", fmt.Errorf("%s: %w", identity, bottle.ErrGone)
	}
	return found.Volume.Name, err
}

// uploader is the container that reads a workspace.
func uploader(identity, owner, image, volume, profile, repository string) client.ContainerCreateOptions {
	pids := int64(64)
	return client.ContainerCreateOptions{
		Config: &container.Config{
			Image: image, User: fmt.Sprintf("%d:%d", provider.UID, provider.UID), WorkingDir: "/",
			Entrypoint:  []string{"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "upload-pack", "--timeout=600"},
			Cmd:         []string{repository},
			Env:         []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"},
			Labels:      map[string]string{labelOwner: owner, labelIdentity: identity, labelRole: string(roleHelper)},
			OpenStdin:   true,
			StdinOnce:   true,
			AttachStdin: true, AttachStdout: true, AttachStderr: true,
			NetworkDisabled: true,
			Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "none", ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges", "seccomp=" + profile},
			CgroupnsMode: "private", IpcMode: "private", LogConfig: container.LogConfig{Type: "none"},
			Resources: container.Resources{Memory: 1 << 30, MemorySwap: 1 << 30, PidsLimit: &pids},
			Mounts: []mount.Mount{{
				Type: mount.TypeVolume, Source: volume, Target: provider.Workspace, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
			}},
		},
	}
}
