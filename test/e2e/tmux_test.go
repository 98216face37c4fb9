package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mux is a real tmux with a server of its own, and a program in its first pane.
type mux struct {
	t      *testing.T
	socket string
}

// mux starts the program in tmux, on a screen of 120 by 40.
func (h house) mux(env []string, args ...string) *mux {
	h.t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		h.t.Fatal("this test needs tmux: scripts/setup --test installs it")
	}
	x := &mux{h.t, filepath.Join(h.Home, "tmux")}
	c := exec.Command("tmux", append([]string{"-S", x.socket, "-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "--", h.Binary}, args...)...)
	c.Env = append(h.Env(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		h.t.Fatalf("cannot start tmux: %v: %s", err, out)
	}
	h.t.Cleanup(func() { _ = exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	return x
}

func (x *mux) call(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// keys presses keys in a pane, as tmux names them.
func (x *mux) keys(pane string, keys ...string) {
	x.t.Helper()
	x.call(append([]string{"send-keys", "-t", pane}, keys...)...)
}

// typed types a text.
func (x *mux) typed(pane, text string) {
	x.t.Helper()
	x.call("send-keys", "-t", pane, "-l", text)
}

func (x *mux) shown(pane string) string { return x.call("capture-pane", "-p", "-t", pane) }

// wait waits until a pane shows all of some words, and returns what it shows.
func (x *mux) wait(pane string, words ...string) string {
	x.t.Helper()
	var shown string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		shown = x.shown(pane)
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(shown, word)
		}
		if !missing {
			return shown
		}
	}
	x.t.Fatalf("the screen does not show %q:\n%s", words, shown)
	return ""
}

// gone waits until a pane does not show a word any more.
func (x *mux) gone(pane, word string) {
	x.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if !strings.Contains(x.shown(pane), word) {
			return
		}
	}
	x.t.Fatalf("the screen still shows %q:\n%s", word, x.shown(pane))
}

// stacks ends a pane's program, which says where each of its goroutines waits.
func (x *mux) stacks(pane string) string {
	_ = x.call("set-option", "-p", "-t", pane, "remain-on-exit", "on")
	pid, err := strconv.Atoi(strings.TrimSpace(x.call("display-message", "-p", "-t", pane, "#{pane_pid}")))
	if err != nil {
		return "nobody knows"
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(status), ") Z ") {
		return "it has ended, and tmux has not noticed"
	}
	if syscall.Kill(pid, syscall.SIGQUIT) != nil {
		return "nobody knows"
	}
	time.Sleep(time.Second) // for a log only
	return x.call("capture-pane", "-p", "-J", "-S", "-", "-t", pane)
}

// panes are the panes that there are.
func (x *mux) panes() []string {
	return strings.Fields(x.call("list-panes", "-a", "-F", "#{pane_id}"))
}

// awaitPanes waits until there are so many.
func (x *mux) awaitPanes(n int) []string {
	x.t.Helper()
	nudge := time.Now().Add(10 * time.Second)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if panes := x.panes(); len(panes) == n {
			return panes
		}
		// tmux 3.3a now and then misses the end of a program in a pane that was given another one
		// (respawn-pane -k), until another child of its ends: seen as a zombie of tmux's, in one of thirty.
		if time.Now().After(nudge) {
			x.call("run-shell", "true")
			nudge = time.Now().Add(5 * time.Second)
		}
	}
	panes := x.panes()
	slices.Reverse(panes) // the first ends last: it may be what another one waits for
	for _, pane := range panes {
		x.t.Logf("%s:\n%s", pane, x.shown(pane))
		x.t.Logf("what runs there waits here:\n%s", x.stacks(pane))
	}
	x.t.Fatalf("there are panes %v, not %d", x.panes(), n)
	return nil
}
