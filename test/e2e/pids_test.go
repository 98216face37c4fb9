package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// A bottle that runs as many processes as it may starts no command, and says that rather than with what
// its parts break off. What a command says in the same words is its own.
func TestAFullLimitOfProcesses(t *testing.T) {
	dockerOnly(t, "the limit is one of the container's")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	if err := errors.Join(h.Write("bottles/full.md", "---\nextends: sleeper\nresources: {pids: 40}\n---\n"), h.Write("agents/full.md", "---\nbottle: full\n---\n")); err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "full").Stdout)
	h.removeAtEnd(identity)
	for _, words := range []string{"runtime: failed to create new OS thread (have 2 already)", "runtime", "OCI runtime exec failed: so it says"} {
		if r := h.run(2, "", "exec", identity, "--", "sh", "-c", "echo '"+words+"' >&2; exit 2"); r.Stderr != words+"\n" {
			t.Errorf("of a command's own words: got %q", r.Stderr)
		}
	}
	h.run(2, "", "exec", identity, "--", "sh", "-c", "for i in $(seq 40); do sleep 1000 >/dev/null 2>&1 & done")
	want := fmt.Sprintf("bot-bottle: cannot run \"true\" in %s: as many processes and threads run there as may, 40\n", identity)
	if r := h.run(1, "", "exec", identity, "--", "true"); !strings.HasPrefix(r.Stderr, want) || strings.Contains(r.Stderr, "goroutine") || !strings.Contains(r.Stderr, "resources.pids") {
		t.Errorf("got %q", r.Stderr)
	}
	h.run(0, "", "stop", identity)
}
