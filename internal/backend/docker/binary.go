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
	"strconv"
	"strings"

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
	return mount.Mount{Type: mount.TypeVolume, Source: volume, Target: control.BinaryDir, ReadOnly: true, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}
}

// binaryVolume names the volume that holds this very binary, for its content and for its
// owner, who fills it and removes it. The hash
// of a file that has not changed since is remembered: it takes longer than all else
// that this process does in a start.
func (d *Driver) binaryVolume() (string, error) {
	info, err := os.Stat(d.Binary)
	if err != nil {
		return "", fmt.Errorf("cannot read our own binary for the bottle: %w", err)
	}
	owner, err := d.State.Owner()
	if err != nil {
		return "", err
	}
	mark := d.cacheFile("binary", owner, d.Binary, strconv.FormatInt(info.Size(), 10), strconv.FormatInt(info.ModTime().UnixNano(), 10))
	if name, err := os.ReadFile(mark); err == nil && strings.HasPrefix(string(name), binaryVolumePrefix) {
		return string(name), nil
	}
	sum, err := hashFile(d.Binary)
	if err != nil {
		return "", fmt.Errorf("cannot read our own binary for the bottle: %w", err)
	}
	name := binaryVolumePrefix + sum[:12] + "-" + owner[:8]
	return name, remember(mark, []byte(name))
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

const binaryVolumePrefix = "bot-bottle-bin-"

// ensureBinary returns the volume, filled. That it was filled is remembered on this
// side; who finds that the memory is wrong calls forgetBinary and tries again. One
// process fills at a time: a binary that is being written cannot be run.
func (d *Driver) ensureBinary(ctx context.Context, p Plan, image string, say bottle.Progress) (string, error) {
	volume, err := d.binaryVolume()
	if err != nil {
		return "", err
	}
	if filled(d.filledMark(p, volume)) {
		return volume, nil
	}
	unlock, err := d.State.CacheLock(ctx, "binary")
	if err != nil {
		return "", err
	}
	defer unlock()
	if filled(d.filledMark(p, volume)) {
		return volume, nil
	}
	say.Say("copying bot-bottle to the engine")
	if err := d.fillBinary(ctx, p, image, volume); err != nil {
		return "", fmt.Errorf("cannot copy bot-bottle to the engine: %w", err)
	}
	return volume, remember(d.filledMark(p, volume), nil)
}

func filled(mark string) bool {
	_, err := os.Stat(mark)
	return err == nil
}

func (d *Driver) filledMark(p Plan, volume string) string {
	return d.cacheFile("filled", p.Engine, volume)
}

func (d *Driver) forgetBinary(p Plan, volume string) { _ = os.Remove(d.filledMark(p, volume)) }

// fillBinary copies the binary in through a container that is never started.
func (d *Driver) fillBinary(ctx context.Context, p Plan, image, volume string) (err error) {
	writable := binaryMount(volume)
	writable.ReadOnly = false
	writable.VolumeOptions = &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{labelOwner: p.Owner, labelRole: string(roleBinary)}}
	id, err := d.create(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Labels: p.labels(roleHelper), Entrypoint: []string{control.Binary}},
		HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{writable}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.removeContainer(ctx, id)) }()
	archive, err := d.binaryArchive(filepath.Base(control.Binary))
	if err != nil {
		return err
	}
	_, err = d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: control.BinaryDir, Content: archive})
	return err
}

// binaryArchive is a tar with the binary in it, under a name, for all to run.
func (d *Driver) binaryArchive(name string) (*bytes.Buffer, error) {
	data, err := os.ReadFile(d.Binary)
	if err != nil {
		return nil, err
	}
	archive := &bytes.Buffer{}
	t := tar.NewWriter(archive)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := t.Write(data); err != nil {
		return nil, err
	}
	return archive, t.Close()
}
