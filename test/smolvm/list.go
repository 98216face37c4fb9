//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// probeLimit is how long ls and status wait for a machine.
const probeLimit = 3 * time.Second

// probed is a machine's state once it was asked: one that has a process and does not answer is
// unreachable.
func (s *store) probed(m *machine) (string, int) {
	state, pid := s.state(m)
	if pid == 0 || s.fault("state") != "" {
		return state, pid
	}
	conn, err := s.dial(m, order{Op: "ping"})
	if err != nil {
		return "unreachable", pid
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(probeLimit))
	if _, err := take(bufio.NewReader(conn), io.Discard, io.Discard); err != nil {
		return "unreachable", pid
	}
	return state, pid
}

// shown is the object of ls and status, keys in alphabetical order.
func (s *store) shown(m *machine) map[string]any {
	state, pid := s.probed(m)
	one := map[string]any{
		"cmd": orEmpty(m.Command), "cpus": m.CPUs, "created_at": m.CreatedAt, "cuda": false, "cuda_fork_pool_size": nil, "cuda_vram_limit_mib": nil,
		"entrypoint": []string{}, "ephemeral": false, "forkable": false, "forkpoint_held": false, "gpu": false, "gpu_vram_mib": nil,
		"health_cmd": nil, "health_interval_secs": nil, "health_retries": nil, "health_startup_grace_secs": nil, "health_timeout_secs": nil,
		"image": nil, "labels": m.Labels, "memory_mib": m.Memory, "mounts": len(m.Volumes), "name": m.Name, "network": m.Network, "overlay_gb": m.Overlay,
		"pid": nil, "ports": len(m.Ports), "restart_count": 0, "restart_max_retries": 0, "restart_policy": "never", "state": state, "storage_gb": m.Storage,
	}
	if m.Image != "" {
		one["image"] = m.Image
	}
	if pid > 0 {
		one["pid"] = pid
	}
	if s.fault("network") != "" {
		one["network"] = s.fault("network") == "true"
	}
	for _, key := range []string{"ports", "mounts"} {
		if n, err := strconv.Atoi(s.fault(key)); err == nil {
			one[key] = n
		}
	}
	if s.fault("labels") == "none" {
		one["labels"] = map[string]string{}
	}
	if image := s.fault("image"); image != "" {
		one["image"] = image
	}
	for _, key := range strings.Fields(s.fault("absent")) {
		delete(one, key)
	}
	for _, key := range strings.Fields(s.fault("wrong")) {
		one[key] = []any{nil, "\x1b[2J"}
	}
	return one
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *store) list(p parsed) (int, error) {
	var machines []*machine
	err := s.locked(func(all map[string]*machine) error {
		machines = slices.Collect(maps.Values(all)) // in a random order, as the real one's
		return nil
	})
	if err != nil {
		return 0, err
	}
	found := []any{}
	for _, m := range machines {
		found = append(found, s.shown(m))
	}
	if !p.has("json") {
		for _, one := range found {
			fmt.Println(one.(map[string]any)["name"])
		}
		return 0, nil
	}
	return 0, print(found)
}

func (s *store) status(p parsed) (int, error) {
	name := p.last("name")
	m, err := s.find(name)
	if err != nil && p.has("json") {
		return 0, config("machine status: machine '%s' not found", name)
	}
	if err != nil {
		return 0, err
	}
	if p.has("json") {
		return 0, print(s.shown(m))
	}
	state, pid := s.state(m)
	if pid > 0 {
		fmt.Printf("Machine '%s': %s (PID: %d)\n", name, state, pid)
	} else {
		fmt.Printf("Machine '%s': %s\n", name, state)
	}
	return 0, nil
}

func (s *store) dataDir(p parsed) (int, error) {
	m, err := s.find(p.last("name"))
	if err == nil {
		fmt.Println(s.vm(m.Name))
	}
	return 0, err
}

func print(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
