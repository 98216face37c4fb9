//go:build linux

package guest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

func allowAll(context.Context, string) (bool, error) { return true, nil }

func TestExitStatus(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		argv []string
		want int
	}{
		"success":  {[]string{"true"}, 0},
		"failure":  {[]string{"sh", "-c", "exit 7"}, 7},
		"signal":   {[]string{"sh", "-c", "kill -9 $$"}, 128 + 9},
		"missing":  {[]string{"no-such-command"}, 127},
		"no image": {[]string{notExecutable}, 126},
	} {
		if got, out := runGuest(t, nil, c.argv...); got != c.want {
			t.Errorf("%s: got %d, want %d: %s", name, got, c.want, out)
		}
	}
}

// Attack A16: a listener cannot be had, so the bottle would have a hole or no way
// out. The agent must not run.
func TestAttackA16_NoListenerNoAgent(t *testing.T) {
	for _, address := range []string{"127.0.0.1:53", "127.0.0.1:3128", "0.0.0.0:443", "127.0.0.1:7717"} {
		taken, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		marker := filepath.Join(t.TempDir(), "ran")
		code, out := runGuest(t, nil, "touch", marker)
		_ = taken.Close()
		if _, err := os.Stat(marker); err == nil || code == 0 || !strings.Contains(out, "cannot") {
			t.Errorf("%s taken: got status %d, %q, agent ran: %v", address, code, out, err == nil)
		}
	}
}

// Orphans become the guest's children; they must not stay as zombies.
func TestOrphansAreReaped(t *testing.T) {
	script := `for i in $(seq 50); do (sh -c 'exit 0' & ) ; done; sleep 0.5
zombies=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | xargs -r grep -h "^PPid:.$PPID\$" | wc -l); echo "zombies $zombies"`
	if code, out := runGuest(t, nil, "sh", "-c", script); code != 0 || !strings.Contains(out, "zombies 0") {
		t.Errorf("got %d %q", code, out)
	}
}

func TestSignalsReachTheAgent(t *testing.T) {
	c := exec.Command("/proc/self/exe", "guest-run", t.TempDir(), "sh", "-c", `trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done`)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdout.Read(make([]byte, 16))
	_ = c.Process.Signal(syscall.SIGTERM)
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != 42 {
		t.Errorf("got status %d", got)
	}
}

// An agent that does not listen is made to end.
func TestDeafAgentIsKilled(t *testing.T) {
	began := time.Now()
	code, out := runGuest(t, []string{"GUEST_CANCEL_MS=100"}, "sh", "-c", `trap '' TERM; while :; do sleep 0.05; done`)
	if code != 128+9 {
		t.Errorf("got %d %q after %s", code, out, time.Since(began))
	}
}

// With a terminal the agent is its foreground: it can read, and ctrl-C is its own.
func TestAgentOwnsTheTerminal(t *testing.T) {
	c := exec.Command("/proc/self/exe", "guest-run", t.TempDir(), "sh", "-c", `trap 'echo interrupted; exit 5' INT; read line; echo "read $line"; while :; do sleep 0.05; done`)
	c.Env = append(os.Environ(), "GUEST_TTY=1")
	terminal, err := pty.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	screen := make(chan string, 64)
	go func() {
		defer close(screen)
		buffer := make([]byte, 1024)
		for {
			n, err := terminal.Read(buffer)
			if n > 0 {
				screen <- string(buffer[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	var shown string
	wait := func(want string) {
		t.Helper()
		for deadline := time.After(10 * time.Second); !strings.Contains(shown, want); {
			select {
			case more, ok := <-screen:
				if !ok {
					t.Fatalf("the terminal shows %q and closed", shown)
				}
				shown += more
			case <-deadline:
				t.Fatalf("the terminal shows %q", shown)
			}
		}
	}
	_, _ = terminal.WriteString("words\n")
	wait("read words")
	_, _ = terminal.WriteString("\x03")
	wait("interrupted")
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != 5 {
		t.Errorf("got status %d", got)
	}
}

// Ctrl-Z stops whatever has the terminal; there is no shell here to continue it.
func TestStoppedAgentIsContinued(t *testing.T) {
	code, out := runGuest(t, nil, "sh", "-c", `kill -STOP $$; echo continued; exit 6`)
	if code != 6 || !strings.Contains(out, "continued") {
		t.Errorf("got %d %q", code, out)
	}
}
