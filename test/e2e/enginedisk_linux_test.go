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
