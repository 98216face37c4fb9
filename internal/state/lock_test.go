package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// Whoever removes a bottle deletes its lock file under those who are about to take it:
// still never two hold it at once.
func TestLockIsForOneEvenWhereItsFileIsDeleted(t *testing.T) {
	s := Open(t.TempDir())
	var holders, taken atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				release, err := s.Lock("dev-aaaaaa")
				if err != nil {
					continue // another's turn, or the directory went meanwhile
				}
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				taken.Add(1)
				holders.Add(-1) // with Remove it is given up
				if err := s.Remove("dev-aaaaaa"); err != nil {
					t.Error(err)
				}
				release()
			}
		})
	}
	all.Wait()
	if taken.Load() == 0 {
		t.Error("nobody ever had it")
	}
}

// Whoever only asks does not keep out who wants to work.
func TestLockedDisturbsNobody(t *testing.T) {
	s := Open(t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				s.Locked("dev-aaaaaa")
			}
		})
	}
	for range 2000 {
		release, err := s.Lock("dev-aaaaaa")
		if err != nil {
			t.Error(err)
			break
		}
		if !s.Locked("dev-aaaaaa") {
			t.Error("it is held and does not show")
		}
		release()
	}
	stop()
	all.Wait()
}

func TestCacheLock(t *testing.T) {
	s := Open(t.TempDir())
	release, err := s.CacheLock(t.Context(), "image")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CacheLock(ctx, "image"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	other, err := s.CacheLock(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()
	waited := make(chan error, 1)
	go func() {
		again, err := s.CacheLock(t.Context(), "image")
		if err == nil {
			again()
		}
		waited <- err
	}()
	release()
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestLocksOfNothing(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(home+"/state", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home+"/cache", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := Open(home)
	if _, err := s.Lock("dev-aaaaaa"); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if _, err := s.CacheLock(t.Context(), "image"); err == nil {
		t.Error("a cache that is a file was locked")
	}
	if s.Locked("dev-aaaaaa") {
		t.Error("locked by nobody")
	}
	if _, err := s.Owner(); err == nil {
		t.Error("an owner was written nowhere")
	}
	if err := s.Write(Metadata{Identity: "dev-aaaaaa"}); err == nil {
		t.Error("a record was written nowhere")
	}
}

// A lock on a file that Remove took away is a lock on nothing, and seen as such.
func TestARemovedLockIsNone(t *testing.T) {
	s := Open(t.TempDir())
	release, err := s.Lock("dev-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir("dev-aaaaaa"), "lock")
	late, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	if !isAt(late, path) {
		t.Error("the lock is not where it is")
	}
	if err := s.Remove("dev-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	release()
	if held, err := takeAt(late, path); err != nil || held {
		t.Errorf("a lock on nothing is held: %t, %v", held, err)
	}
	again, err := s.Lock("dev-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	defer again()
	if isAt(late, path) {
		t.Error("the old lock passes for the new one")
	}
}
