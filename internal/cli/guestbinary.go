package cli

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// guestBinary is what runs inside: ourselves on Linux, elsewhere the Linux build that is
// carried inside this binary, or installed beside it.
func (a *App) guestBinary() (string, error) {
	self, err := a.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find our own binary: %w", err)
	}
	if runtime.GOOS == "linux" {
		return self, nil
	}
	name := "bot-bottle-linux-" + runtime.GOARCH
	if packed, err := fs.ReadFile(carried(), "guest/"+name+".gz"); err == nil {
		return a.unpackGuest(name, packed)
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err != nil {
		return "", &noGuest{beside}
	}
	return beside, nil
}

// noGuest is a build without what runs in a bottle.
type noGuest struct{ beside string }

func (e *noGuest) Error() string {
	return "this build of bot-bottle carries no Linux build for the bottle, and there is none at " + e.beside
}

// Hint says where one comes from.
func (e *noGuest) Hint() string {
	return "use a release, or build one: GOOS=linux CGO_ENABLED=0 go build -o " + e.beside + " ./cmd/bot-bottle"
}

// unpackGuest puts the Linux build into the cache, under a name that tells its content, and
// looks at what is there already before it is used.
func (a *App) unpackGuest(name string, packed []byte) (string, error) {
	sum := sha256.Sum256(packed)
	path := filepath.Join(a.store().CacheDir(), name+"-"+hex.EncodeToString(sum[:6]))
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", fmt.Errorf("cannot unpack the Linux build: %w", err)
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		return "", fmt.Errorf("cannot unpack the Linux build: %w", err)
	}
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		return path, nil
	}
	return path, putProgram(path, data)
}

// putProgram writes a program where others may be running the old one.
func putProgram(path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".guest-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
