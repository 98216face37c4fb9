package bundle

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// harden keeps a process that holds secrets from being read by others of its uid or
// from leaving a core file (prctl(2), PR_SET_DUMPABLE), and from gaining anything.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := noNewPrivileges(); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// noNewPrivileges holds for a thread and those that it starts, so it must be set on all
// that there are. Where cgo is linked in (tests with the race detector) Go cannot do
// that; then it holds for this thread.
func noNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errors.Is(errno, syscall.ENOTSUP) {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
