package smolmachines

import (
	"net"

	"golang.org/x/sys/unix"
)

// listenerOf is the process that listens on a socket (unix(7), SO_PEERCRED).
func listenerOf(path string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	if err := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}
