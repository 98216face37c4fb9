//go:build !linux

package gitgate

import "syscall"

// attributes make a process that can be ended with all that it starts.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
