package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// Archive is how an image is carried to a place that has no engine: a tar as docker save and
// podman save write it. What is in one may be anybody's.

// Additions are what is put into an image's archive besides: files of root's, in one more layer.
type Additions struct {
	Files map[string]AddedFile // by absolute path
	Dirs  []string             // absolute, outermost first; made where they are missing
}

// AddedFile is the content of one file.
type AddedFile struct {
	Mode int64
	Size int64
	Open func() (io.ReadCloser, error)
}

// Facts are what was seen of an image on the way.
type Facts struct {
	SHA256 string // of the archive that was written, in hex
	Roots  []byte // its certificate bundle, PEM; empty for none
}

// Bounds of an archive that is read.
const (
	maxMembers = 1 << 16
	maxJSON    = 16 << 20
	maxBundle  = 4 << 20
)

// Repack writes the one image of a docker save archive again, with a layer more, to be run by
// root and without an entry point: who runs it says what. bundle is the path, in the image, of its
// certificates. The archive at from is read several times and must not change meanwhile.
func Repack(from *os.File, to io.Writer, add Additions, bundle string) (f Facts, err error) {
	source, err := openArchive(from)
	if err != nil {
		return f, err
	}
	layer, err := add.layer()
	if err != nil {
		return f, err
	}
	config, err := source.config(layer.diff)
	if err != nil {
		return f, err
	}
	hash := sha256.New()
	w := tar.NewWriter(io.MultiWriter(to, hash))
	manifest := []map[string]any{{"Config": "config.json", "RepoTags": []string{}, "Layers": []string{}}}
	var names []string
	for i, name := range source.layers {
		as := fmt.Sprintf("%04d/layer.tar", i)
		names = append(names, as)
		seen, err := source.copyLayer(w, name, as, bundle)
		if err != nil {
			return f, fmt.Errorf("cannot read layer %s: %w", name, err)
		}
		if seen != nil {
			f.Roots = seen
		}
	}
	names = append(names, fmt.Sprintf("%04d/layer.tar", len(source.layers)))
	manifest[0]["Layers"] = names
	described, err := json.Marshal(manifest)
	if err != nil {
		return f, err
	}
	err = errors.Join(member(w, names[len(names)-1], layer.data), member(w, "config.json", config), member(w, "manifest.json", described))
	if err == nil {
		err = w.Close()
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return f, err
}

func member(w *tar.Writer, name string, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// added is a layer that was made.
type added struct {
	data []byte
	diff string // its digest
}

func (a Additions) layer() (added, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range a.Dirs {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755}); err != nil {
			return added{}, err
		}
	}
	for name, file := range a.Files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: file.Mode, Size: file.Size}); err != nil {
			return added{}, err
		}
		content, err := file.Open()
		if err != nil {
			return added{}, err
		}
		_, err = io.CopyN(w, content, file.Size)
		if err := errors.Join(err, content.Close()); err != nil {
			return added{}, err
		}
	}
	if err := w.Close(); err != nil {
		return added{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return added{b.Bytes(), "sha256:" + hex.EncodeToString(sum[:])}, nil
}

// saved is an archive that is read.
type saved struct {
	file       *os.File
	compressed bool
	layers     []string
	configName string
}

// openArchive reads which layers there are. The archive's one image is the one that is meant.
func openArchive(file *os.File) (*saved, error) {
	s := &saved{file: file}
	var magic [2]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil {
		return nil, fmt.Errorf("cannot read it: %w", err)
	}
	s.compressed = magic == [2]byte{0x1f, 0x8b}
	data, err := s.read("manifest.json")
	if err != nil {
		return nil, fmt.Errorf("it is not what docker save writes: %w", err)
	}
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(data, &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) == 0 {
		return nil, errors.New("it does not hold exactly one image")
	}
	s.configName, s.layers = manifest[0].Config, manifest[0].Layers
	return s, nil
}

// config is the image's own, to be run by root, with one more layer.
func (s *saved) config(diff string) ([]byte, error) {
	data, err := s.read(s.configName)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	var rootfs struct {
		Type  string   `json:"type"`
		Diffs []string `json:"diff_ids"`
	}
	runs := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	if err := json.Unmarshal(all["rootfs"], &rootfs); err != nil || len(rootfs.Diffs) != len(s.layers) {
		return nil, errors.New("the image's configuration does not name its layers")
	}
	if err := json.Unmarshal(all["config"], &runs); err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	rootfs.Diffs = append(rootfs.Diffs, diff)
	for _, gone := range []string{"Entrypoint", "Cmd", "Volumes", "ExposedPorts", "Healthcheck", "OnBuild", "StopSignal", "Shell", "Labels"} {
		delete(runs, gone)
	}
	runs["User"] = json.RawMessage(`"0:0"`)
	for key, value := range map[string]any{"rootfs": rootfs, "config": runs} {
		if all[key], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	for _, gone := range []string{"history", "container", "container_config", "docker_version"} {
		delete(all, gone)
	}
	return json.Marshal(all)
}

// open returns one member, whose end the caller reads to.
func (s *saved) open(name string) (*tar.Header, io.Reader, error) { return s.follow(name, 1) }

func (s *saved) follow(name string, links int) (*tar.Header, io.Reader, error) {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	var in io.Reader = bufio.NewReaderSize(s.file, 1<<20)
	if s.compressed {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, err
		}
		in = unpacked
	} else {
		in = seekable{s.file} // tar skips what is not wanted
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return nil, nil, err
		}
	}
	t := tar.NewReader(in)
	for range maxMembers {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("there is no %s in it", name)
		}
		if err != nil {
			return nil, nil, err
		}
		if path.Clean(h.Name) != path.Clean(name) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			return h, t, nil
		case tar.TypeSymlink: // a layer that an image has twice
			if links > 0 {
				return s.follow(path.Join(path.Dir(name), h.Linkname), links-1)
			}
		}
		return nil, nil, fmt.Errorf("%s is no file", name)
	}
	return nil, nil, errors.New("it has too many files")
}

// seekable lets tar seek over what it does not read.
type seekable struct{ *os.File }

func (s *saved) read(name string) ([]byte, error) {
	h, content, err := s.open(name)
	if err != nil {
		return nil, err
	}
	if h.Size > maxJSON {
		return nil, fmt.Errorf("%s is too large", name)
	}
	return io.ReadAll(content)
}

// copyLayer copies a layer, and returns the certificates in it, nil if it has none.
func (s *saved) copyLayer(w *tar.Writer, name, as, bundle string) ([]byte, error) {
	h, content, err := s.open(name)
	if err != nil {
		return nil, err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: as, Mode: 0o644, Size: h.Size, ModTime: time.Unix(0, 0)}); err != nil {
		return nil, err
	}
	looked, seen := io.Pipe()
	found := make(chan []byte, 1)
	go func() {
		certificates := findIn(looked, strings.TrimPrefix(bundle, "/"))
		_, _ = io.Copy(io.Discard, looked)
		found <- certificates
	}()
	_, err = io.Copy(io.MultiWriter(w, seen), content)
	_ = seen.CloseWithError(err)
	return <-found, err
}

// findIn looks for a regular file in a layer. What cannot be read holds none.
func findIn(layer io.Reader, name string) []byte {
	b := bufio.NewReaderSize(layer, 1<<16)
	var in io.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return nil
		}
		in = unpacked
	}
	var found []byte
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if err != nil {
			return found
		}
		if path.Clean(h.Name) == name && h.Typeflag == tar.TypeReg && h.Size <= maxBundle {
			if data, err := io.ReadAll(t); err == nil {
				found = data
			}
		}
	}
}

// Save copies an image out of the engine, as docker save does. The caller closes it.
func (b Builder) Save(ctx context.Context, id string) (io.ReadCloser, error) {
	return b.Client.ImageSave(ctx, []string{id})
}
