// Package state knows every path under $BOT_BOTTLE_HOME/state, and keeps what
// must outlive a bottle: who it is, what was recorded before it was created, and
// its audit log.
//
// A record is written before the first resource is created, so that a crash at any
// instant leaves a trail. Writes are atomic and fsynced. No secret is ever written
// here.
package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// Version of the metadata format.
const Version = 1

// Store is a $BOT_BOTTLE_HOME. It may be used concurrently, also by several
// processes.
type Store struct{ home string }

// Open returns the store under home; nothing is created yet.
func Open(home string) Store { return Store{home} }

// Metadata describes one bottle.
type Metadata struct {
	Version   int        `json:"version"`
	Identity  string     `json:"identity"`
	Agent     string     `json:"agent"`
	Bottle    string     `json:"bottle"`
	Backend   string     `json:"backend"`
	Image     string     `json:"image"`
	Runtime   string     `json:"runtime"`
	Remove    bool       `json:"remove"` // home and workspace go with the agent
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	ExitCode  *int       `json:"exit_code,omitempty"`

	// What a resumed bottle finds as it left it: what stands for its secrets (worthless
	// outside of it), and what the operator was shown, to be compared with.
	Placeholders map[string]string `json:"placeholders,omitempty"`
	Preflight    string            `json:"preflight,omitempty"`

	// Audit is where the audit log ended: at EndedAt, or, while the bottle runs, before
	// this run. It tells of a log that lost its end since, or was written anew.
	Audit *audit.Head `json:"audit,omitempty"`
}

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
	if err := writeAtomic(tmp, []byte(hex.EncodeToString(b[:]))); err != nil { // fsynced: half a name would stay
		return err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Write records m.
func (s Store) Write(m Metadata) error {
	m.Version = Version
	dir := s.Dir(m.Identity)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot record bottle %s: %w", m.Identity, err)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(dir, "metadata.json"), append(data, '\n')); err != nil {
		return fmt.Errorf("cannot record bottle %s: %w", m.Identity, err)
	}
	return nil
}

// Read returns what Write recorded; fs.ErrNotExist when there is nothing.
func (s Store) Read(identity string) (Metadata, error) {
	data, err := os.ReadFile(filepath.Join(s.Dir(identity), "metadata.json"))
	if err != nil {
		return Metadata{}, err
	}
	var m Metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", filepath.Join(s.Dir(identity), "metadata.json"), err)
	}
	return m, nil
}

// End records that the agent ended. The audit log is complete by then.
func (s Store) End(identity string, code *int, now time.Time) error {
	m, err := s.Read(identity)
	if err != nil {
		return err
	}
	m.EndedAt, m.ExitCode = &now, code
	if head := s.AuditHead(identity); head != nil {
		m.Audit = head
	}
	return s.Write(m)
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

func writeAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
