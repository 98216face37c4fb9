package state

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "hold" { // a process that holds a lock until it is killed
		if _, err := Open(os.Args[2]).Lock("dev-aaaaaa"); err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("held\n")
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func TestOwnerIsOneForAll(t *testing.T) {
	s := Open(t.TempDir())
	owners := make([]string, 20)
	var all sync.WaitGroup
	for i := range owners {
		all.Go(func() {
			owner, err := s.Owner()
			if err != nil {
				t.Error(err)
			}
			owners[i] = owner
		})
	}
	all.Wait()
	for _, owner := range owners {
		if owner != owners[0] || len(owner) != 16 {
			t.Fatalf("got %v", owners)
		}
	}
}

func TestDamageIsAnError(t *testing.T) {
	home := t.TempDir()
	s := Open(home)
	if err := s.Write(Metadata{Identity: "dev-aaaaaa"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(home, "state/owner"), []byte("short"), 0o600), os.WriteFile(filepath.Join(s.Dir("dev-aaaaaa"), "metadata.json"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Owner(); err == nil {
		t.Error("a damaged owner was taken")
	}
	if _, err := s.Read("dev-aaaaaa"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged metadata: got %v", err)
	}
}

// A lock keeps other processes out, and dies with its own, however that ends.
func TestLockDiesWithItsProcess(t *testing.T) {
	home := t.TempDir()
	s := Open(home)
	c := exec.Command("/proc/self/exe", "hold", home)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdout.Read(make([]byte, 8))
	if _, err := s.Lock("dev-aaaaaa"); !errors.Is(err, ErrLocked) || !s.Locked("dev-aaaaaa") {
		t.Errorf("got %v", err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	release, err := s.Lock("dev-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Locked("dev-aaaaaa") {
		t.Error("our own lock does not show")
	}
	release()
	if s.Locked("dev-aaaaaa") || s.Locked("dev-bbbbbb") {
		t.Error("locked by nobody")
	}
}

func TestEndIsRecorded(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.Write(Metadata{Identity: "dev-aaaaaa", Agent: "dev"}); err != nil {
		t.Fatal(err)
	}
	code := 3
	if err := s.End("dev-aaaaaa", Ending{At: time.Now(), Code: &code}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Read("dev-aaaaaa")
	if err != nil || m.EndedAt == nil || *m.ExitCode != 3 || m.Version != Version {
		t.Errorf("got %+v, %v", m, err)
	}
	if info, err := os.Stat(s.Dir("dev-aaaaaa")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if ids, err := s.Identities(); err != nil || len(ids) != 1 {
		t.Errorf("got %v, %v", ids, err)
	}
}
