package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// part is a process of a bottle, with its numbers on this host.
type part struct {
	pid, parent int
	command     string
}

// parts are the processes of a bottle's agent or of its sidecar: those in a container, or those that
// come of the machine's process or the bundle's.
func (k *killed) parts(role string) []part {
	k.t.Helper()
	if k.on == onDocker {
		return k.inContainer(role)
	}
	first := k.bundlePID
	if role == "agent" {
		first = k.machinePID
	}
	return descendants(first(k.identity))
}

// first is the process that the others of a role end with: PID 1 of a container or of a machine's
// workload, or the bundle's own.
func (k *killed) first(role string) int {
	k.t.Helper()
	switch {
	case k.on == onDocker:
		found, err := k.Engine.ContainerInspect(k.t.Context(), "bot-bottle-"+k.identity+"-"+role, client.ContainerInspectOptions{})
		if err != nil {
			k.t.Fatal(err)
		}
		return found.Container.State.Pid
	case role == "sidecar":
		return k.bundlePID(k.identity)
	}
	for _, p := range k.parts(role) {
		if strings.Contains(p.command, "guest machine") {
			return p.pid
		}
	}
	k.t.Fatalf("the machine of %s has no guest", k.identity)
	return 0
}

func (k *killed) inContainer(role string) []part {
	k.t.Helper()
	top, err := k.Engine.ContainerTop(k.t.Context(), "bot-bottle-"+k.identity+"-"+role, client.ContainerTopOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	var all []part
	for _, p := range top.Processes { // as ps -ef has them: user, process, parent, command last
		pid, _ := strconv.Atoi(p[1])
		parent, _ := strconv.Atoi(p[2])
		all = append(all, part{pid, parent, p[len(p)-1]})
	}
	return all
}

// descendants are a process and all that come of it.
func descendants(pid int) []part {
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
	all := []part{{pid: pid, command: strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))}}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for field := range strings.FieldsSeq(string(children)) {
			child, _ := strconv.Atoi(field)
			below := descendants(child)
			below[0].parent = pid
			all = append(all, below...)
		}
	}
	return all
}
