package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// desk is a real tmux: each of its windows is a terminal that reads what we print as tmux
// does, not as we do.
type desk struct {
	house
	socket string
}

func (h house) desk() desk {
	h.t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		h.t.Fatal("tmux is missing: scripts/setup --test installs it")
	}
	d := desk{h, filepath.Join(h.t.TempDir(), "tmux")}
	h.t.Cleanup(func() { _, _ = d.tmux(context.Background(), "kill-server") })
	return d
}

func (d desk) tmux(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "tmux", append([]string{"-S", d.socket, "-f", "/dev/null"}, args...)...)
	c.Env = d.Env() // a window's PATH is its client's
	out, err := c.CombinedOutput()
	return string(out), err
}

func (d desk) must(args ...string) string {
	d.t.Helper()
	out, err := d.tmux(d.t.Context(), args...)
	if err != nil {
		d.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return out
}

// window opens a terminal of 100 by 30 with the program in it, and says when that has ended.
func (d desk) window(name string, args ...string) {
	d.t.Helper()
	c := d.Command(d.t.Context(), args...)
	options := []string{"new-session", "-d", "-x", "100", "-y", "30", "-s", name}
	for _, variable := range c.Env {
		options = append(options, "-e", variable)
	}
	options = append(options, "env", "TERM=tmux-256color", "sh", "-c", `"$@"; echo "(status $?)"; exec sleep 10000`, "sh")
	d.must(append(options, c.Args...)...)
}

func (d desk) shot(name string) string { return d.must("capture-pane", "-p", "-t", name) }

// sees waits until a window shows something.
func (d desk) sees(name, want string) {
	d.t.Helper()
	d.until(fmt.Sprintf("window %s does not show %q", name, want), name, func(shot string) bool { return strings.Contains(shot, want) })
}

func (d desk) until(what, name string, ok func(string) bool) {
	d.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(d.shot(name)); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s:\n%s", what, d.shot(name))
		}
	}
}

func (d desk) keys(name string, keys ...string) {
	d.t.Helper()
	d.must(append([]string{"send-keys", "-t", name}, keys...)...)
}

// ended waits until a window's program has ended, and returns its status.
func (d desk) ended(name string) (status string) {
	d.t.Helper()
	d.until("it does not end", name, func(shot string) bool {
		shot = strings.ReplaceAll(shot, "\n", "") // what was killed has left the cursor anywhere
		found := regexp.MustCompile(`\(status (\d+)\)`).FindStringSubmatch(shot)
		if found != nil {
			status = found[1]
		}
		return found != nil
	})
	return status
}

// modes are what a program has done to the terminal.
func (d desk) modes(name string) string {
	d.t.Helper()
	return strings.TrimSpace(d.must("display-message", "-p", "-t", name,
		"alternate #{alternate_on} cursor #{cursor_flag} keys #{keypad_cursor_flag} keypad #{keypad_flag} mouse #{mouse_any_flag} insert #{insert_flag} origin #{origin_flag} wrap #{wrap_flag}"))
}

const untouched = "alternate 0 cursor 1 keys 0 keypad 0 mouse 0 insert 0 origin 0 wrap 1"

// shell is an agent that is a shell, with programs that use all of a terminal.
func (h house) shell() {
	h.t.Helper()
	dockerfile := "USER root\nRUN apt-get update -q && apt-get install -qy --no-install-recommends vim-tiny less htop && rm -rf /var/lib/apt/lists/*\n" +
		"RUN printf '#!/bin/sh\\nPS1=\"ready: \" exec sh -i\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n"
	if err := errors.Join(
		h.Write("shell/Dockerfile", dockerfile),
		h.Write("bottles/shell.md", "---\nextends: dev\nagent_provider: {dockerfile: "+filepath.Join(h.Home, "shell", "Dockerfile")+"}\n---\n"),
		h.Write("agents/shell.md", "---\nbottle: shell\n---\n"),
	); err != nil {
		h.t.Fatal(err)
	}
}

func (d desk) started(name string) string {
	d.t.Helper()
	d.sees(name, "is up")
	return regexp.MustCompile(`([a-z0-9-]+-[a-z2-7]{6}) is up`).FindStringSubmatch(d.shot(name))[1]
}

// The real Claude Code is asked, left, and found again as it was left; a second terminal
// shows the same; its size follows who types; the CLI and its helper are killed with -9, and
// the agent never notices.
func TestASessionOutlivesItsTerminals(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "PAPAYA-3301"})
	d := h.desk()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--rm", "--detach", "claude").Stdout)
	t.Cleanup(func() { _, _ = h.Run(context.WithoutCancel(t.Context()), nil, "stop", identity) })
	d.window("one", "attach", identity)
	d.sees("one", "bypass permissions on")
	d.keys("one", "which fruit?")
	d.sees("one", "which fruit?")
	d.keys("one", "Enter")
	d.sees("one", "PAPAYA-3301")
	d.settled("one")
	before := d.shot("one")
	d.keys("one", "C-p", "C-q")
	if status := d.ended("one"); status != "0" || d.modes("one") != untouched {
		t.Errorf("left with status %s, and %s", status, d.modes("one"))
	}
	d.window("two", "attach", identity)
	d.until("it is not as it was left:\n"+before, "two", func(shot string) bool { return same(before, shot) })
	d.window("three", "attach", identity)
	d.until("a second one does not show the same:\n"+before, "three", func(shot string) bool { return same(before, shot) })

	d.must("resize-window", "-t", "three", "-x", "80", "-y", "24")
	d.keys("three", "and now?")
	d.sees("three", "and now?")
	d.sees("two", "and now?")
	d.hasSize(identity, "24 80")
	d.keys("two", "!")
	d.hasSize(identity, "30 100")

	d.signal("two", syscall.SIGKILL)
	h.run(0, "", "exec", "--root", identity, "--", "sh", "-c", "kill -9 $(pgrep -f 'guest ([a]ttach|[t]alk|[b]ring)')")
	d.until("no stream takes over", "three", func(shot string) bool {
		if !strings.Contains(shot, "!?") {
			d.keys("three", "?") // what is typed before the loss is seen may be lost with it
		}
		return strings.Contains(shot, "and now?!?")
	})
	d.window("four", "attach", "--read-only", identity)
	d.sees("four", "and now?!?")
	d.keys("four", "xyz")
	d.keys("four", "C-c")
	d.ended("four")
	if shot := d.shot("three"); strings.Contains(shot, "xyz") {
		t.Errorf("who only looks has typed:\n%s", shot)
	}
	d.must("kill-session", "-t", "three") // the terminal is closed
	if r := h.run(0, "", "list"); !strings.Contains(r.Stdout, identity) {
		t.Errorf("it does not run: %s", r.Stdout)
	}
	text := h.run(0, "", "logs", "--transcript", identity)
	if !strings.Contains(text.Stdout, "PAPAYA-3301") {
		t.Errorf("the transcript shows %s", text.Stdout)
	}
}

// settled waits until a window has shown the same for a while: a program that draws on has
// nothing to compare.
func (d desk) settled(name string) {
	d.t.Helper()
	before, same := "", 0
	d.until("it does not settle", name, func(shot string) bool {
		if same++; shot != before {
			before, same = shot, 0
		}
		return same > 20
	})
}

// same compares two screens, but for lines at their ends that are empty, and for the hints that
// Claude Code takes away by itself after a while.
func same(a, b string) bool { return withoutHints(a) == withoutHints(b) }

func withoutHints(shot string) string {
	return strings.TrimRight(regexp.MustCompile(`(?m)^ *◐ .*$| · ← for agents| +$`).ReplaceAllString(shot, ""), "\n ")
}

func (d desk) hasSize(identity, want string) {
	d.t.Helper()
	const size = `stty -F /proc/$(pgrep -x claude | head -1)/fd/0 size`
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		r := d.run(0, "", "exec", identity, "--", "sh", "-c", size)
		if strings.TrimSpace(r.Stdout) == want {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the agent's terminal is %q, not %q", r.Stdout, want)
		}
	}
}

// vim, less and htop work as on any terminal, are there again when one comes back in the
// middle, and leave the terminal as it was; so does one that is left in the middle. The
// agent's exit status is told, kept, and told again.
func TestFullScreenPrograms(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.shell()
	d := h.desk()
	d.window("w", "start", "-y", "shell")
	identity := d.started("w")
	h.removeAtEnd(identity)
	d.sees("w", "ready:")
	d.keys("w", "seq 1 500 > /workspace/n; vi /workspace/file", "Enter")
	d.sees("w", "[New")
	d.keys("w", "ihello from vim", "Escape", "yyp")
	d.until("vim does not show it twice", "w", func(shot string) bool { return strings.Count(shot, "hello from vim") == 2 })
	d.keys("w", "C-p", "C-q")
	d.ended("w")
	if got := d.modes("w"); got != untouched {
		t.Errorf("left in the middle of vim the terminal is %s", got)
	}
	d.sees("w", "left "+identity+" running")

	d.window("a", "attach", identity)
	d.until("vim is not there again", "a", func(shot string) bool { return strings.Count(shot, "hello from vim") == 2 })
	d.keys("a", ":wq", "Enter")
	d.sees("a", "ready:")
	if shot := d.shot("a"); strings.Contains(shot, "hello from vim") {
		t.Errorf("vim's screen stays:\n%s", shot)
	}
	d.keys("a", "less /workspace/n", "Enter")
	d.sees("a", "29")
	d.keys("a", "G")
	d.sees("a", "(END)")
	d.must("resize-window", "-t", "a", "-x", "90", "-y", "20")
	d.until("less does not follow the size", "a", func(shot string) bool {
		lines := strings.Split(shot, "\n")
		return len(lines) >= 20 && (lines[19] == ":" || lines[19] == "(END)") && !strings.Contains(lines[18], ":")
	})
	d.settled("a")
	d.keys("a", "q")
	d.sees("a", "ready:")
	d.keys("a", "htop", "Enter")
	d.sees("a", "F10")
	d.keys("a", "q")
	d.sees("a", "ready:")
	d.keys("a", "exit 9", "Enter")
	if status := d.ended("a"); status != "9" || d.modes("a") != untouched {
		t.Errorf("got status %s, %s", status, d.modes("a"))
	}
	d.sees("a", identity+" has ended")
	d.sees("a", "to go on with it: bot-bottle resume "+identity)
	var all []struct {
		Identity string
		ExitCode int `json:"exit_code"`
	}
	if err := json.Unmarshal([]byte(h.run(0, "", "list", "all", "--json").Stdout), &all); err != nil || len(all) != 1 || all[0].ExitCode != 9 {
		t.Errorf("list all: %+v, %v", all, err)
	}
	late := d.late(identity)
	if !strings.Contains(late, identity+" has ended, with status 9") {
		t.Errorf("a later attach: %s", late)
	}
	if text := h.run(0, "", "logs", "--transcript", identity).Stdout; !strings.Contains(text, "exit 9") {
		t.Errorf("the transcript shows %s", text)
	}
}

// late attaches to what has ended.
func (d desk) late(identity string) string {
	d.t.Helper()
	d.window("late", "attach", identity)
	if status := d.ended("late"); status != "2" {
		d.t.Errorf("got status %s", status)
	}
	return strings.ReplaceAll(d.shot("late"), "\n", " ")
}

// A signal to start, and the end of its terminal, leave the agent running; stop ends one
// that does not want to; how it ended is on record, with nobody there too.
func TestStartIsLeftByItsEnd(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.shell()
	d := h.desk()
	var identities []string
	for name, leave := range map[string]func(string){
		"term": func(name string) { d.signal(name, syscall.SIGTERM) },
		"hup":  func(name string) { d.must("kill-session", "-t", name) },
		"kill": func(name string) { d.signal(name, syscall.SIGKILL) },
	} {
		d.window(name, "start", "-y", "shell")
		identity := d.started(name)
		h.removeAtEnd(identity)
		identities = append(identities, identity)
		d.sees(name, "ready:")
		leave(name)
	}
	if got := d.modes("term"); got != untouched {
		t.Errorf("the terminal is %s", got)
	}
	running := h.run(0, "", "list").Stdout
	for _, identity := range identities {
		if !strings.Contains(running, identity) {
			t.Errorf("%s does not run:\n%s", identity, running)
		}
	}
	h.run(0, "", "stop", identities[0])
	d.window("x", "attach", identities[1])
	d.sees("x", "ready:")
	d.keys("x", "(sleep 1; kill -9 $$) & exec sleep 100", "Enter")
	if status := d.ended("x"); status != "137" {
		t.Errorf("got status %s", status)
	}
	h.run(0, "", "exec", identities[2], "--", "sh", "-c", "kill -HUP $(pgrep -x sh | head -1)") // with nobody there
	ended := func() bool { return !strings.Contains(h.run(0, "", "list").Stdout, identities[2]) }
	for deadline := time.Now().Add(30 * time.Second); !ended() && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
	}
	want := identities[2] + " has ended, with status"
	if late := d.late(identities[2]); !strings.Contains(late, want) {
		t.Errorf("got %s", late)
	}
	h.run(0, "", "cleanup", "-y")
	d.must("kill-session", "-t", "late")
	if late := d.late(identities[2]); !strings.Contains(late, want) {
		t.Errorf("after cleanup: got %s", late)
	}
	if !slices.ContainsFunc(strings.Split(h.run(0, "", "list", "all").Stdout, "\n"), func(line string) bool {
		return strings.HasPrefix(line, identities[2]) && strings.Contains(line, "ended with status")
	}) {
		t.Error("list all does not say how it ended")
	}
}

// signal sends a window's program one.
func (d desk) signal(name string, s syscall.Signal) {
	d.t.Helper()
	if err := syscall.Kill(d.inWindow(name), s); err != nil {
		d.t.Fatal(err)
	}
	d.ended(name)
}

// inWindow is the program in a window.
func (d desk) inWindow(name string) int {
	d.t.Helper()
	shell := strings.TrimSpace(d.must("display-message", "-p", "-t", name, "#{pane_pid}"))
	out, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err := errors.Join(err, convErr); err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// Attack H1, from a real bottle through all that is between: the clipboard, the title and
// answers that the operator's terminal would type. tmux, which would obey each, did not get
// them; nor does a command's output do what the agent's cannot.
func TestAttackH1_AnAgentCannotReachBeyondItsScreen(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.shell()
	d := h.desk()
	const evil = `printf '\033]52;c;c3RvbGVu\007\033]0;stolen-title\007\033[c\033[6n\033[>q\033]11;?\007\033Ptmux;\033\033]52;c;c3RvbGVu\007\033\\\033kstolen-name\033\\after-%s\n' it`
	d.window("w", "start", "-y", "--rm", "shell")
	d.must("set-option", "-s", "set-clipboard", "on")
	d.must("set-option", "-g", "allow-rename", "on")
	identity := d.started("w")
	t.Cleanup(func() { _, _ = h.Run(context.WithoutCancel(t.Context()), nil, "stop", identity) })
	d.sees("w", "ready:")
	d.keys("w", evil, "Enter")
	d.sees("w", "after-it")
	d.window("x", "exec", identity, "--", "sh", "-c", evil)
	d.sees("x", "after-it")
	for _, name := range []string{"w", "x"} {
		got := d.must("display-message", "-p", "-t", name, "#{pane_title} #{window_name}")
		if buffers, _ := d.tmux(t.Context(), "list-buffers"); strings.Contains(buffers, "stolen") || strings.Contains(got, "stolen") {
			t.Errorf("%s: it came through: %s %s", name, buffers, got)
		}
	}
}

// An agent that asks whether its terminal is dark is told what the operator's terminal says,
// which an agent that is started on it may ask at once; what that answers is no key of the agent's.
func TestAnAgentIsToldTheColoursOfTheTerminal(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	script := "#!/bin/bash\nstty raw -echo min 0 time 30\nprintf '\\033]11;?\\007\\033[?996n'\nanswer=$(head -c 40 | tr '\\033' E)\nstty sane\necho \"told <$answer>\"\nwhile read -r line; do echo \"you said $line\"; done\n"
	if err := errors.Join(
		h.Write("asker/claude", script),
		h.Write("asker/Dockerfile", "USER root\nCOPY claude /usr/local/bin/claude\nRUN chmod 755 /usr/local/bin/claude\n"),
		h.Write("bottles/asker.md", "---\nextends: dev\nagent_provider: {dockerfile: "+filepath.Join(h.Home, "asker", "Dockerfile")+"}\n---\n"),
		h.Write("agents/asker.md", "---\nbottle: asker\n---\n"),
	); err != nil {
		t.Fatal(err)
	}
	s := h.terminal("start", "-y", "--rm", "asker")
	s.waitRaw("\x1b]11;?")
	s.send("\x1b]10;rgb:1e1e/1e1e/1e1e\x1b\\\x1b]11;rgb:fdfd/f6f6/e3e3\x1b\\")
	s.waitRaw("told <E]11;rgb:fdfd/f6f6/e3e3E\\E[?997;2n>")
	s.send("hello\n")
	s.waitRaw("you said hello")
	s.send("\x04")
	if code := s.end(); code != 0 {
		t.Errorf("got status %d", code)
	}
	s.cooked()
}
