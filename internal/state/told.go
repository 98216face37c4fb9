package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FirstToTell reports whether nobody has told the operator yet of a bottle's request with this
// number, and notes that the caller does. Of all processes that follow a bottle, one is told
// so. Numbers go up.
func (s Store) FirstToTell(identity string, number int) (first bool, err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir(identity), "told"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return false, err
	}
	if last, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && number <= last {
		return false, nil
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(number)+"\n"), 0)
	return err == nil, err
}
