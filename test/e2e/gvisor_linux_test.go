package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// onGVisor are the tests that are run once more with gVisor's runtime: the whole contract of
// backends, and what a bottle is for.
func onGVisor() []string {
	return []string{
		"TestDockerConforms", "TestHeadless", "TestAgentRunsATool", "TestGitThroughTheGateOverHTTPS", "TestAttackA9_RootFindsNoWayOut", "TestAttackC10_TheKeyIsNowhere",
		"TestItIsGVisor",
	}
}

// Invariant 8 with the real runsc, in an engine of its own whose configuration lists it:
// these tests run again, in the engine's network namespace, with bottles that ask for it.
func TestGVisor(t *testing.T) {
	dockerOnly(t, "it is a runtime of the engine's")
	t.Parallel()
	runsc := findRunsc(t)
	if _, err := exec.LookPath("dockerd"); err != nil || os.Geteuid() != 0 {
		need.Lacking(t, need.Runsc, "its engine needs root and dockerd")
	}
	h := open(t, standin.Options{Answer: "hello"})
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello") // the images are there
	config := filepath.Join(t.TempDir(), "daemon.json")
	text, err := json.Marshal(map[string]any{"runtimes": map[string]any{"runsc": map[string]any{"path": runsc, "runtimeArgs": []string{"--host-uds=all"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	e := ownEngine(t, h.Engine, "--config-file", config)
	upLoopback(t, e.daemon.Process.Pid)
	again(t, onGVisor(), []string{"DOCKER_HOST=" + e.host(), lab.Runtime + "=runsc", "BOT_BOTTLE_REQUIRE=docker"},
		"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", e.daemon.Process.Pid), "--")
	if t.Failed() {
		t.Logf("the engine said:\n%s", e.said.String())
	}
}

// again runs tests once more, with more in their environment and through another command: each must
// pass, and a skipped one has not.
func again(t *testing.T, tests, env []string, through ...string) {
	t.Helper()
	argv := append(through, os.Args[0], "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.v", "-test.timeout", "15m", "-test.parallel", "2")
	c := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("with %v: %v\n%s", env, err, out)
	}
	for _, test := range tests {
		if !regexp.MustCompile(`(?m)^--- PASS: ` + test + ` `).Match(out) {
			t.Errorf("%s did not pass with %v", test, env)
		}
	}
}

// findRunsc is where scripts/setup puts it, or where it is installed.
func findRunsc(t *testing.T) string {
	t.Helper()
	cache, _ := os.UserCacheDir()
	for _, path := range []string{os.Getenv("BOT_BOTTLE_RUNSC"), filepath.Join(cache, "bot-bottle-test", "runsc")} {
		if info, err := os.Stat(path); path != "" && err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	path, err := exec.LookPath("runsc")
	if err != nil {
		need.Lacking(t, need.Runsc, "scripts/setup --gvisor builds it")
	}
	return path
}

// upLoopback brings up loopback in a process's network namespace, where tests listen.
func upLoopback(t *testing.T, pid int) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and is never unlocked: the thread is in another namespace, and ends
		failed <- inNamespace(pid)
	}()
	if err := <-failed; err != nil {
		t.Fatalf("cannot bring up loopback: %v", err)
	}
}

func inNamespace(pid int) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback)
}

// What TestGVisor runs is on gVisor: the engine says so, and the kernel in the bottle.
func TestItIsGVisor(t *testing.T) {
	if os.Getenv(lab.Runtime) != "runsc" {
		need.Elsewhere(t, "it is part of TestGVisor")
	}
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	if !h.gVisor(identity) {
		t.Error("the engine runs the bottle on another runtime")
	}
	if r := h.inside(identity, "cat /proc/version; dmesg 2>/dev/null | head -n 3"); !strings.Contains(strings.ToLower(r.Stdout), "gvisor") {
		t.Errorf("the kernel is %s", r.Stdout)
	}
}
