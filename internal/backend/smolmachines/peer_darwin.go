package smolmachines

import (
	"net"

	"golang.org/x/sys/unix"
)

// listenerOf is the process that listens on a socket (unix(4), LOCAL_PEERPID).
func listenerOf(path string) (pid int, err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(fd uintptr) { pid, err = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID) }); failed != nil {
		return 0, failed
	}
	return pid, err
}
