package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Our binary gets into both containers through a volume that is filled once per
// version: images then do not change with us, and a bind mount would not work with a
// remote engine.

func binaryMount(volume string) mount.Mount {
	return mount.Mount{Type: mount.TypeVolume, Source: volume, Target: control.BinaryDir, ReadOnly: true}
}

// binaryVolume names the volume that holds this very binary.
func (d *Driver) binaryVolume() (string, error) {
	f, err := os.Open(d.Binary)
	if err != nil {
		return "", fmt.Errorf("cannot read our own binary for the bottle: %w", err)
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", fmt.Errorf("cannot read our own binary for the bottle: %w", err)
	}
	return binaryVolumePrefix + hex.EncodeToString(hash.Sum(nil))[:16], nil
}

const binaryVolumePrefix = "bot-bottle-bin-"

// ensureBinary returns the volume, filled. That it was filled is remembered on this
// side; who finds that the memory is wrong calls forgetBinary and tries again.
func (d *Driver) ensureBinary(ctx context.Context, p Plan, image string, say bottle.Progress) (string, error) {
	volume, err := d.binaryVolume()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(d.filledMark(p, volume)); err == nil {
		return volume, nil
	}
	say.Say("copying bot-bottle to the engine")
	if err := d.fillBinary(ctx, p, image, volume); err != nil {
		return "", fmt.Errorf("cannot copy bot-bottle to the engine: %w", err)
	}
	return volume, d.remember(d.filledMark(p, volume), nil)
}

func (d *Driver) filledMark(p Plan, volume string) string {
	return filepath.Join(d.State.CacheDir(), "docker", cacheName(p.Engine, volume))
}

func (d *Driver) forgetBinary(p Plan, volume string) { _ = os.Remove(d.filledMark(p, volume)) }

// fillBinary copies the binary in through a container that is never started.
func (d *Driver) fillBinary(ctx context.Context, p Plan, image, volume string) (err error) {
	labels := map[string]string{labelOwner: p.Owner, labelRole: string(roleBinary)}
	writable := binaryMount(volume)
	writable.ReadOnly = false
	writable.VolumeOptions = &mount.VolumeOptions{Labels: labels, NoCopy: true}
	created, err := d.Client.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Labels: labels, Entrypoint: []string{control.Binary}},
		HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{writable}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.removeContainer(ctx, created.ID)) }()
	data, err := os.ReadFile(d.Binary)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	t := tar.NewWriter(&archive)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(control.Binary), Mode: 0o755, Size: int64(len(data))}); err != nil {
		return err
	}
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	_, err = d.Client.CopyToContainer(ctx, created.ID, client.CopyToContainerOptions{DestinationPath: control.BinaryDir, Content: &archive})
	return err
}

// remember writes a small file into the cache.
func (d *Driver) remember(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// cacheName is a file name that is different for each combination of keys.
func cacheName(keys ...string) string {
	hash := sha256.New()
	for _, key := range keys {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(key), key)
	}
	return hex.EncodeToString(hash.Sum(nil))[:32]
}
