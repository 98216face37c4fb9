package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process is at work on the bottle.
var ErrLocked = errors.New("another bot-bottle is at work on it")

// Lock takes the bottle for this process until release, or fails with ErrLocked.
// The kernel releases it when the process dies (flock(2)), so whatever is unlocked
// and half made is an orphan, and whatever is locked is in progress. The state
// directory is created if it is missing.
func (s Store) Lock(identity string) (release func(), err error) {
	if err := os.MkdirAll(s.Dir(identity), 0o700); err != nil {
		return nil, fmt.Errorf("cannot record bottle %s: %w", identity, err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir(identity), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("bottle %s: %w", identity, ErrLocked)
	}
	return func() { _ = f.Close() }, nil
}

// Locked reports whether a process is at work on the bottle.
func (s Store) Locked(identity string) bool {
	f, err := os.Open(filepath.Join(s.Dir(identity), "lock"))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// CacheLock waits for a lock on something in the cache. The kernel releases it with
// the process.
func (s Store) CacheLock(ctx context.Context, name string) (release func(), err error) {
	if err := os.MkdirAll(s.CacheDir(), 0o700); err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.CacheDir(), name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
