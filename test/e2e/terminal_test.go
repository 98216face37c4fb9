package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// screen is a program on a pseudo-terminal.
type screen struct {
	t       *testing.T
	command *exec.Cmd
	tty     *os.File
	slave   *os.File
	read    chan struct{}
	before  *term.State // of the terminal, before the program had it

	mu   sync.Mutex
	text []byte
}

// terminal starts the program on a terminal of 120 by 40.
func (h house) terminal(args ...string) *screen {
	h.t.Helper()
	return onScreen(h.t, h.Command(h.t.Context(), args...))
}

// onScreen starts a command on a terminal of 120 by 40.
func onScreen(t *testing.T, c *exec.Cmd) *screen {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Cols: 120, Rows: 40}); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, command: c, tty: master, slave: slave, read: make(chan struct{})}
	s.command.Env = append(s.command.Env, "TERM=xterm-256color")
	s.command.Stdin, s.command.Stdout, s.command.Stderr = slave, slave, slave
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.before = s.state()
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.read)
		buffer := make([]byte, 32<<10)
		for {
			n, err := master.Read(buffer)
			s.mu.Lock()
			s.text = append(s.text, buffer[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
			s.reply(buffer[:n])
		}
	}()
	t.Cleanup(func() { _ = slave.Close(); _ = master.Close(); <-s.read })
	return s
}

var escapes = regexp.MustCompile(`\x1b(\[[0-9;?<>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78cM])`)

// plain is what is on the screen, more or less: control sequences become spaces.
func (s *screen) plain() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return escapes.ReplaceAllString(string(s.text), " ")
}

// wait waits until the screen shows a word.
func (s *screen) wait(word string) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(s.plain(), word) {
			return
		}
	}
	s.t.Fatalf("the screen does not show %q:\n%s", word, s.plain())
}

// waitRaw waits until the program has printed a sequence.
func (s *screen) waitRaw(sequence string) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		printed := strings.Contains(string(s.text), sequence)
		s.mu.Unlock()
		if printed {
			return
		}
	}
	s.t.Fatalf("%q was not printed:\n%s", sequence, s.plain())
}

// forget has wait look at what comes from now on.
func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = nil
}

func (s *screen) send(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the program's end, and returns its exit status. One that goes on is killed.
func (s *screen) end() int {
	s.t.Helper()
	defer time.AfterFunc(6*time.Minute, func() { _ = s.command.Process.Kill() }).Stop()
	err := s.command.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return s.command.ProcessState.ExitCode()
}

// cooked fails the test if the terminal is not as it was.
func (s *screen) cooked() {
	s.t.Helper()
	if after := s.state(); *after != *s.before {
		s.t.Errorf("the terminal was not restored: got %+v, want %+v", *after, *s.before)
	}
}

func (s *screen) state() *term.State {
	s.t.Helper()
	state, err := term.GetState(int(s.slave.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// Interactive: y is typed at the preflight, a question into the real Claude Code, the
// answer is read off the screen, and the terminal is as it was.
func TestInteractive(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "PINEAPPLE-7731"})
	s := h.terminal("start", "--rm", "claude")
	s.wait("[y/N]")
	s.send("y\n")
	s.wait("bypass permissions on")
	s.send("which fruit?")
	s.wait("which fruit?")
	s.send("\r")
	s.wait("PINEAPPLE-7731")
	s.send("/exit")
	s.wait("/exit")
	s.send("\r")
	if code := s.end(); code != 0 {
		t.Errorf("got status %d", code)
	}
	s.cooked()
}

// No is no: nothing is created.
func TestPreflightDeclined(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	for answer, want := range map[string]int{"n\n": 1, "\n": 1, "yo\n": 1, "\x03": 130, "\x04": 1} {
		s := h.terminal("start", "claude")
		s.wait("[y/N]")
		s.send(answer)
		if code := s.end(); code != want {
			t.Errorf("%q: got status %d, want %d:\n%s", answer, code, want, s.plain())
		}
		s.cooked()
	}
	if r := h.run(0, "", "list", "all"); r.Stdout != "" {
		t.Errorf("list all says %q", r.Stdout)
	}
}

// The operator detaches, comes back, resizes, and a hang-up ends the bottle cleanly.
func TestDetachAttachAndHangUp(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "MANGO-4410"})
	s := h.terminal("start", "-y", "--rm", "claude")
	s.wait("bypass permissions on")
	s.send("\x10\x11") // ctrl-p ctrl-q
	s.wait("to come back: bot-bottle attach")
	if code := s.end(); code != 0 {
		t.Errorf("detach: got status %d", code)
	}
	s.cooked()
	identity := regexp.MustCompile(`attach (claude-[a-z2-7]{6})`).FindStringSubmatch(s.plain())[1]

	again := h.terminal("attach", identity)
	again.wait("bypass permissions on") // it paints itself again
	if err := pty.Setsize(again.tty, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	again.send("which one?")
	again.wait("which one?")
	const size = `stty -F /proc/$(pgrep -x claude | head -1)/fd/0 size`
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r := h.run(0, "", "exec", identity, "--", "sh", "-c", size)
		if strings.TrimSpace(r.Stdout) == "30 100" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent's terminal is %q", r.Stdout)
		}
	}
	again.send("\r")
	again.wait("MANGO-4410")
	if err := again.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_ = again.end()
	again.cooked()
	h.run(0, "", "stop", identity)
}
