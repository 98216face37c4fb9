// Package daemon runs programs that serve on a port of this machine, for tests.
package daemon

import (
	"bytes"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Daemon is a program that serves.
type Daemon struct {
	Port int

	process *exec.Cmd
	ended   chan struct{}
}

// Start starts the program that command returns for a free port of an address, and waits
// until it takes connections. The caller closes it.
func Start(address string, command func(port int) (*exec.Cmd, error)) (d *Daemon, err error) {
	for range 20 { // somebody else may take the port first
		if d, err = try(address, command); err == nil {
			return d, nil
		}
	}
	return nil, err
}

func try(address string, command func(port int) (*exec.Cmd, error)) (*Daemon, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	_ = l.Close()
	return On(address, l.Addr().(*net.TCPAddr).Port, command)
}

// On is Start for one port.
func On(address string, port int, command func(port int) (*exec.Cmd, error)) (d *Daemon, err error) {
	d = &Daemon{Port: port, ended: make(chan struct{})}
	if d.process, err = command(d.Port); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	d.process.Stdout, d.process.Stderr = &said, &said
	d.process.WaitDelay = time.Second // what it has started may still hold these
	if err := d.process.Start(); err != nil {
		return nil, err
	}
	go func() { _ = d.process.Wait(); close(d.ended) }()
	for {
		if c, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(d.Port))); err == nil {
			return d, c.Close()
		}
		select {
		case <-d.ended:
			return nil, errors.New(filepath.Base(d.process.Path) + " does not start: " + said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// PID is the program's.
func (d *Daemon) PID() int { return d.process.Process.Pid }

// Close ends the program, and waits for it.
func (d *Daemon) Close() {
	_ = d.process.Process.Kill()
	<-d.ended
}
