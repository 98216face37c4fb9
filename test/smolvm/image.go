//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// firstID is where a guest's users begin on the host, and idCount how many it has.
const (
	firstID = 200000
	idCount = 65536
)

// imageConfig is what an image says of itself.
type imageConfig struct {
	Config struct {
		User                 string
		Env, Entrypoint, Cmd []string
		WorkingDir           string
	} `json:"config"`
}

// images is shared by data directories where $SMOLVM_DATA_DIR/images is a link.
func (s *store) images() string { return filepath.Join(s.dir, "images") }

// keepArchive hashes an archive, and keeps a link to it or a copy.
func (s *store) keepArchive(name string) (string, error) {
	from := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	hash := sha256.New()
	if name == "-" {
		return "", errors.New("the stand-in reads no archive from stdin")
	}
	if _, err := io.Copy(hash, from); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	kept := filepath.Join(s.images(), sum, "archive.tar")
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return "", err
	}
	if _, err := os.Stat(kept); err == nil {
		return sum, nil
	}
	err := os.Link(name, kept)
	if err != nil && !errors.Is(err, os.ErrExist) {
		err = copyFile(name, kept)
	}
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	return sum, err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// unpacked returns the root file system of an archive, unpacked once, and what the image says.
func (s *store) unpacked(sum string) (rootfs string, c imageConfig, err error) {
	dir := filepath.Join(s.images(), sum)
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", c, err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", c, err
	}
	rootfs, said := filepath.Join(dir, "rootfs"), filepath.Join(dir, "config.json")
	if _, err := os.Stat(said); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "Flattening image layers...")
		if err := os.RemoveAll(rootfs); err != nil {
			return "", c, err
		}
		if err := unpack(filepath.Join(dir, "archive.tar"), rootfs, said); err != nil {
			return "", c, err
		}
	}
	data, err := os.ReadFile(said)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return rootfs, c, err
}

// unpack writes the layers of what docker save made over one another, and then the image's own
// words.
func unpack(archive, rootfs, said string) error {
	var manifest []struct {
		Config string
		Layers []string
	}
	data, err := member(archive, "manifest.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &manifest); err != nil || len(manifest) != 1 {
		return fmt.Errorf("manifest.json names no single image: %w", err)
	}
	words, err := member(archive, manifest[0].Config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := root.Lchown(".", firstID, firstID); err != nil {
		return err
	}
	for _, layer := range manifest[0].Layers {
		if err := within(archive, layer, func(r io.Reader) error { return apply(root, r) }); err != nil {
			return fmt.Errorf("layer %s: %w", layer, err)
		}
	}
	return os.WriteFile(said, words, 0o644)
}

// within reads one member of an archive.
func within(archive, name string, read func(io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	plain, err := plain(f)
	if err != nil {
		return err
	}
	for t := tar.NewReader(plain); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s has no %s", archive, name)
		}
		if err != nil {
			return err
		}
		if path.Clean(h.Name) == path.Clean(name) && h.Typeflag == tar.TypeReg {
			return read(t)
		}
	}
}

func member(archive, name string) (data []byte, err error) {
	err = within(archive, name, func(r io.Reader) (err error) { data, err = io.ReadAll(io.LimitReader(r, 16<<20)); return err })
	return data, err
}

// plain undoes gzip, where there is any.
func plain(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		return gzip.NewReader(b)
	}
	return b, nil
}

func apply(root *os.Root, layer io.Reader) error {
	layer, err := plain(layer)
	if err != nil {
		return err
	}
	for t := tar.NewReader(layer); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := place(root, h, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// place puts one entry where it belongs. os.Root lets no link lead out.
func place(root *os.Root, h *tar.Header, content io.Reader) (err error) {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil
	}
	if gone, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
		if gone == ".wh..opq" {
			return nil // none of our images has one
		}
		return root.RemoveAll(path.Join(path.Dir(name), gone))
	}
	if h.Typeflag != tar.TypeDir {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	case tar.TypeReg:
		var f *os.File
		if f, err = root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		err = errors.Join(err, f.Close())
	case tar.TypeSymlink:
		err = root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	default:
		return nil // devices are made at the start
	}
	if err == nil {
		err = root.Lchown(name, firstID+h.Uid, firstID+h.Gid)
	}
	if err == nil && h.Typeflag != tar.TypeSymlink {
		err = root.Chmod(name, h.FileInfo().Mode()&(os.ModePerm|os.ModeSetuid|os.ModeSetgid|os.ModeSticky))
	}
	return err
}
