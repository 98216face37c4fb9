// Package state knows every path under $BOT_BOTTLE_HOME/state, and keeps what
// must outlive a bottle: who it is, what was recorded before it was created, and
// its audit log.
//
// A record is written before the first resource is created, so that a crash at any
// instant leaves a trail. Writes are atomic and fsynced, formats have versions, and what an
// other version wrote beside what this one knows is kept. A damaged file is reported and set
// aside, never dropped. No secret is ever written here.
package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a $BOT_BOTTLE_HOME. It may be used concurrently, also by several
// processes.
type Store struct{ home string }

// Open returns the store under home; nothing is created yet.
func Open(home string) Store { return Store{home} }

// Dir is where a bottle's state is.
func (s Store) Dir(identity string) string { return filepath.Join(s.home, "state", identity) }

// AuditFile is where a bottle's audit log is kept.
func (s Store) AuditFile(identity string) string {
	return filepath.Join(s.Dir(identity), "audit.jsonl")
}

// CacheDir is safe to delete.
func (s Store) CacheDir() string { return filepath.Join(s.home, "cache") }

// Owner is a random name of this $BOT_BOTTLE_HOME, made at first use. Resources
// carry it, so that no other user's are ever touched, on a shared or remote engine
// either.
func (s Store) Owner() (string, error) {
	path := filepath.Join(s.home, "state", "owner")
	for {
		data, err := os.ReadFile(path)
		if err == nil && len(data) == 16 {
			return string(data), nil
		}
		if err == nil {
			return "", fmt.Errorf("%s is damaged: it must hold 16 characters", path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := s.mint(path); err != nil {
			return "", err
		}
	}
}

// mint creates the owner file whole or not at all: a link to an existing name fails.
func (s Store) mint(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	var b [8]byte
	_, _ = rand.Read(b[:])
	tmp := path + "." + hex.EncodeToString(b[:4])
	defer func() { _ = os.Remove(tmp) }()
	if err := WriteFile(tmp, []byte(hex.EncodeToString(b[:]))); err != nil { // fsynced: half a name would stay
		return err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Identities lists the bottles that have state, sorted.
func (s Store) Identities() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.home, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), removed) {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// removed begins the names of directories on their way out.
const removed = ".removed-"

// Remove forgets a bottle. Its directory goes in one step, with its lock in it, so that
// whoever takes the identity next begins with nothing.
func (s Store) Remove(identity string) error {
	var b [8]byte
	_, _ = rand.Read(b[:])
	out := filepath.Join(s.home, "state", removed+hex.EncodeToString(b[:]))
	if err := os.Rename(s.Dir(identity), out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the record of bottle %s: %w", identity, err)
	}
	return s.sweep()
}

// RemoveUnrecorded removes the directory that a lock made for a bottle without a record, for who has
// that lock. A log that somebody may want to read stays.
func (s Store) RemoveUnrecorded(identity string) error {
	if _, err := s.Read(identity); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if head := s.AuditHead(identity); head != nil && head.Lines > 0 {
		return nil
	}
	return s.Remove(identity)
}

// Removed are the directories that were on their way out when a crash came, with when they
// were last touched. Remove of such a name deletes it.
func (s Store) Removed() map[string]time.Time {
	entries, err := os.ReadDir(filepath.Join(s.home, "state"))
	if err != nil {
		return nil
	}
	all := map[string]time.Time{}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), removed) {
			all[entry.Name()] = info.ModTime().UTC()
		}
	}
	return all
}

// Bytes is how much a bottle's state holds, nil if that cannot be told.
func (s Store) Bytes(identity string) *int64 {
	var sum int64
	err := filepath.WalkDir(s.Dir(identity), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		return nil
	}
	return &sum
}

// sweep deletes what Remove took away, also where a crash came between.
func (s Store) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.home, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), removed) {
			err = errors.Join(err, removeAll(filepath.Join(s.home, "state", entry.Name())))
		}
	}
	return err
}

// removeAll deletes a directory that has just got another name. Who was on the way to the
// lock in it may still make that file, once each, while it is being emptied.
func removeAll(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
	}
	return err
}
