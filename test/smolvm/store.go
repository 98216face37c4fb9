//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what is kept of one. What ls shows of it is in list.go.
type machine struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Image     string            `json:"image"` // local:<sha256>; "" for none
	CPUs      int               `json:"cpus"`
	Memory    int               `json:"memory_mib"`
	Storage   *int              `json:"storage_gb"`
	Overlay   *int              `json:"overlay_gb"`
	Volumes   []string          `json:"volumes"`
	Ports     []string          `json:"ports"`
	Network   bool              `json:"network"`
	Sockets   []socket          `json:"sockets"`
	Init      []string          `json:"init"`
	InitDone  bool              `json:"init_done"`
	Env       []string          `json:"env"`
	Workdir   string            `json:"workdir"`
	Command   []string          `json:"command"`
	Started   bool              `json:"started"` // once
	CreatedAt int64             `json:"created_at"`
}

// socket leads from the guest to the host.
type socket struct{ Host, Guest string }

// store is a data directory.
type store struct {
	dir    string
	faults map[string]string
}

func openStore() *store {
	dir := os.Getenv("SMOLVM_DATA_DIR")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".local", "share", "smolvm-stand-in")
	}
	s := &store{dir: dir, faults: map[string]string{}}
	if err := os.MkdirAll(filepath.Join(dir, "vms"), 0o700); err != nil {
		fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "faults.json")); err == nil {
		if err := json.Unmarshal(data, &s.faults); err != nil {
			fatal(err)
		}
	}
	return s
}

func fatal(err error) {
	_, _ = fmt.Fprintln(os.Stderr, "Error: "+err.Error())
	os.Exit(1)
}

// record keeps what it was called with, for tests: also the variables that a caller should
// have left out.
func (s *store) record(args []string) {
	var seen []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		seen = append(seen, name)
	}
	line, _ := json.Marshal(map[string]any{"argv": args, "env": seen})
	f, err := os.OpenFile(filepath.Join(s.dir, "calls.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = f.Write(append(line, '\n'))
		_ = f.Close()
	}
}

// locked changes the machines, one process at a time.
func (s *store) locked(change func(map[string]*machine) error) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	path := filepath.Join(s.dir, "machines.json")
	all := map[string]*machine{}
	if data, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			return err
		}
	}
	if err := change(all); err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *store) find(name string) (m *machine, err error) {
	err = s.locked(func(all map[string]*machine) error {
		if m = all[name]; m == nil {
			return fmt.Errorf("vm not found: %s", name)
		}
		return nil
	})
	return m, err
}

func (s *store) vm(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, "vms", hex.EncodeToString(sum[:8]))
}

// alive reports whether a machine's process holds its lock, and its pid.
func (s *store) alive(name string) (pid int, yes bool) {
	f, err := os.OpenFile(filepath.Join(s.vm(name), "vmm.lock"), os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return 0, false
	}
	data, err := os.ReadFile(filepath.Join(s.vm(name), "agent.pid"))
	if err != nil {
		return 0, true
	}
	_, _ = fmt.Sscan(string(data), &pid)
	return pid, true
}

func (s *store) state(m *machine) (string, int) {
	pid, alive := s.alive(m.Name)
	switch {
	case alive && s.fault("state") != "":
		return s.fault("state"), pid
	case alive:
		return "running", pid
	case m.Started && s.fault("halted") != "":
		return s.fault("halted"), 0
	case m.Started:
		return "stopped", 0
	}
	return "created", 0
}

func now() int64 { return time.Now().Unix() }
