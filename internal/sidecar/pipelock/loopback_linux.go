package pipelock

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// loopback switches the one interface of a new network on. Where there is another, the network is
// not new.
func loopback() error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Flags&net.FlagLoopback == 0 {
		return fmt.Errorf("it has %d interfaces, not a loopback of its own alone", len(all))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(all[0].Name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("cannot switch its loopback on (do user namespaces work here?): %w", err)
	}
	return nil
}
