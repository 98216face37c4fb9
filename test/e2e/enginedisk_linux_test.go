package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// withSmallEngine is withOwnEngine, whose engine has a disk of its own of so many megabytes.
func withSmallEngine(t *testing.T, megabytes int) (house, *engine) {
	t.Helper()
	h := open(t, standin.Options{})
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello") // the images are there
	h.sleeper()
	return h.movedTo(newEngine(t, h.Engine, megabytes))
}

// fill leaves no room on an engine's disk; what it returns makes some.
func (e *engine) fill() (room func()) {
	e.t.Helper()
	path := filepath.Join(e.dir, "data", "filler")
	f, err := os.Create(path)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 4096, 1} {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			e.t.Fatal(err)
		}
	}
}

// ATTACK J4, invariant 3: the agent fills the engine's disk, on which its log is kept, and goes on: what it does
// then would be in no log. What was answered is in the log, and soon nothing is: the bundle ends, and the log
// says why. With room again it goes on.
func TestAttackJ4_AFullEnginesDiskEndsTheTraffic(t *testing.T) {
	dockerOnly(t, "it has an engine of its own, whose disk is full")
	t.Parallel()
	own, e := withSmallEngine(t, 2048)
	identity := strings.TrimSpace(own.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	said := own.run(0, "", "exec", identity, "--", "sh", "-c", `echo precious > /workspace/mark; sync
dd if=/dev/zero of=/workspace/filler bs=1M 2>/dev/null; dd if=/dev/zero of=/workspace/more bs=1 2>/dev/null
for n in $(seq 12); do curl -s -m 2 -o /dev/null -w "$n=%{http_code} " http://elsewhere.example/n-$n; done; true`).Stdout
	for _, name := range []string{"filler", "more"} { // as an operator makes room
		if err := os.RemoveAll(filepath.Join(e.dir, "data/volumes/bot-bottle-"+identity+"-workspace/_data", name)); err != nil {
			t.Fatal(err)
		}
	}
	own.run(0, "", "stop", identity)
	own.run(0, "", "logs", identity, "--verify")
	log := own.run(0, "", "logs", identity, "--json").Stdout
	if answered := strings.Count(said, "=403"); answered == 12 || strings.Count(log, `"path":"/n-`) < answered || !strings.Contains(log, "the engine's disk is full") {
		t.Errorf("%d of 12 requests were answered: %s\nthe log is %s", answered, said, log)
	}
	own.run(0, "", "resume", "-y", "--detach", identity)
	if r := own.run(0, "", "exec", identity, "--", "sh", "-c", "cat /workspace/mark; curl -s -m 9 -o /dev/null -w '%{http_code}' http://elsewhere.example/after"); r.Stdout != "precious\n403" {
		t.Errorf("got %q", r.Stdout)
	}
	own.run(0, "", "rm", "--force", identity)
}

// The engine's disk is full where a bottle runs, has ended and was killed. Each verb has one line and what to do,
// what cannot be recorded does not happen, list tells what is so, then and with room again, and each bottle
// goes on.
func TestVerbsOnAFullEnginesDisk(t *testing.T) {
	dockerOnly(t, "it has an engine of its own, whose disk is full")
	t.Parallel()
	own, e := withSmallEngine(t, 2048)
	running, stopped, killed := own.killedAndStopped()
	cut := strings.TrimSpace(own.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	all := []string{running, stopped, killed, cut}
	room := e.fill()
	own.inside(cut, "curl -s -m 2 -o /dev/null http://elsewhere.example/told") // its bundle ends with it
	status := func(identity, want string) {
		t.Helper()
		for _, list := range []string{"list", "list all"} {
			if line := lineOf(own.run(0, "", strings.Fields(list)...).Stdout, identity); line != "" && !strings.Contains(line, want) {
				t.Errorf("%s says %q, not %q", list, line, want)
			}
		}
	}
	status(running, "running")
	status(cut, "cut off")
	full, hint := "no space left on device", "\n  the engine's disk is full: docker system df"
	own.told(125, []string{"start", "-y", "--detach", "sleeper"}, full, hint)
	own.told(125, []string{"start", "-y", "--rm", "sleeper"}, full, hint)
	own.told(125, []string{"resume", "-y", "--detach", stopped}, full, hint)
	own.told(125, []string{"resume", "-y", "--detach", killed}, full, hint)
	status(stopped, "ended with status 143")
	status(killed, "ended with status 137")
	for _, args := range [][]string{{"logs", cut}, {"logs", killed, "--verify"}, {"cleanup", "--dry-run"}, {"cleanup", "-y"}, {"exec", running, "--", "true"}, {"stop", cut}} {
		own.run(0, "", args...)
	}
	own.killAgent(running)
	status(running, "ended with status 137")
	room()
	status(running, "ended with status 137")
	own.run(0, "", "cleanup", "-y")
	if r := own.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("a second cleanup found %s", r.Stderr)
	}
	if listed := strings.Count(own.run(0, "", "list", "all").Stdout, "\n") - 1; listed != len(all) {
		t.Errorf("%d bottles are listed, not %d", listed, len(all))
	}
	for identity, want := range map[string]string{running: "ended with status 137", stopped: "ended with status 143", killed: "ended with status 137", cut: "ended with status 143"} {
		status(identity, want)
		own.run(0, "", "logs", identity, "--verify")
		own.run(0, "", "resume", "-y", "--detach", identity)
		status(identity, "running")
		own.run(0, "", "rm", "--force", identity)
	}
	if left, err := own.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
