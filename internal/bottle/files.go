package bottle

import (
	"context"
	"errors"
	"io"
)

// ErrNoFile is the answer for a path that a bottle does not have.
var ErrNoFile = errors.New("no such file or directory")

// Files are those of a bottle, running or not. Paths are absolute and are resolved in the
// bottle, so no link of its own leads out of it. What comes out is hostile.
type Files interface {
	// Stat looks at a file, and at what it is a link to. The error is ErrNoFile if there is none.
	Stat(ctx context.Context, path string) (FileInfo, error)
	// Put unpacks an archive (tar) in a directory.
	Put(ctx context.Context, dir string, archive io.Reader) error
	// Get is an archive of a file or a tree, which comes first in it. A link is not followed. The
	// caller closes it.
	Get(ctx context.Context, path string) (io.ReadCloser, error)
	// Close lets go of them; a bottle that does not run can be resumed then.
	Close() error
}

// FileInfo is what Stat sees.
type FileInfo struct {
	Path string // after links
	Dir  bool
}
