package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// What this side remembers so that a start need not ask again. Everything here may be
// deleted at any time, and may be wrong after somebody tidied up the engine.

// cacheFile is a file name that is different for each combination of keys.
func (d *Driver) cacheFile(keys ...string) string {
	hash := sha256.New()
	for _, key := range keys {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(key), key)
	}
	return filepath.Join(d.State.CacheDir(), "docker", hex.EncodeToString(hash.Sum(nil))[:32])
}

// remember writes a small file, whole or not at all.
func remember(path string, data []byte) error {
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
