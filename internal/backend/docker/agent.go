package docker

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// agentContainer describes the container that the agent runs in. Each line is a
// wall; docs/invariants.md names the test that leans on it.
func (p Plan) agentContainer(image, profile string, env []string, binaries string) client.ContainerCreateOptions {
	pids, zero := p.PIDs, int64(0)
	return client.ContainerCreateOptions{
		Name: resource(p.Identity, roleAgent),
		Config: &container.Config{
			Image:       image,
			User:        provider.User,
			Hostname:    provision.Hostname,
			Env:         env,
			WorkingDir:  provider.Workspace,
			Entrypoint:  p.guest(), // whatever the image's own is
			Cmd:         p.Command(),
			Labels:      p.agentLabels(),
			OpenStdin:   p.Stdin && !p.TTY, // a terminal is the guest's own: operators come through another way
			StdinOnce:   p.Stdin && !p.TTY, // the end of a pipe is the agent's end of file
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},

			// The one idea (DESIGN §2), said once more: NetworkMode alone has the engine attach
			// the container to the network "none", for more than half of what a start takes, and
			// under the locks over which engines up to 20.10.26 hang when several containers end
			// at once (moby/moby#46661). It is all that the engine does for loopback, though.
			NetworkDisabled: p.OwnLoopback,
		},
		HostConfig: &container.HostConfig{
			NetworkMode:  "none",                                         // the one idea (DESIGN §2)
			DNS:          []netip.Addr{netip.MustParseAddr("127.0.0.1")}, // the guest answers
			CapDrop:      []string{"ALL"},
			SecurityOpt:  p.securityOptions(profile),
			Sysctls:      map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}, // the guest binds 53, 80, 443 without a capability
			Runtime:      p.Runtime,
			CgroupnsMode: "private", // shows no other bottle's cgroup
			IpcMode:      "private",
			LogConfig:    boundedLog("16m"), // of an agent with a terminal it is the transcript
			Resources: container.Resources{
				Memory: p.Memory, MemorySwap: p.Memory, // no swap on top
				NanoCPUs:  int64(p.CPUs * 1e9),
				PidsLimit: &pids,
				Ulimits:   []*container.Ulimit{{Name: "core", Soft: zero, Hard: zero}},
			},
			Mounts: []mount.Mount{
				binaryMount(binaries),
				p.volume(roleSockets, control.SocketDir, true), // connecting needs no write access
				p.volume(roleHome, provider.Home, false),
				p.volume(roleWorkspace, provider.Workspace, false),
			},
		},
	}
}

// guest is PID 1, which the agent's command follows.
func (p Plan) guest() []string {
	if !p.TTY {
		return []string{control.Binary, "guest", "run", "--"}
	}
	operator := control.Awaited
	if p.Detached {
		operator = "alone"
	}
	return []string{control.Binary, "guest", "terminal", fmt.Sprintf("%dx%d", cmp.Or(p.Size.Width, 80), cmp.Or(p.Size.Height, 24)), operator, "--"}
}

func (p Plan) agentLabels() map[string]string {
	labels := p.labels(roleAgent)
	labels[labelTerminal] = strconv.FormatBool(p.TTY)
	return labels
}

// volume mounts one of the bottle's own volumes, which the engine creates with the
// container.
func (p Plan) volume(r role, target string, readOnly bool) mount.Mount {
	return mount.Mount{
		Type: mount.TypeVolume, Source: resource(p.Identity, r), Target: target, ReadOnly: readOnly,
		VolumeOptions: &mount.VolumeOptions{Labels: p.labels(r), NoCopy: r == roleSockets}, // home and workspace begin as the image has them
	}
}

// securityOptions of a bottle's containers. On an SELinux host the two of one bottle
// share an MCS level of their own, or their sockets would not connect.
func (p Plan) securityOptions(profile string) []string {
	options := []string{"no-new-privileges"}
	if profile != "" {
		options = append(options, "seccomp="+profile)
	}
	if p.SELinux {
		options = append(options, "label=level:"+mcsLevel(p.Identity))
	}
	return options
}

// boundedLog keeps the engine's copy of a container's output small. It is named
// rather than left to the engine's default, which may be a driver that cannot be
// read back.
func boundedLog(size string) container.LogConfig {
	return container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": size, "max-file": "2"}}
}
