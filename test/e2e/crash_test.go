package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Attack J5, invariant 6: the CLI is killed at any instant. Cleanup finds all that is
// left and nothing else: bottles that run stay, a second cleanup finds nothing.
func TestAttackJ5_KilledAtAnyInstant(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	bystander := h.idle()
	const rounds = 24
	for n := range rounds {
		c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "--rm", "sleeper")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n)*700*time.Millisecond/rounds + rand.N(30*time.Millisecond))
		if err := c.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
	}
	h.settle()
	// Whoever got as far as running, runs on: that is what list says, and stop ends.
	for line := range strings.Lines(h.run(0, "", "list").Stdout) {
		if identity, _, _ := strings.Cut(line, " "); strings.HasPrefix(identity, "sleeper-") && identity != bystander {
			h.run(0, "", "stop", identity)
		}
	}
	h.run(0, "", "cleanup", "-y")
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("a second cleanup found: %s", r.Stderr)
	}
	if r := h.inside(bystander, "echo alive"); r.Stdout != "alive\n" {
		t.Errorf("the bystander was touched: %q %q", r.Stdout, r.Stderr)
	}
	left, err := h.Left(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range left {
		if !strings.Contains(what, bystander) {
			t.Errorf("left behind: %s", what)
		}
	}
}

// settle waits until the engine has finished what it began for a client that is gone.
func (h house) settle() {
	h.t.Helper()
	before, deadline := "", time.Now().Add(time.Minute)
	for same := 0; same < 10; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("the engine does not settle: %s", before)
		}
		left, err := h.Left(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if now := fmt.Sprint(left); now == before {
			same++
		} else {
			before, same = now, 0
		}
	}
}

// Ctrl-C at any instant leaves nothing, by itself.
func TestInterruptedAtAnyInstant(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	h.run(0, "", "start", "-y", "--dry-run", "sleeper")
	for n := range 8 {
		c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "--rm", "sleeper")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 90 * time.Millisecond)
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err == nil {
			t.Error("an interrupted start ended with status 0")
		}
		if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("interrupted after %d × 90 ms: left %v, %v", n, left, err)
		}
	}
}

// Thirty bottles at once, started and stopped, leave nothing.
func TestThirtyAtOnce(t *testing.T) {
	h := open(t, standin.Options{Answer: "one of thirty"})
	results := make([]lab.Result, 30)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			r, err := h.Run(t.Context(), nil, "start", "-y", "--rm", "claude", "--", "-p", "hello")
			if err != nil {
				t.Error(err)
			}
			results[i] = r
		})
	}
	all.Wait()
	for i, r := range results {
		if r.Code != 0 || strings.TrimSpace(r.Stdout) != "one of thirty" {
			t.Errorf("bottle %d: got %d %q %s", i, r.Code, r.Stdout, r.Stderr)
		}
	}
	if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("cleanup found: %s", r.Stderr)
	}
}

// Without --rm, home and workspace stay, and rm takes them.
func TestHomeAndWorkspaceStay(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "precious", "exec", identity, "--", "sh", "-c", "cat > /workspace/file")
	h.run(2, "", "rm", "-y", identity) // it runs
	h.run(0, "", "stop", identity)
	left, err := h.Left(t.Context())
	if machines := h.machines(); err != nil || len(left) != 2 && len(machines) != 1 {
		t.Errorf("left: %v, %v, %v", left, machines, err)
	}
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("cleanup would take a kept bottle: %s", r.Stderr)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(r.Stdout, identity) {
		t.Errorf("list all says %q", r.Stdout)
	}
	h.run(0, "", "rm", "-y", identity)
	if r := h.run(2, "", "rm", "-y", identity); !strings.Contains(r.Stderr, "there is no bottle") {
		t.Errorf("got %q", r.Stderr)
	}
}

// exec: standard streams, exit status, users.
func TestExec(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	if r := h.run(7, "in", "exec", identity, "--", "sh", "-c", "cat; echo err >&2; exit 7"); r.Stdout != "in" || r.Stderr != "err\n" {
		t.Errorf("got %+v", r)
	}
	if r := h.run(0, "", "exec", identity, "--", "id", "-un"); r.Stdout != "node\n" {
		t.Errorf("got %q", r.Stdout)
	}
	if r := h.run(0, "", "exec", "--root", identity, "--", "id", "-u"); r.Stdout != "0\n" {
		t.Errorf("got %q", r.Stdout)
	}
	// The end of its streams is not the end of a command.
	h.run(7, "", "exec", identity, "--", "sh", "-c", "exec <&- >&- 2>&-; sleep 3; exit 7")
	h.run(127, "", "exec", identity, "--", "no-such-command")
	h.run(1, "", "exec", "sleeper-aaaaaa", "--", "true")
	h.run(1, "", "exec", "../../etc", "--", "true")
	h.run(2, "", "exec", identity)
	h.run(2, "", "exec")
}

// Somebody's work is not an orphan: cleanup keeps home and workspace of a bottle whose
// record was deleted or damaged.
func TestCleanupKeepsWorkWithoutARecord(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	for name, harm := range map[string]func(string) error{
		"deleted": os.RemoveAll,
		"damaged": func(dir string) error { return os.WriteFile(dir+"/metadata.json", []byte("{"), 0o600) },
	} {
		identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
		h.run(0, "", "stop", identity)
		if err := harm(h.Home + "/state/" + identity); err != nil {
			t.Fatal(err)
		}
		h.run(0, "", "cleanup", "-y")
		if h.on == smolvm {
			if !slices.Contains(h.machines(), "bb-"+identity) {
				t.Errorf("%s: its machine, with home and workspace, is gone", name)
			}
			h.run(0, "", "rm", "--force", identity)
			continue
		}
		for _, role := range []string{"home", "workspace"} {
			volume := "bot-bottle-" + identity + "-" + role
			if _, err := h.Engine.VolumeInspect(t.Context(), volume, client.VolumeInspectOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_, _ = h.Engine.VolumeRemove(t.Context(), volume, client.VolumeRemoveOptions{})
		}
	}
}

// A start whose bundle dies says so, and ends with 125: the agent is cut off.
func TestBundleDiesUnderAnAgent(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "--rm", "sleeper")
	var stderr lockedBuffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitRunning(&stderr)
	h.kill(identity, "sidecar")
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 125 || !strings.Contains(stderr.String(), "the bottle was taken down, since its sidecar bundle ended") {
		t.Errorf("got status %d: %s", code, stderr.String())
	}
}

// Stop ends a bottle whose start is suspended, and says whose fault it is.
func TestStopOverrulesASuspendedStart(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "--rm", "sleeper")
	var stderr lockedBuffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitRunning(&stderr)
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if r := h.run(1, "", "stop", identity); !strings.Contains(r.Stderr, "does not react; its ") {
		t.Errorf("got %s", r.Stderr)
	}
	if left, err := h.Left(t.Context()); err != nil || strings.Contains(fmt.Sprint(left), "container") {
		t.Errorf("left: %v, %v", left, err)
	}
	_ = c.Process.Signal(syscall.SIGCONT)
	_ = c.Wait() // it takes away the rest: this bottle was started with --rm
}

// lockedBuffer is written by a process and read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// awaitRunning waits until a start says that its bottle is up.
func (h house) awaitRunning(stderr *lockedBuffer) string {
	h.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if before, _, ok := strings.Cut(stderr.String(), " is up"); ok {
			return before[strings.LastIndex(before, " ")+1:]
		}
	}
	h.t.Fatalf("it does not start: %s", stderr.String())
	return ""
}
