package pipelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory makes a file that is in memory alone, whose programs may be run. Once it is sealed, nobody
// writes to it.
func inMemory() (file *os.File, seal func() error, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("pipelock", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 each may be run
		fd, err = unix.MemfdCreate("pipelock", flags)
	}
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "pipelock"), func() error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		return err
	}, nil
}
