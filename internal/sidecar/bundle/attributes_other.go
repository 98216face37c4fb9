//go:build !linux

package bundle

import (
	"errors"
	"syscall"
)

// attributes: host processes run as the operator.
func (s *service) attributes(Options) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// alone: there is no way to close a program of somebody else's off.
func alone() (*syscall.SysProcAttr, error) {
	return nil, errors.New("pipelock can run as a process on Linux only")
}
