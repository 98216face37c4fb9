package bundle

import "golang.org/x/sys/unix"

// harden keeps a process that holds secrets from being read by others of its uid or
// from leaving a core file (prctl(2), PR_SET_DUMPABLE), and from gaining anything.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
