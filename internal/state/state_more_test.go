package state

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whoever reads while a record is written sees one record or the other, whole, and who has opened
// one reads that to its end.
func TestWriteIsAtomic(t *testing.T) {
	s := Open(t.TempDir())
	names := []string{strings.Repeat("a", 10), strings.Repeat("b", 100000)}
	if err := s.Write(Metadata{Identity: "dev-aaaaaa", Agent: names[0]}); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(s.recordFile("dev-aaaaaa"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	if err := s.Write(Metadata{Identity: "dev-aaaaaa", Agent: names[1]}); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(opened); err != nil || !strings.Contains(string(data), names[0]) || strings.Contains(string(data), "bbb") {
		t.Errorf("what was opened before is written over: %.200s, %v", data, err)
	}
	var writers sync.WaitGroup
	done := make(chan struct{})
	for _, name := range names {
		writers.Go(func() {
			for range 50 {
				if err := s.Write(Metadata{Identity: "dev-aaaaaa", Agent: name}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
			if m, err := s.Read("dev-aaaaaa"); err != nil || !slices.Contains(names, m.Agent) {
				t.Errorf("got %.20s…, %v", m.Agent, err)
				reading = false
			}
		}
	}
	<-done
	entries, err := os.ReadDir(s.Dir("dev-aaaaaa"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "metadata.json" {
		t.Errorf("got %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(s.Dir("dev-aaaaaa"), "metadata.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
}

// A write that cannot be finished leaves the record as it was, and nothing beside it.
func TestAFailedWriteChangesNothing(t *testing.T) {
	home := t.TempDir()
	target := filepath.Join(home, "metadata.json")
	if err := os.MkdirAll(filepath.Join(target, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(target, []byte("x")); err == nil {
		t.Error("a directory was written over")
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v", entries, err)
	}
}

// What is written and the format's version: who reads it later depends on these names.
func TestMetadataOnDisk(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.Write(Metadata{Version: 7, Identity: "dev-aaaaaa", Agent: "dev", Bottle: "b", Backend: "docker", Image: "i", Runtime: "runc", Remove: true}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.Dir("dev-aaaaaa"), "metadata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"version": float64(Version), "identity": "dev-aaaaaa", "agent": "dev", "bottle": "b", "backend": "docker", "image": "i", "runtime": "runc", "remove": true, "started_at": "0001-01-01T00:00:00Z",
	} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
		delete(got, key)
	}
	if len(got) != 0 {
		t.Errorf("also %v", got)
	}
}

func TestRemove(t *testing.T) {
	home := t.TempDir()
	s := Open(home)
	for _, identity := range []string{"dev-aaaaaa", "dev-bbbbbb"} {
		if err := s.Write(Metadata{Identity: identity}); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(home, "state", removed+"by a crash")
	if err := os.MkdirAll(filepath.Join(left, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.Identities(); err != nil || !slices.Equal(ids, []string{"dev-aaaaaa", "dev-bbbbbb"}) {
		t.Errorf("got %v, %v", ids, err)
	}
	if err := errors.Join(s.Remove("dev-aaaaaa"), s.Remove("dev-aaaaaa")); err != nil {
		t.Error(err)
	}
	if ids, err := s.Identities(); err != nil || !slices.Equal(ids, []string{"dev-bbbbbb"}) {
		t.Errorf("got %v, %v", ids, err)
	}
	if _, err := s.Read("dev-aaaaaa"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a crash left is there: %v", err)
	}
}

func TestNothingIsCreatedByReading(t *testing.T) {
	home := filepath.Join(t.TempDir(), "none")
	s := Open(home)
	if ids, err := s.Identities(); err != nil || len(ids) != 0 {
		t.Errorf("got %v, %v", ids, err)
	}
	if _, err := s.Read("dev-aaaaaa"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if s.Locked("dev-aaaaaa") {
		t.Error("locked by nobody")
	}
	if err := s.End("dev-aaaaaa", Ending{At: time.Time{}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := s.Remove("dev-aaaaaa"); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}
