package pipelock

import "syscall"

// attributes end pipelock with us, however we end.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
