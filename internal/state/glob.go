package state

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Glob lists the files below a directory whose names there match a pattern (path/filepath.Match), in order.
// The directory's own name, which is the operator's, is no pattern.
func Glob(dir, pattern string) []string {
	all, _ := fs.Glob(os.DirFS(dir), pattern) // the pattern is ours
	for i, name := range all {
		all[i] = filepath.Join(dir, name)
	}
	return all
}
