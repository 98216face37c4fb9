package login

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// place is room on the disk for what will take a file's place. It is made before a token is spent
// on what goes there: a full disk, or a directory that cannot be written to, shows before.
type place struct {
	path  string // of the file, behind all links: a link stays a link
	fresh *os.File
}

// freshMark is in the names of new versions, behind the file's.
const freshMark = ".bot-bottle-new-"

// takeUp looks for what processes that were killed have left beside a file: what is whole, and later than
// the file, takes its place; the rest goes. Nobody else is at it.
func takeUp(path string, whole func(string) bool) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	there, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, entry := range there {
		if !strings.HasPrefix(entry.Name(), filepath.Base(path)+freshMark) {
			continue
		}
		left := filepath.Join(filepath.Dir(path), entry.Name())
		if whole(left) && later(left, path) {
			err = errors.Join(err, os.Rename(left, path))
			continue
		}
		err = errors.Join(err, os.Remove(left))
	}
	return err
}

func later(one, two string) bool {
	first, err1 := os.Stat(one)
	second, err2 := os.Stat(two)
	return err1 == nil && err2 == nil && first.ModTime().After(second.ModTime())
}

// room is more than an answer of the endpoint takes up.
const room = 64 << 10

// reserve makes room for a new version of a file. The caller closes it.
func reserve(path string) (_ *place, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	p := &place{path: path}
	if p.fresh, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+freshMark); err != nil {
		return nil, err
	}
	_, err = p.fresh.Write(make([]byte, room))
	if err := errors.Join(err, p.fresh.Sync()); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// fill has data take the file's place, at once and as a whole.
func (p *place) fill(data []byte, mode os.FileMode) error {
	_, err := p.fresh.WriteAt(data, 0)
	err = errors.Join(err, p.fresh.Truncate(int64(len(data))), p.fresh.Chmod(mode), p.fresh.Sync())
	if err != nil {
		return err
	}
	if err := os.Rename(p.fresh.Name(), p.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(p.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// close gives back what was not filled.
func (p *place) close() {
	_ = p.fresh.Close()
	_ = os.Remove(p.fresh.Name()) // it is not there once it was filled
}
