//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// begin is what a machine's process is told.
type begin struct {
	Machine machine
	Dir     string // the machine's own
	Rootfs  string // what its disk begins as
	Image   imageConfig
}

func (s *store) start(p parsed) (int, error) {
	name := p.last("name")
	if name == "" {
		return 0, errors.New("the stand-in wants --name: the real one would start a machine called default")
	}
	m, err := s.find(name)
	if err != nil {
		return 0, err
	}
	if _, pid := s.state(m); pid > 0 {
		fmt.Printf("Machine '%s' already running (PID: %d)\n", name, pid)
		return 0, nil
	}
	_, _ = fmt.Fprintf(os.Stderr, "Starting machine '%s' with %d mount(s) and %d port mapping(s)...\n", name, len(m.Volumes), len(m.Ports))
	if os.Getenv("SMOLVM_LANDLOCK") == "enforce" && s.fault("landlock") != "" {
		return 0, errors.New("agent operation failed: start machine: landlock: " + s.fault("landlock"))
	}
	pid, err := s.boot(m)
	if err != nil {
		return 0, fmt.Errorf("agent operation failed: start machine: %w", err)
	}
	if err := s.initialise(m); err != nil {
		return 0, err
	}
	fmt.Printf("Machine '%s' running (PID: %d)\n", name, pid)
	return 0, s.later("start")
}

// boot starts a machine's process, and waits until its guest is up.
func (s *store) boot(m *machine) (int, error) {
	rootfs, image, err := s.unpacked(strings.TrimPrefix(m.Image, "local:"))
	if err != nil {
		return 0, err
	}
	told, err := json.Marshal(begin{*m, s.vm(m.Name), rootfs, image})
	if err != nil {
		return 0, err
	}
	console, err := os.OpenFile(filepath.Join(s.vm(m.Name), "agent-console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = console.Close() }()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = ready.Close() }()
	c := exec.Command("/proc/self/exe", "_vmm")
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(string(told)+"\n"), console, console
	c.Dir, c.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	c.ExtraFiles = []*os.File{theirs}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	err = c.Start()
	_ = theirs.Close()
	if err != nil {
		return 0, err
	}
	go func() { _ = c.Wait() }()
	line, err := bufio.NewReader(io.LimitReader(ready, 1<<16)).ReadString('\n')
	if line != "ready\n" {
		return 0, fmt.Errorf("the guest did not come up: %s %v", strings.TrimSpace(line), err)
	}
	return c.Process.Pid, s.locked(func(all map[string]*machine) error {
		if all[m.Name] != nil {
			all[m.Name].Started = true
		}
		return nil
	})
}

// initialise runs the init commands, once.
func (s *store) initialise(m *machine) error {
	if len(m.Init) == 0 {
		return nil
	}
	if m.InitDone {
		_, _ = fmt.Fprintf(os.Stderr, "Init already completed, skipping %d command(s)\n", len(m.Init))
		return nil
	}
	for i, command := range m.Init {
		code, err := s.command(m, order{Argv: []string{"sh", "-c", command}}, nil, os.Stdout, os.Stderr)
		if err != nil || code != 0 {
			return fmt.Errorf("agent operation failed: init: init[%d] failed (exit %d)", i, code)
		}
	}
	return s.locked(func(all map[string]*machine) error { all[m.Name].InitDone = true; return nil })
}

func (s *store) stop(p parsed) (int, error) {
	m, err := s.find(p.last("name"))
	if err != nil {
		return 0, err
	}
	state, pid := s.state(m)
	if pid == 0 {
		fmt.Printf("Machine '%s' is not running (state: %s)\n", m.Name, state)
		return 0, nil
	}
	if err := s.halt(m.Name); err != nil {
		return 0, err
	}
	fmt.Printf("Stopped machine: %s\n", m.Name)
	return 0, s.later("stop")
}

// killAfter is how long a machine's process may take to end when asked.
const killAfter = 2 * time.Second

// halt ends a machine's process, the way a power cut would: what the real one does for its
// workload first is not known. One that does not end, such as a suspended one, is killed.
func (s *store) halt(name string) error {
	pid, alive := s.alive(name)
	if !alive || pid == 0 {
		return nil
	}
	fmt.Printf("Stopping machine '%s'...\n", name)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	asked, killed := time.Now(), false
	for time.Since(asked) < 30*time.Second {
		if _, alive := s.alive(name); !alive {
			return nil
		}
		if !killed && time.Since(asked) > killAfter {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			killed = true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("vm did not stop: %s", name)
}

func (s *store) remove(p parsed) (int, error) {
	name := p.last("name")
	if !p.has("name") {
		return 0, usage("the following required arguments were not provided:\n  --name <NAME>")
	}
	if _, err := s.find(name); err != nil {
		return 0, err
	}
	if err := s.halt(name); err != nil {
		return 0, err
	}
	if !p.has("force") {
		_, _ = fmt.Fprintf(os.Stderr, "Delete machine '%s'? [y/N] ", name)
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Println("Cancelled")
			return 0, nil
		}
	}
	fmt.Printf("Cleaning up data directory for vm: %s\n", name)
	unlimit(s.vm(name)) // of one that was killed
	if err := os.RemoveAll(s.vm(name)); err != nil {
		return 0, err
	}
	err := s.locked(func(all map[string]*machine) error { delete(all, name); return nil })
	if err == nil {
		fmt.Printf("Deleted machine: %s\n", name)
		err = s.later("delete")
	}
	return 0, err
}
