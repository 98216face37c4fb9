//go:build linux

package guest

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/session"
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

// at starts a guest with a terminal for its agent, and looks at it.
func at(t *testing.T, script string, env ...string) (*exec.Cmd, *desk) {
	t.Helper()
	socket := "@" + filepath.Base(t.TempDir()) + t.Name()
	c := exec.Command("/proc/self/exe", "guest-run", t.TempDir(), "sh", "-c", script)
	c.Env = append(os.Environ(), append(env, "GUEST_TERMINAL="+socket)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // it has the ports that the next test's needs
	return c, sit(t, socket)
}

// desk is an operator's.
type desk struct {
	t     *testing.T
	keys  *io.PipeWriter
	sizes chan session.Size
	mu    sync.Mutex
	shown bytes.Buffer
	ended chan struct{}
	code  int
	err   error
}

func (d *desk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown.Write(p)
}

func sit(t *testing.T, socket string) *desk {
	t.Helper()
	in, keys := io.Pipe()
	d := &desk{t: t, keys: keys, sizes: make(chan session.Size, 4), ended: make(chan struct{})}
	d.sizes <- session.Size{Width: 90, Height: 30}
	near, far := net.Pipe()
	go func() { _ = Attach(t.Context(), socket, far, far); _ = far.Close() }()
	view := session.NewView(session.Options{Stdin: in, Stdout: d, Size: d.sizes, First: true})
	go func() {
		defer close(d.ended)
		d.code, d.err = view.Attach(t.Context(), near)
	}()
	return d
}

func (d *desk) wait(want string) {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		d.mu.Lock()
		shown := d.shown.String()
		d.mu.Unlock()
		if strings.Contains(shown, want) {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the terminal shows %q, not %q", shown, want)
		}
	}
}

// With a terminal the agent is its foreground: it can read, ctrl-C is its own, and it is told
// its size.
func TestAgentOwnsTheTerminal(t *testing.T) {
	c, d := at(t, `trap 'echo interrupted; exit 5' INT; trap 'stty size' WINCH; stty size; until read line; do :; done; echo "read $line"; while :; do sleep 0.05; done`)
	d.wait("30 90") // from the one who looks
	_, _ = d.keys.Write([]byte("words\n"))
	d.wait("read words")
	d.sizes <- session.Size{Width: 101, Height: 31}
	d.wait("31 101")
	_, _ = d.keys.Write([]byte("\x03"))
	d.wait("interrupted")
	<-d.ended
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != 5 || d.code != 5 || d.err != nil {
		t.Errorf("got status %d; the operator was told %d, %v", got, d.code, d.err)
	}
}

// Not a byte is lost of an agent that ends before its operator has come.
func TestAQuickAgentIsSeen(t *testing.T) {
	c, d := at(t, `printf 'first and last'; exit 7`, "GUEST_AWAITED=1")
	<-d.ended
	_ = c.Wait()
	if d.wait("first and last"); c.ProcessState.ExitCode() != 7 || d.code != 7 {
		t.Errorf("got %d, %d", c.ProcessState.ExitCode(), d.code)
	}
}

// A viewer that goes leaves the agent as it was, a shell that ignores the usual request ends
// when its terminal hangs up, and the transcript has it all.
func TestViewersGoAndTheTerminalHangsUp(t *testing.T) {
	socket := "@" + filepath.Base(t.TempDir()) + t.Name()
	c := exec.Command("/proc/self/exe", "guest-run", t.TempDir(), "sh", "-c", `trap '' TERM; echo here; while :; do sleep 0.05; done`)
	var cast bytes.Buffer
	c.Env, c.Stdout = append(os.Environ(), "GUEST_TERMINAL="+socket), &cast
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	for range 3 {
		conn, err := net.Dial("unix", socket)
		for ; err != nil; conn, err = net.Dial("unix", socket) {
			time.Sleep(5 * time.Millisecond)
		}
		_, _ = conn.Write([]byte("nonsense"))
		_ = conn.Close()
	}
	d := sit(t, socket)
	d.wait("here")
	_ = c.Process.Signal(syscall.SIGTERM)
	<-d.ended
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != 128+1 || d.code != 128+1 {
		t.Errorf("got status %d, %d", got, d.code)
	}
	if !strings.Contains(cast.String(), `"version":2`) || !strings.Contains(cast.String(), "here") { // as it was printed, or on a screen
		t.Errorf("the transcript is %q", cast.String())
	}
}

// In a bottle only root may look, which the engine can be and the agent cannot.
func TestTheAgentIsNoViewer(t *testing.T) {
	c, d := at(t, `echo ready; while :; do sleep 0.05; done`)
	d.wait("ready")
	socket := strings.TrimPrefix(c.Env[len(c.Env)-1], "GUEST_TERMINAL=")
	for uid, want := range map[uint32]string{0: "shown", 1000: "refused"} {
		other := exec.Command("/proc/self/exe", "guest-dial", socket)
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := other.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("user %d: got %q, %v", uid, out, err)
		}
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	<-d.ended
	_ = c.Wait()
}

// Ctrl-Z stops whatever has the terminal; there is no shell here to continue it.
func TestStoppedAgentIsContinued(t *testing.T) {
	code, out := runGuest(t, nil, "sh", "-c", `kill -STOP $$; echo continued; exit 6`)
	if code != 6 || !strings.Contains(out, "continued") {
		t.Errorf("got %d %q", code, out)
	}
}
