package smolmachines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// archive is an image as smolvm takes it: what docker save writes, with our binary in it.
type archive struct {
	Path  string
	ID    string // of the image that it was made of
	SHA   string `json:"sha256"`
	Roots []byte `json:"roots"` // what the image trusts
}

// mostArchives is how many are kept: smolvm has a link or a copy of its own of each that a
// machine was made of.
const mostArchives = 4

// imageArchive returns the archive of the image that the agent runs, made if it is missing.
func (d *Driver) imageArchive(ctx context.Context, p Plan, say bottle.Progress) (archive, error) {
	id, save, err := d.source(ctx, p, say)
	if err != nil {
		return archive{}, err
	}
	key, err := d.archiveKey(id)
	if err != nil {
		return archive{}, err
	}
	if a, err := d.cached(key); err == nil {
		return a, nil
	}
	unlock, err := d.State.CacheLock(ctx, "archive-"+key)
	if err != nil {
		return archive{}, err
	}
	defer unlock()
	if a, err := d.cached(key); err == nil {
		return a, nil
	}
	say.Say("copying image " + p.Image + " for virtual machines (once)")
	a, err := d.makeArchive(ctx, key, id, save)
	if err != nil {
		return archive{}, fmt.Errorf("cannot make an archive of image %s: %w", p.Image, err)
	}
	d.tidyArchives(key)
	return a, nil
}

// source names what an archive is made of, and how to read it.
func (d *Driver) source(ctx context.Context, p Plan, say bottle.Progress) (id string, save func() (io.ReadCloser, error), err error) {
	if p.Archive != "" {
		sum, err := hashFile(ctx, p.Archive)
		return "archive:" + sum, func() (io.ReadCloser, error) { return os.Open(p.Archive) }, err
	}
	if d.Images == nil {
		return "", nil, d.Engine
	}
	made, err := p.MakeImage(ctx, d.Images, say)
	return made.ID, func() (io.ReadCloser, error) { return d.Images.Save(ctx, made.ID) }, err
}

// archiveKey is different for each image and each binary of ours.
func (d *Driver) archiveKey(id string) (string, error) {
	info, err := os.Stat(d.Binary)
	if err != nil {
		return "", fmt.Errorf("cannot read our own binary for the bottle: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "1\n%s\n%d\n%d\n", id, info.Size(), info.ModTime().UnixNano()))
	return hex.EncodeToString(sum[:16]), nil
}

func (d *Driver) archives() string { return filepath.Join(d.State.CacheDir(), "archives") }

func (d *Driver) cached(key string) (a archive, err error) {
	data, err := os.ReadFile(filepath.Join(d.archives(), key+".json"))
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, err
	}
	a.Path = filepath.Join(d.archives(), key+".tar")
	_, err = os.Stat(a.Path)
	_ = os.Chtimes(a.Path, time.Time{}, d.Now()) // it is in use
	return a, err
}

// makeArchive writes the archive, and what is known of it last.
func (d *Driver) makeArchive(ctx context.Context, key, id string, save func() (io.ReadCloser, error)) (a archive, err error) {
	if err := os.MkdirAll(d.archives(), 0o700); err != nil {
		return a, err
	}
	from, err := d.spool(ctx, save)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, from.Close(), os.Remove(from.Name())) }()
	out, err := os.CreateTemp(d.archives(), ".tmp-*")
	if err != nil {
		return a, err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	facts, err := image.Repack(from, out, d.additions(), provision.SystemBundle)
	if err := errors.Join(err, out.Close(), ctx.Err()); err != nil {
		return a, err
	}
	a = archive{Path: filepath.Join(d.archives(), key+".tar"), ID: id, SHA: facts.SHA256, Roots: facts.Roots}
	if err := os.Rename(out.Name(), a.Path); err != nil {
		return a, err
	}
	data, err := json.Marshal(a)
	if err != nil {
		return a, err
	}
	return a, state.WriteFile(filepath.Join(d.archives(), key+".json"), data)
}

// spool copies what is saved to a file: its table of contents is at its end.
func (d *Driver) spool(ctx context.Context, save func() (io.ReadCloser, error)) (*os.File, error) {
	in, err := save()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	defer context.AfterFunc(ctx, func() { _ = in.Close() })()
	file, err := os.CreateTemp(d.archives(), ".tmp-*")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, in); err != nil {
		return nil, errors.Join(because(ctx, err), file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

// additions are our binary, and the directories that a bottle has.
func (d *Driver) additions() image.Additions {
	a := image.Additions{Dirs: []string{"/opt", control.BinaryDir, "/etc/bot-bottle", "/workspace"}, Files: map[string]image.AddedFile{}}
	if info, err := os.Stat(d.Binary); err == nil {
		a.Files[control.Binary] = image.AddedFile{Mode: 0o755, Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(d.Binary) }}
	}
	return a
}

// untouched is how long nobody writes to a half that was left by a crash.
const untouched = time.Hour

// tidyArchives removes those that were not used for longest, and halves of others.
func (d *Driver) tidyArchives(but string) {
	for _, file := range state.Glob(d.archives(), ".tmp-*") {
		if info, err := os.Stat(file); err == nil && d.Now().Sub(info.ModTime()) > untouched {
			_ = os.Remove(file)
		}
	}
	files := state.Glob(d.archives(), "*.tar")
	age := func(file string) time.Time {
		info, err := os.Stat(file)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(files, func(a, b string) int { return age(b).Compare(age(a)) })
	for i, file := range files {
		key := file[:len(file)-len(path.Ext(file))]
		if i >= mostArchives && filepath.Base(key) != but {
			_, _ = os.Remove(key+".json"), os.Remove(file)
		}
	}
}

// hashFile is the SHA-256 of a file, in hex.
func hashFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", because(ctx, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// because is why a copy failed whose file is closed when ctx ends.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// verify makes sure that an archive is as it was made.
func (a archive) verify(ctx context.Context) error {
	sum, err := hashFile(ctx, a.Path)
	if err != nil {
		return err
	}
	if sum != a.SHA {
		_ = os.Remove(a.Path)
		return withHint("start again: it is made anew", "the archive %s was changed since it was made, or a crash has cut it short; it has been removed", a.Path)
	}
	return nil
}

// MakeImages implements bottle.Driver.
func (d *Driver) MakeImages(ctx context.Context, p Plan, say bottle.Progress) error {
	_, err := d.imageArchive(ctx, p, say)
	return err
}
