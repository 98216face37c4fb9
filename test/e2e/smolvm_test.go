package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/need"
)

// backend is what a story runs on.
type backend string

const (
	onDocker backend = "docker"
	smolvm   backend = "smolmachines" // through the stand-in
)

// chosen is the backend that the stories run on: $BOT_BOTTLE_E2E_BACKEND, docker by default.
func chosen() backend {
	if b := os.Getenv("BOT_BOTTLE_E2E_BACKEND"); b != "" {
		return backend(b)
	}
	return onDocker
}

// dockerOnly skips a story that is about docker itself, and says why.
func dockerOnly(t *testing.T, why string) {
	t.Helper()
	if chosen() != onDocker {
		need.Elsewhere(t, "not on "+string(chosen())+": "+why)
	}
}

// useSmolvm has the program find the stand-in on PATH, with machines of its own. Images that it
// has unpacked, and archives, are shared by all tests: they are named by what is in them.
func (h house) useSmolvm() {
	h.t.Helper()
	data, err := os.MkdirTemp("", "vm") // short: it holds sockets
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = os.RemoveAll(data) })
	h.t.Cleanup(func() {
		consoles, _ := filepath.Glob(filepath.Join(data, "vms", "*", "agent-console.log"))
		for _, file := range consoles {
			if said, err := os.ReadFile(file); h.t.Failed() && err == nil {
				h.t.Logf("%s: %s", file, said[max(0, len(said)-8<<10):])
			}
		}
	})
	archives := filepath.Join(programs.images, "archives")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(programs.images, "unpacked"), 0o755), os.MkdirAll(archives, 0o700), os.MkdirAll(filepath.Join(h.Home, "cache"), 0o700),
		os.Chmod(data, 0o755), os.Symlink(filepath.Join(programs.images, "unpacked"), filepath.Join(data, "images")), os.Symlink(archives, filepath.Join(h.Home, "cache", "archives")),
	); err != nil {
		h.t.Fatal(err)
	}
	h.Extra = append(h.Extra, "PATH="+filepath.Dir(programs.smolvm)+":"+os.Getenv("PATH"), "SMOLVM_DATA_DIR="+data, "BOT_BOTTLE_BACKEND=smolmachines", "XDG_RUNTIME_DIR=")
	if chosen() == smolvm {
		return
	}
	if err := h.Furnish("127.0.0.1"); err != nil { // this host's own resolver has no name for it
		h.t.Fatal(err)
	}
}

// failsToResume has the stand-in fail a resume before its guest runs, and when that is spoken to.
func (h house) failsToResume(identity string) {
	h.t.Helper()
	faults := filepath.Join(h.Getenv("SMOLVM_DATA_DIR"), "faults.json")
	for fault, want := range map[string]string{`{"start": "kvm"}`: "kvm not available", `{"guest bring": "lost"}`: "connection to VM lost"} {
		if err := os.WriteFile(faults, []byte(fault), 0o600); err != nil {
			h.t.Fatal(err)
		}
		if r := h.run(125, "", "resume", "-y", "--detach", identity); !strings.Contains(r.Stderr, want) {
			h.t.Errorf("%s: got %s", fault, r.Stderr)
		}
	}
	if err := os.Remove(faults); err != nil {
		h.t.Fatal(err)
	}
}

// Getenv is the program's environment.
func (h house) Getenv(name string) string {
	for _, v := range slices.Backward(h.Env()) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// machines lists what the stand-in has.
func (h house) machines() []string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.Getenv("SMOLVM_DATA_DIR"), "machines.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	all := map[string]any{}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	return names
}

// leftOfMachines lists machines and bundles of this home.
func (h house) leftOfMachines() []string {
	var left []string
	for _, name := range h.machines() {
		left = append(left, "machine "+name)
	}
	owner, _ := os.ReadFile(filepath.Join(h.Home, "state", "owner"))
	if len(owner) < 8 {
		return left
	}
	for _, base := range []string{filepath.Join(h.Home, "run"), "/dev/shm/bb-0"} {
		found, _ := filepath.Glob(filepath.Join(base, string(owner[:8])+"-*"))
		for _, dir := range found {
			left = append(left, "bundle "+dir)
		}
	}
	return left
}

// kill ends a bottle's agent or its sidecar the hard way: a container, a machine's process, or the
// bundle's.
func (h house) kill(identity, what string) {
	h.t.Helper()
	if h.on == onDocker {
		if _, err := h.Engine.ContainerKill(h.t.Context(), "bot-bottle-"+identity+"-"+what, client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
			h.t.Fatal(err)
		}
		return
	}
	pid := 0
	if what == "sidecar" {
		pid = h.bundlePID(identity)
	} else {
		pid = h.machinePID(identity)
	}
	if pid < 2 {
		h.t.Fatalf("%s of %s has no process", what, identity)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
}

// machinePID is the process of a bottle's machine, 0 when that does not run.
func (h house) machinePID(identity string) int {
	h.t.Helper()
	sum := sha256.Sum256([]byte("bb-" + identity))
	dir := filepath.Join(h.Getenv("SMOLVM_DATA_DIR"), "vms", hex.EncodeToString(sum[:8]))
	lock, err := os.Open(filepath.Join(dir, "vmm.lock"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0 // nobody holds it
	}
	data, err := os.ReadFile(filepath.Join(dir, "agent.pid"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	pid, _ := strconv.Atoi(string(data)) // 0: it has not said yet
	return pid
}

// bundleDir is where the bundle of a process has its sockets.
func (h house) bundleDir(pid int) string {
	h.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(data), "\x00")
	if err != nil || len(args) < 4 {
		h.t.Fatalf("got %q, %v", args, err)
	}
	return args[3]
}

// bundleRuns reports whether a bottle's bundle has a process for a service.
func (h house) bundleRuns(identity, service string) bool {
	h.t.Helper()
	parent := h.bundlePID(identity)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil || len(tasks) == 0 {
		h.t.Fatalf("the bundle of %s has ended: %v", identity, err)
	}
	for _, task := range tasks {
		children, _ := os.ReadFile(task) // a thread may have ended
		for child := range strings.FieldsSeq(string(children)) {
			args, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if strings.Contains(string(args), "\x00sidecar\x00"+service+"\x00") {
				return true
			}
		}
	}
	return false
}

// bundlePID finds the process that was started for a bottle's sockets.
func (h house) bundlePID(identity string) int {
	h.t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, file := range commands {
		data, _ := os.ReadFile(file) // it may have ended
		args := strings.Split(string(data), "\x00")
		if len(args) > 3 && args[1] == "sidecar" && args[2] == "host" && strings.HasSuffix(args[3], "-"+identity) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	h.t.Fatalf("no bundle of %s runs", identity)
	return 0
}
