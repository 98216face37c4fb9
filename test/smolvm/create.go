//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func createFlags() []flag {
	valued := []string{"max-image-size", "cpus", "mem", "storage", "overlay", "net-backend", "dns", "network", "allow-cidr", "allow-host",
		"expose-socket", "mount-socket", "init", "secret-env", "secret-file", "gpu-vram", "from", "label"}
	all := []flag{
		{long: "name", short: 'n', value: true}, {long: "image", short: 'I', value: true}, {long: "volume", short: 'v', value: true}, {long: "port", short: 'p', value: true},
		{long: "env", short: 'e', value: true}, {long: "workdir", short: 'w', value: true}, {long: "smolfile", short: 's', value: true},
	}
	for _, name := range valued {
		all = append(all, flag{long: name, value: true})
	}
	for _, name := range []string{"net", "outbound-localhost-only", "ssh-agent", "docker-socket", "gpu", "cuda", "auto-graph", "rosetta"} {
		all = append(all, flag{long: name})
	}
	return all
}

func config(format string, args ...any) error {
	return fmt.Errorf("config operation failed: "+format, args...)
}

func (s *store) create(p parsed) (int, error) {
	m := &machine{Name: p.last("name"), Labels: map[string]string{}, CPUs: 4, Memory: 8192, CreatedAt: now(), Env: p.values["env"], Workdir: p.last("workdir"),
		Command: p.after, Init: p.values["init"], Ports: p.values["port"], Volumes: p.values["volume"]}
	if m.Name == "" {
		m.Name = fmt.Sprintf("vm-%08x", os.Getpid())
	}
	if err := checkName(m.Name); err != nil {
		return 0, err
	}
	for _, step := range []func(*machine, parsed) error{readLabels, readSizes, readSockets, readVolumes, readNetwork, s.readImage} {
		if err := step(m, p); err != nil {
			return 0, err
		}
	}
	err := s.locked(func(all map[string]*machine) error {
		if all[m.Name] != nil {
			return config("create machine: machine '%s' already exists or is being created", m.Name)
		}
		all[m.Name] = m
		return os.MkdirAll(s.vm(m.Name), 0o700)
	})
	if err != nil {
		return 0, err
	}
	fmt.Printf("Created machine: %s\n  CPUs: %d, Memory: %d MiB\n", m.Name, m.CPUs, m.Memory)
	fmt.Printf("\nUse 'smolvm machine start --name %s' to start the machine\nThen use 'smolvm machine exec --name %s -- <command>' to run commands\n", m.Name, m.Name)
	return 0, s.later("create")
}

func checkName(name string) error {
	bad := func(format string, args ...any) error {
		return config("create machine: machine name "+format, args...)
	}
	if name == "" {
		return bad("cannot be empty")
	}
	if len(name) > 128 {
		return bad("too long: %d characters (max 128)", len(name))
	}
	if strings.ContainsAny(name, `/\`) {
		return bad("cannot contain path separators")
	}
	alphanumeric := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if !alphanumeric(rune(name[0])) {
		return bad("must start with a letter or digit (got: %q)", name)
	}
	for _, r := range name {
		if !alphanumeric(r) && r != '-' && r != '_' {
			return bad("contains invalid character: '%c'", r)
		}
	}
	if strings.HasSuffix(name, "-") {
		return bad("cannot end with a hyphen (got: %q)", name)
	}
	if strings.Contains(name, "--") {
		return bad("cannot contain consecutive hyphens")
	}
	return nil
}

func readLabels(m *machine, p parsed) error {
	for _, label := range p.values["label"] {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			return config("--label: expected KEY=VALUE, got '%s'", label)
		}
		m.Labels[key] = value
	}
	return nil
}

func readSizes(m *machine, p parsed) error {
	for name, to := range map[string]*int{"cpus": &m.CPUs, "mem": &m.Memory} {
		if !p.has(name) {
			continue
		}
		n, err := strconv.Atoi(p.last(name))
		if err != nil || n < 1 || name == "mem" && n < 64 {
			return usage(fmt.Sprintf("invalid value '%s' for '--%s <%s>'", p.last(name), name, strings.ToUpper(name)))
		}
		*to = n
	}
	for name, to := range map[string]**int{"storage": &m.Storage, "overlay": &m.Overlay} {
		if !p.has(name) {
			continue
		}
		n, err := strconv.Atoi(p.last(name))
		if err != nil || n < 1 {
			return usage(fmt.Sprintf("invalid value '%s' for '--%s <GIB>'", p.last(name), name))
		}
		*to = &n
	}
	return nil
}

func readSockets(m *machine, p parsed) error {
	for _, spec := range p.values["mount-socket"] {
		host, guest, ok := strings.Cut(spec, ":")
		switch {
		case !ok:
			return config("mount-socket: expected HOST_PATH:GUEST_PATH, got '%s'", spec)
		case host == "" || guest == "":
			return config("mount-socket: both HOST_PATH and GUEST_PATH are required in '%s'", spec)
		case !filepath.IsAbs(guest):
			return config("publish-socket: guest path '%s' must be absolute", guest)
		case strings.ContainsAny(guest, ";|"):
			return config("publish-socket: guest path '%s' has an invalid character", guest)
		case slices.ContainsFunc(m.Sockets, func(s socket) bool { return s.Guest == guest }):
			return config("mount-socket: guest path '%s' is mounted more than once", guest)
		}
		m.Sockets = append(m.Sockets, socket{host, guest})
	}
	if len(m.Sockets)+len(p.values["expose-socket"]) > 64 {
		return config("publish-socket: at most 64 sockets")
	}
	return nil
}

func readVolumes(m *machine, _ parsed) error {
	for _, spec := range m.Volumes {
		host, _, _ := strings.Cut(spec, ":")
		info, err := os.Stat(host)
		if err != nil {
			return fmt.Errorf("mount source not found: %s", host)
		}
		if !info.IsDir() {
			return fmt.Errorf("mount operation failed: validate host path: source path on host must be a directory (virtiofs limitation): %s", host)
		}
	}
	return nil
}

// readNetwork: what opens a network is only noted. No machine here ever has one.
func readNetwork(m *machine, p parsed) error {
	for _, host := range p.values["allow-host"] {
		if strings.Contains(host, ":") {
			return config("--allow-host: '%s': port suffixes are not supported", host)
		}
	}
	m.Network = p.has("net") || p.has("allow-cidr") || p.has("allow-host") || p.has("outbound-localhost-only") || p.has("network")
	return nil
}

func (s *store) readImage(m *machine, p parsed) error {
	name := p.last("image")
	if name == "" {
		return nil
	}
	archive := name == "-" || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../")
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz"} {
		archive = archive || strings.HasSuffix(name, suffix)
	}
	if !archive {
		if m.Network || len(m.Ports) > 0 {
			return config("create machine: image '%s': there is no registry here", name)
		}
		return config("create machine: image '%s' must be pulled from a registry, but this machine has no network, so the pull can never succeed. "+
			"Add --net (or publish a port with -p, or set an egress policy with --allow-cidr/--allow-host). "+
			"To keep the machine network-isolated, supply the image locally instead: `docker save %s | smolvm machine create --image - ...`", name, name)
	}
	sum, err := s.keepArchive(name)
	if err != nil {
		return config("create machine: --image: cannot read archive %s: %v", name, ioText(err))
	}
	m.Image = "local:" + sum
	return nil
}

// ioText is how Rust words it.
func ioText(err error) string {
	if os.IsNotExist(err) {
		return "No such file or directory (os error 2)"
	}
	return err.Error()
}
