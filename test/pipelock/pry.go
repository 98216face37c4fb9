package main

import (
	"net"
	"os"
	"os/exec"
	"syscall"
)

// pry tries what somebody else's program might on a host, and names what it got at. Its own
// program, its configuration and loopback are its own.
func pry() []string {
	socket := func(family, kind int) error {
		fd, err := syscall.Socket(family, kind, 0)
		if err == nil {
			_ = syscall.Close(fd)
		}
		return err
	}
	var reached []string
	for _, try := range []struct {
		what string
		do   func() error
	}{
		{"users", func() error { _, err := os.ReadFile("/etc/passwd"); return err }},
		{"root", func() error { _, err := os.ReadDir("/"); return err }},
		{"processes", func() error { _, err := os.ReadDir("/proc"); return err }},
		{"tmp", func() error { return os.WriteFile("/tmp/pried", nil, 0o600) }},
		{"programs", func() error { return exec.Command("/bin/sh", "-c", "true").Run() }},
		{"unix", func() error { return socket(syscall.AF_UNIX, syscall.SOCK_STREAM) }},
		{"packet", func() error { return socket(syscall.AF_PACKET, syscall.SOCK_RAW) }},
		{"raw", func() error { return socket(syscall.AF_INET, syscall.SOCK_RAW) }},
		{"netfilter", func() error {
			fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_NETFILTER)
			if err == nil {
				_ = syscall.Close(fd)
			}
			return err
		}},
		{"namespaces", func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) }},
		{"outside", func() error {
			c, err := net.Dial("udp", "192.0.2.1:9")
			if err == nil {
				_ = c.Close()
			}
			return err
		}},
	} {
		if try.do() == nil {
			reached = append(reached, try.what)
		}
	}
	if reached == nil {
		return []string{"nothing"}
	}
	return reached
}
