package docker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

var _ bottle.Diagnoser = (*Driver)(nil)

// Diagnose says what there is to know about the engine.
func (d *Driver) Diagnose(ctx context.Context) []bottle.Finding {
	result, err := d.Client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return []bottle.Finding{finding(bottle.LevelProblem, err.Error(), "")}
	}
	info := result.Info
	return slices.Concat(
		[]bottle.Finding{d.engine(info), kernelPolicy(info), d.selinux(info), runtimes(info)},
		limits(info), clock(info, d.Now()), d.disk(info),
	)
}

func finding(level bottle.Level, text, fix string) bottle.Finding {
	return bottle.Finding{Area: "docker", Level: level, Text: text, Fix: fix}
}

// oldestAPI is what bottles need, and what is tested with.
const oldestAPI = "1.41"

func (d *Driver) engine(info system.Info) bottle.Finding {
	text := fmt.Sprintf("engine %s, API %s, %s/%s, at %s", info.ServerVersion, d.Client.ClientVersion(), info.OSType, info.Architecture, d.Client.DaemonHost())
	if info.OSType != "linux" {
		return finding(bottle.LevelProblem, text+": bottles need Linux containers", "switch the engine to Linux containers")
	}
	if versions.LessThan(d.Client.ClientVersion(), oldestAPI) {
		return finding(bottle.LevelProblem, text+": bottles need API "+oldestAPI, "use engine 20.10 or later")
	}
	if !sameMachine(info.Architecture, runtime.GOARCH) {
		return finding(bottle.LevelNote, text+", and this program is for "+runtime.GOARCH, "use the build of bot-bottle for "+info.Architecture)
	}
	return finding(bottle.LevelOK, text, "")
}

// sameMachine compares uname's name of an architecture with Go's.
func sameMachine(uname, goarch string) bool {
	known := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}
	return uname == goarch || known[uname] == goarch
}

// kernelPolicy tells of what else the kernel holds containers to.
func kernelPolicy(info system.Info) bottle.Finding {
	var names []string
	for _, option := range info.SecurityOptions {
		for field := range strings.SplitSeq(option, ",") {
			if name, ok := strings.CutPrefix(field, "name="); ok {
				names = append(names, name)
			}
		}
	}
	if !slices.Contains(names, "seccomp") {
		return finding(bottle.LevelProblem, "the engine has no seccomp: no bottle starts without its filter of system calls", "use an engine and a kernel with seccomp")
	}
	return finding(bottle.LevelOK, fmt.Sprintf("security: %s; cgroup v%s", strings.Join(names, ", "), info.CgroupVersion), "")
}

// enforcing is where a kernel says whether SELinux holds programs to its policy.
const enforcing = "/sys/fs/selinux/enforce"

// selinux compares the engine with its kernel, where that is this host's.
func (d *Driver) selinux(info system.Info) bottle.Finding {
	enforced := false
	if strings.HasPrefix(d.Client.DaemonHost(), "unix://") {
		state, err := os.ReadFile(enforcing)
		enforced = err == nil && strings.TrimSpace(string(state)) == "1"
	}
	return judgeSELinux(labels(info), enforced)
}

// labels reports whether the engine gives containers SELinux labels.
func labels(info system.Info) bool {
	return slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=selinux") })
}

func judgeSELinux(labelled, enforced bool) bottle.Finding {
	switch {
	case labelled:
		return finding(bottle.LevelOK, "SELinux: the containers of a bottle share a label that no other has", "")
	case enforced:
		return finding(bottle.LevelNote, "this host enforces SELinux, and the engine does not use it for containers", `for a second wall, install container-selinux and set "selinux-enabled": true in the engine's daemon.json`)
	}
	return finding(bottle.LevelOK, "no SELinux", "")
}

func runtimes(info system.Info) bottle.Finding {
	all := strings.Join(slices.Sorted(maps.Keys(info.Runtimes)), ", ")
	if name, why := usableRunsc(info); name == "" {
		return finding(bottle.LevelNote, "bottles run on "+info.DefaultRuntime+", not on gVisor: "+why+" (runtimes: "+all+")",
			`for a second wall, install runsc and register it: "runtimes": {"runsc": {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--host-uds=all"]}} in the engine's daemon.json`)
	}
	return finding(bottle.LevelOK, "gVisor is ready; runtimes: "+all, "")
}

// limits are what a bottle's resources need.
func limits(info system.Info) (all []bottle.Finding) {
	for what, has := range map[string]bool{"memory": info.MemoryLimit, "processes": info.PidsLimit, "CPU": info.CPUCfsQuota} {
		if !has {
			all = append(all, finding(bottle.LevelProblem, "the engine cannot limit "+what+": a bottle could take all of it", "turn that cgroup controller on (a rootless engine needs it delegated)"))
		}
	}
	slices.SortFunc(all, func(a, b bottle.Finding) int { return strings.Compare(a.Text, b.Text) })
	return all
}

// maxSkew is when certificates that are made for a bottle begin to look wrong in it.
const maxSkew = time.Minute

func clock(info system.Info, now time.Time) []bottle.Finding {
	at, err := time.Parse(time.RFC3339Nano, info.SystemTime)
	if err != nil {
		return nil
	}
	off := now.Sub(at).Abs()
	if off > maxSkew {
		return []bottle.Finding{finding(bottle.LevelProblem, fmt.Sprintf("the engine's clock and this host's are %s apart: certificates will not be believed", off.Round(time.Second)), "set both by NTP; a VM of Docker Desktop or colima may need a restart")}
	}
	return []bottle.Finding{finding(bottle.LevelOK, "the engine's clock is this host's", "")}
}

// Room on the engine's disk that one agent's image and builds take, in bytes.
const (
	littleRoom = 10 << 30
	noRoom     = 2 << 30
)

// disk is known only of an engine on this host.
func (d *Driver) disk(info system.Info) []bottle.Finding {
	if !strings.HasPrefix(d.Client.DaemonHost(), "unix://") {
		return nil
	}
	var at unix.Statfs_t
	if _, err := os.Stat(info.DockerRootDir); err != nil || unix.Statfs(info.DockerRootDir, &at) != nil {
		return nil
	}
	free := int64(at.Bavail) * int64(at.Bsize) //nolint:unconvert // differs by system
	text := fmt.Sprintf("%d GiB free for images at %s", free>>30, info.DockerRootDir)
	switch {
	case free < noRoom:
		return []bottle.Finding{finding(bottle.LevelProblem, text, "make room: docker system df shows what uses it; bot-bottle image prune, bot-bottle cleanup")}
	case free < littleRoom:
		return []bottle.Finding{finding(bottle.LevelNote, text, "bot-bottle image prune, bot-bottle cleanup")}
	}
	return []bottle.Finding{finding(bottle.LevelOK, text, "")}
}
