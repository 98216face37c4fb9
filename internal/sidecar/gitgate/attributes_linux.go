package gitgate

import "syscall"

// attributes make a process that ends with us, and can be ended with all that it starts.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
