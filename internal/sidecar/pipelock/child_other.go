//go:build !linux

package pipelock

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
