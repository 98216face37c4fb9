package gitgate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// clearLeftovers removes what a git that was killed left in a mirror: locks, which would stop
// every git that comes after it, and objects of pushes and fetches that came to nothing. It is
// for a gate that has just begun: nobody else works in the mirror.
func clearLeftovers(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // there is no mirror yet, or its owner takes it away
			return nil
		}
		if err != nil || !leftover(strings.TrimPrefix(path, dir+"/")) {
			return err
		}
		if err := os.RemoveAll(path); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

// leftover goes by git's names for what is not finished. A branch may begin with tmp_, but none
// ends with .lock (git-check-ref-format(1)).
func leftover(path string) bool {
	name := filepath.Base(path)
	return strings.HasSuffix(name, ".lock") || strings.HasPrefix(path, "objects/") && (strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, ".tmp-"))
}
