package bundle

import "syscall"

// attributes give the service its uid, and let it not outlive us.
func (s *service) attributes(o Options) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if o.DropPrivileges {
		id := uint32(o.UIDs[s.name])
		a.Credential = &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	}
	return a
}
