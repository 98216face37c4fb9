package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// maxBundle bounds what an image may call its certificate bundle.
const maxBundle = 4 << 20

// imageBundle returns the certificates that an image trusts. An image is immutable,
// so its id is the key of the cache.
func (d *Driver) imageBundle(ctx context.Context, p Plan, id string) ([]byte, error) {
	cached := d.cacheFile("bundle", id)
	if data, err := os.ReadFile(cached); err == nil {
		return data, nil
	}
	data, err := d.readBundle(ctx, p, id)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificates of image %s: %w", id, err)
	}
	return data, remember(cached, data)
}

func (d *Driver) readBundle(ctx context.Context, p Plan, image string) (data []byte, err error) {
	id, err := d.create(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Entrypoint: []string{"/"}, Labels: p.labels(roleHelper)},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.removeContainer(ctx, id)) }()
	file := provision.SystemBundle
	for range 4 { // a bundle may be behind a symbolic link inside the image
		var link string
		data, link, err = d.readFile(ctx, id, file)
		if err != nil || link == "" {
			return data, err
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(file), link)
		}
		file = link
	}
	return nil, errors.New("too many symbolic links")
}

// readFile reads a regular file out of a container, or the target of a link. A
// missing file is empty: an image need not trust anybody.
func (d *Driver) readFile(ctx context.Context, id, file string) (data []byte, link string, err error) {
	copied, err := d.Client.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: file})
	if errdefs.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = copied.Content.Close() }()
	archive := tar.NewReader(copied.Content)
	header, err := archive.Next()
	if err != nil {
		return nil, "", err
	}
	if header.Typeflag == tar.TypeSymlink {
		return nil, header.Linkname, nil
	}
	if header.Typeflag != tar.TypeReg || header.Size > maxBundle {
		return nil, "", fmt.Errorf("%s is not a regular file of at most %d bytes", file, maxBundle)
	}
	data, err = io.ReadAll(archive)
	return data, "", err
}
