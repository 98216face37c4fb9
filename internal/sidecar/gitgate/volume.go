package gitgate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// maxVolume bounds what a bottle's repositories take up on the disk, in bytes: what was
// fetched, what was pushed, and pushes that wait for the operator.
const maxVolume = 32 << 30

// volume is the gate's part of the disk.
type volume struct {
	dir  string
	most int64
}

// used is what it holds now, also what is in quarantine and whatever no ref leads to.
func (v *volume) used() int64 {
	all := v.held()
	for _, dir := range state.Glob(v.dir, "*.git/objects") {
		all += sizeOf(dir)
	}
	return all
}

func (v *volume) held() int64 { return sizeOf(filepath.Join(v.dir, "held")) }

// left is how much more may come.
func (v *volume) left() int64 { return v.most - v.used() }

// errNoRoom is told to whoever pushes what there is no place for.
type errNoRoom struct{ what string }

func (e *errNoRoom) Error() string { return e.what }

// room says why a push of so many bytes, which is in quarantine, has no place.
func (v *volume) room(size int64) error {
	used, held := v.used(), v.held()
	switch {
	case used <= v.most:
		return nil
	case held > 0 && used-held <= v.most:
		return &errNoRoom{fmt.Sprintf("too much waits for the operator already (%d MiB): have that decided first", held>>20)}
	case size > v.most/2:
		return &errNoRoom{fmt.Sprintf("it is too much for the gate, which has %d MiB for all of a bottle's repositories: push less", v.most>>20)}
	}
	return &errNoRoom{fmt.Sprintf("a bottle's repositories may take up %d MiB, and this push goes over that. The gate is clearing up: push again in a minute, and if it is still too much then, ask the operator for another bottle", v.most>>20)}
}

// errTooLarge is that of an upstream which the volume has no room for.
type errTooLarge struct{ most int64 }

func (e *errTooLarge) Error() string {
	return fmt.Sprintf("is too large: a bottle's repositories and all that was pushed may take up %d MiB on the gate's disk, and it does not fit into what is left. Ask the operator for a bottle with fewer repositories, or a smaller one", e.most>>20)
}

// oversize is what an upstream had, and how much room there was for it. It is not fetched again
// until either is other: each time all of it would come, for nothing.
type oversize struct {
	ids  map[string]string
	left int64
}

// cutOff reports whether a git that was to write files of no more than so many bytes into a
// mirror was ended because of that (setrlimit(2), SIGXFSZ): git itself says no more than that
// something is broken.
func cutOff(dir string, most int64) bool {
	return slices.ContainsFunc(state.Glob(dir, "objects/pack/tmp_*"), func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() >= most
	})
}

// sizeOf is what the files below a directory hold, in bytes.
func sizeOf(dir string) int64 {
	var all int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what goes meanwhile takes up nothing
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			all += info.Size()
		}
		return nil
	})
	return all
}

// isNoRoom reports whether clearing up may help.
func isNoRoom(err error) bool {
	return errors.As(err, new(*errNoRoom)) || errors.As(err, new(*errTooLarge))
}
