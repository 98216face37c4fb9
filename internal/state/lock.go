package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process is at work on the bottle.
var ErrLocked error = lockedError{}

type lockedError struct{}

func (lockedError) Error() string { return "another bot-bottle is at work on it" }

// Hint says what to do.
func (lockedError) Hint() string { return "wait for it to be done, or interrupt it" }

// Lock takes the bottle for this process until release, or fails with ErrLocked.
// The kernel releases it when the process dies (flock(2)), so whatever is unlocked
// and half made is an orphan, and whatever is locked is in progress. The state
// directory is created if it is missing.
func (s Store) Lock(identity string) (release func(), err error) {
	path := filepath.Join(s.Dir(identity), "lock")
	for {
		if err := makeDir(s.Dir(identity)); err != nil {
			return nil, fmt.Errorf("cannot record bottle %s: %w", identity, err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Remove was faster
		}
		if err != nil {
			return nil, fmt.Errorf("cannot record bottle %s: %w", identity, err)
		}
		held, err := takeAt(f, path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("bottle %s: %w", identity, err), f.Close())
		}
		if held {
			return func() { giveUp(f) }, nil
		}
		_ = f.Close()
	}
}

// giveUp unlocks f, also where a child of ours that was just forked has a copy of it still.
func giveUp(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close()
}

// takeAt locks f, which was opened at path. A lock on what Remove took away meanwhile keeps
// nobody out: then it is not held.
func takeAt(f *os.File, path string) (held bool, err error) {
	if err := take(f); err != nil {
		return false, err
	}
	return isAt(f, path), nil
}

// take locks f, or fails with ErrLocked. Who only asks whether it is locked holds a
// shared lock for an instant, which does not count.
func take(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
			return ErrLocked
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			return err
		}
	}
}

// isAt reports whether path still names f.
func isAt(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
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
	return s.cacheLock(ctx, name, unix.LOCK_EX)
}

// CacheShare waits for a lock that any number share, and that keeps CacheLock out.
func (s Store) CacheShare(ctx context.Context, name string) (release func(), err error) {
	return s.cacheLock(ctx, name, unix.LOCK_SH)
}

func (s Store) cacheLock(ctx context.Context, name string, how int) (release func(), err error) {
	if err := os.MkdirAll(s.CacheDir(), 0o700); err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.CacheDir(), name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
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
