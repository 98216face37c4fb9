package state

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Between fork(2) and execve(2) a child has a copy of the lock's descriptor: a lock that was given up
// is free all the same, and so is the bottle for who comes next.
func TestALockIsFreeOnceItIsGivenUp(t *testing.T) {
	s := Open(t.TempDir())
	release, err := s.Lock(identity)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == filepath.Join(s.Dir(identity), "lock") {
			n, err := strconv.Atoi(filepath.Base(fd))
			if err == nil {
				n, err = unix.Dup(n)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(n) }()
			copies++
		}
	}
	release()
	if again, err := s.Lock(identity); err != nil || copies == 0 {
		t.Errorf("with %d copies: %v", copies, err)
	} else {
		again()
	}
}
