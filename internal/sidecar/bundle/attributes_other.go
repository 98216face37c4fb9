//go:build !linux

package bundle

import "syscall"

// attributes: host processes run as the operator.
func (s *service) attributes(Options) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
