package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Become is what a process turns into.
type Become struct {
	UID    int // and gid; it has no other group
	Filter Filter
	NProc  uint64 // how many processes the user may have; 0: as it is
	NoFile uint64 // how many files a process may have open; 0: as it is
}

// Exec gives up every capability, also those that a program of root's could get back, becomes a
// user, and then a program (execve(2)): it returns only if that fails. The calling process must
// be root of its user namespace.
func (b Become) Exec(path string, argv, env []string) error {
	runtime.LockOSThread() // what follows is this thread's, which becomes the process
	steps := []struct {
		what string
		do   func() error
	}{
		{"limits", b.limit}, {"capabilities", dropBounding}, {"user", b.setUser}, {"capabilities", dropAll},
		{"system calls", func() error { return b.Filter.Apply(false) }}, {"all of it", b.verify},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("cannot confine the %s of %s: %w", step.what, path, err)
		}
	}
	return syscall.Exec(path, argv, env)
}

func (b Become) limit() error {
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if b.NoFile > 0 {
		err = errors.Join(err, raiseFiles(b.NoFile))
	}
	if b.NProc > 0 {
		err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: b.NProc, Max: b.NProc}))
	}
	return err
}

// raiseFiles raises a limit as far as it goes: root of a user namespace cannot raise the hard one.
func raiseFiles(to uint64) error {
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: to, Max: to})
	var has unix.Rlimit
	if !errors.Is(err, unix.EPERM) || unix.Getrlimit(unix.RLIMIT_NOFILE, &has) != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(to, has.Max), Max: has.Max})
}

// dropBounding takes every capability out of the set that execve(2) gives from.
func dropBounding() error {
	for c := uintptr(0); c < 64; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			return nil // there are no more
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (b Become) setUser() error {
	none := [1]uint32{}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, uintptr(unsafe.Pointer(&none)), 0); errno != 0 {
		return errno
	}
	id := uintptr(b.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); errno != 0 {
		return errno
	}
	return nil
}

func dropAll() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

// verify reads back what the kernel says of this thread (proc(5)).
func (b Become) verify() error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	want := map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "Uid": strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d\t", b.UID), 4))}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		want[set] = strings.Repeat("0", 16)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if wanted, ok := want[name]; ok {
			if got := strings.TrimSpace(value); got != wanted {
				return fmt.Errorf("%s is %q, not %q", name, got, wanted)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("the kernel does not say what became of %v", want)
	}
	return nil
}
