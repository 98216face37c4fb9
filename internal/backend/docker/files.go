package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// files are those in a container: the agent's, or, where that does not run, one that is never
// started and has the bottle's volumes.
type files struct {
	driver *Driver
	id     string
	below  []string // what there is; nil: everything
	close  func() error
}

// Files opens a bottle's files.
func (d *Driver) Files(ctx context.Context, identity string) (bottle.Files, error) {
	found, err := d.ownAgent(ctx, identity)
	if err == nil && found.State.Running {
		return &files{driver: d, id: found.ID, close: func() error { return nil }}, nil
	}
	if err != nil && !errors.Is(err, bottle.ErrNotRunning) {
		return nil, err
	}
	if _, err := d.left(ctx, identity); err != nil { // of none there is no lock to make a directory for
		return nil, err
	}
	release, err := d.State.Lock(identity)
	if err != nil {
		return nil, err
	}
	left, err := d.left(ctx, identity) // and nobody removes it now
	id := ""
	if err == nil {
		id, err = d.createKeeper(ctx, identity, left)
	}
	if err != nil {
		release()
		return nil, explain(err)
	}
	var below []string
	for _, r := range left {
		below = append(below, placeOf(r))
	}
	return &files{driver: d, id: id, below: below, close: func() error {
		defer release()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownLimit)
		defer cancel()
		return d.removeContainer(ending, id)
	}}, nil
}

// placeOf is where a bottle has its home or its workspace.
func placeOf(r role) string {
	if r == roleHome {
		return provider.Home
	}
	return provider.Workspace
}

// createKeeper makes a container that has what is left of a bottle's home and workspace, and is never
// started. What is not there any more must not be made anew: a resume would take it for what it was.
func (d *Driver) createKeeper(ctx context.Context, identity string, left []role) (string, error) {
	image, err := d.Images.Ensure(ctx, "sidecar", func(string) {})
	if err != nil {
		return "", err
	}
	owner, err := d.State.Owner()
	if err != nil {
		return "", err
	}
	var mounts []mount.Mount
	for _, r := range left {
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: resource(identity, r), Target: placeOf(r), VolumeOptions: &mount.VolumeOptions{
			NoCopy: true, Labels: map[string]string{labelOwner: owner, labelIdentity: identity, labelRole: string(r)}, // of one that somebody removes just now
		}})
	}
	return d.create(ctx, client.ContainerCreateOptions{
		Config: &container.Config{
			Image: image.ID, Entrypoint: []string{control.Binary}, NetworkDisabled: true,
			Labels: map[string]string{labelOwner: owner, labelIdentity: identity, labelRole: string(roleHelper)},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: mounts},
	})
}

// has refuses what a bottle that does not run does not have: the rest of its file system went
// with its container.
func (f *files) has(name string) error {
	if f.below == nil {
		return nil
	}
	for _, dir := range f.below {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return nil
		}
	}
	return fmt.Errorf("%s: %w: the bottle does not run, so there are only %s", name, bottle.ErrNoFile, strings.Join(f.below, " and "))
}

// Stat looks at a file.
func (f *files) Stat(ctx context.Context, name string) (bottle.FileInfo, error) {
	for range 2 { // a link; the engine has followed all of them then
		if err := f.has(name); err != nil {
			return bottle.FileInfo{}, err
		}
		found, err := f.driver.Client.ContainerStatPath(ctx, f.id, client.ContainerStatPathOptions{Path: name})
		if errdefs.IsNotFound(err) {
			err = fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
		}
		if err != nil {
			return bottle.FileInfo{}, err
		}
		if found.Stat.Mode&fs.ModeSymlink == 0 {
			return bottle.FileInfo{Path: name, Dir: found.Stat.Mode.IsDir()}, nil
		}
		name = path.Clean("/" + found.Stat.LinkTarget)
	}
	return bottle.FileInfo{}, fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
}

// Put unpacks an archive.
func (f *files) Put(ctx context.Context, dir string, archive io.Reader) error {
	if err := f.has(dir); err != nil {
		return err
	}
	_, err := f.driver.Client.CopyToContainer(ctx, f.id, client.CopyToContainerOptions{DestinationPath: dir, Content: archive})
	return explain(err)
}

// Get makes an archive.
func (f *files) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := f.has(name); err != nil {
		return nil, err
	}
	copied, err := f.driver.Client.CopyFromContainer(ctx, f.id, client.CopyFromContainerOptions{SourcePath: name})
	if errdefs.IsNotFound(err) {
		err = fmt.Errorf("%s: %w", name, bottle.ErrNoFile)
	}
	return copied.Content, err
}

// Close removes what was made for it.
func (f *files) Close() error { return f.close() }
