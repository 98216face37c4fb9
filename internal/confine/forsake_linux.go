package confine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Forsake gives up every capability, for all threads and whatever they start, and gaining any. The
// caller must not be root of its user namespace. It does not work where cgo is linked in.
func Forsake() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := [2]unix.CapUserData{}
	for _, call := range [][4]uintptr{
		{unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0},
		{unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0},
		{unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0},
		{unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0},
	} {
		if _, _, errno := syscall.AllThreadsSyscall6(call[0], call[1], call[2], call[3], 0, 0, 0); errno != 0 {
			return errno
		}
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
