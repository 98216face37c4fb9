package bundle

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// attributes give the service its uid, and let it not outlive us.
func (s *service) attributes(o Options) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if o.DropPrivileges {
		id := uint32(o.UIDs[s.name])
		a.Credential = &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	}
	return a
}

// alone gives pipelock a network and processes of its own, which are nobody else's: loopback, and
// what it starts. In its namespaces it is a user without rights; the one capability is there to
// switch loopback on, and is given up then.
func alone() (*syscall.SysProcAttr, error) {
	as := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: control.PipelockUID, HostID: id, Size: 1}}
	}
	return &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, Setpgid: true,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		UidMappings: as(os.Geteuid()), GidMappings: as(os.Getegid()),
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}, nil
}
