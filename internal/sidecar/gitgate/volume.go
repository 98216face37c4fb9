package gitgate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// maxVolume bounds what a bottle's pushes take up in the gate's volume, in bytes: those that
// wait, and those that went upstream. The latter stay in the mirror for good, also what no ref
// leads to (a ref that was rewritten since, objects that came along and were not asked for).
const maxVolume = 16 << 30

// volume counts it. The count outlives the gate.
type volume struct {
	dir  string
	most int64

	mu sync.Mutex
}

func (v *volume) file() string { return filepath.Join(v.dir, "pushed-bytes") }

// room says why a push of so many bytes has no place.
func (v *volume) room(size int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	pushed, err := v.pushed()
	if err != nil {
		return errors.New("the gate cannot tell how much was pushed already")
	}
	held := sizeOf(filepath.Join(v.dir, "held"))
	switch {
	case pushed+held+size <= v.most:
		return nil
	case held > 0 && pushed+size <= v.most:
		return fmt.Errorf("too much waits for the operator already (%d MiB): have that decided first", held>>20)
	}
	return fmt.Errorf("all pushes of a bottle may take up %d MiB, and this one goes over that: push less, or ask the operator for another bottle", v.most>>20)
}

// pushed reads the count; 0 where nothing was pushed yet.
func (v *volume) pushed() (int64, error) {
	data, err := os.ReadFile(v.file())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// add counts what is about to stay.
func (v *volume) add(size int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	pushed, err := v.pushed()
	if err != nil {
		return err
	}
	next := v.file() + ".new"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(pushed+size, 10)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, v.file())
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
