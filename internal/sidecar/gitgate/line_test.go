package gitgate

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// lineLab is a gate that holds a connection to its upstream.
func lineLab(t *testing.T) (*lab, *line) {
	t.Helper()
	l := newLab(t)
	l.git("/", "ls-remote", l.url)
	held := l.server.all[0].line
	if held == nil {
		t.Fatal("no connection is held: is the path of the test's directory too long?")
	}
	l.connected(held)
	return l, held
}

// connected waits until a connection can be used.
func (l *lab) connected(held *line) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("unix", held.socket)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			l.t.Fatal("no connection is held")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// closed waits until a line's process has ended, and its socket is away.
func (l *lab) closed(held *line, gone <-chan struct{}) {
	l.t.Helper()
	select {
	case <-gone:
	case <-time.After(time.Minute):
		l.t.Fatal("the connection is still there")
	}
	m := l.server.all
	if len(m) > 0 {
		m[0].mu.Lock() // whoever closes it has done so
		defer m[0].mu.Unlock()
	}
	if _, err := os.Lstat(held.socket); !errors.Is(err, fs.ErrNotExist) {
		l.t.Errorf("its socket is left: %v", err)
	}
}

// Fetches and pushes go over one connection. When that breaks off they do without, and there
// is another one for those after them.
func TestLineIsHeld(t *testing.T) {
	l, held := lineLab(t)
	work := l.clone()
	before := l.ssh.logins()
	for range 3 {
		l.git(work, "fetch", "-q")
	}
	l.git(work, "checkout", "-q", "-b", "agent/line")
	head := l.commit(work, "a", "a\n")
	l.git(work, "push", "-q", "origin", "agent/line")
	if l.theirs("refs/heads/agent/line") != head {
		t.Error("the push did not arrive")
	}
	if after := l.ssh.logins(); after != before {
		t.Errorf("%d connections more, want none", after-before)
	}
	gone := held.gone
	l.ssh.drop()
	l.git(work, "fetch", "-q")
	<-gone
	l.connected(held)
}

// A line whose other end is gone, without anybody having noticed, costs no fetch.
func TestLineThatIsDeadFailsNoFetch(t *testing.T) {
	l, held := lineLab(t)
	m := l.server.all[0]
	m.mu.Lock()
	held.close()
	held.dies(t)
	m.mu.Unlock()
	l.git("/", "ls-remote", l.url)
}

// dies has a line's other end be gone, without the gate having noticed: who comes is hung up on.
func (l *line) dies(t *testing.T) {
	t.Helper()
	dead, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dead.Close() })
	go func() {
		for {
			c, err := dead.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
}

// It is closed when nobody has needed it for a while.
func TestLineRests(t *testing.T) {
	l, held := lineLab(t)
	m := l.server.all[0]
	m.mu.Lock()
	held.idle = time.Millisecond
	gone := held.gone
	m.mu.Unlock()
	l.git("/", "ls-remote", l.url)
	l.closed(held, gone)
}

// After a while another takes its place, so that key and host are checked again.
func TestLineIsRenewed(t *testing.T) {
	l, held := lineLab(t)
	m := l.server.all[0]
	m.mu.Lock()
	held.opened = held.opened.Add(-held.oldest)
	gone := held.gone
	m.mu.Unlock()
	l.git("/", "ls-remote", l.url)
	<-gone
	l.connected(held)
}

// It is closed when it is too old, not when somebody comes next: who comes checks key and host
// again.
func TestAttackF10_LineIsNotUsedBeyondItsAge(t *testing.T) {
	l, held := lineLab(t)
	m := l.server.all[0]
	m.mu.Lock()
	held.close()
	held.oldest = 100 * time.Millisecond
	held.keep(m.rest)
	gone := held.gone
	m.mu.Unlock()
	l.closed(held, gone)
}

// Nothing holds it again once it has ended for good, as what is still under way then would.
func TestLineStaysEnded(t *testing.T) {
	l, held := lineLab(t)
	m := l.server.all[0]
	m.leave()
	m.mu.Lock()
	defer m.mu.Unlock()
	if held.keep(m.rest); held.up() {
		t.Error("there is a connection again")
	}
}

// It ends with the gate.
func TestLineEndsWithTheGate(t *testing.T) {
	l, held := lineLab(t)
	gone := held.gone
	l.stop()
	l.closed(held, gone)
}

// ATTACK: the operator takes a repository away, or gives the gate another key for it. What was
// let in with the old one goes on over the connection that is still open.
func TestAttackF10_LineOutlivesNoKey(t *testing.T) {
	for name, change := range map[string]func(*control.GitConfig){
		"gone": func(c *control.GitConfig) { c.Repositories = nil },
		"key":  func(c *control.GitConfig) { c.Repositories[0].Key = "none" },
	} {
		t.Run(name, func(t *testing.T) {
			l, held := lineLab(t)
			gone := held.gone
			config := l.config
			config.Repositories = append([]control.GitRepository(nil), config.Repositories...)
			change(&config)
			if err := l.server.Apply(config); err != nil {
				t.Fatal(err)
			}
			if out, err := l.try("/", "ls-remote", l.url); err == nil {
				t.Errorf("it still answers: %s", out)
			}
			select {
			case <-gone:
			case <-time.After(time.Minute):
				t.Error("the connection is still open")
			}
			if after := l.server.all; len(after) > 0 && after[0].line.socket == held.socket {
				t.Error("who has another key looks for the old connection")
			}
		})
	}
}

// The connection is made with what is pinned, as every other.
func TestLineIsMadeWithTheSameConfiguration(t *testing.T) {
	l, held := lineLab(t)
	argv := held.process.Args
	argv = argv[slices.Index(argv, "/usr/bin/ssh"):] // behind its limits
	config := read(t, held.config)
	if argv[1] != "-F" || argv[2] != held.config || !strings.Contains(config, "StrictHostKeyChecking yes") || !strings.Contains(config, "ControlPath "+held.socket) || !strings.Contains(config, "ControlMaster no") {
		t.Errorf("%v with\n%s", argv, config)
	}
	for _, arg := range argv {
		if strings.Contains(arg, "StrictHostKeyChecking") || strings.Contains(arg, "KnownHosts") || strings.Contains(arg, "Identity") || strings.Contains(arg, "Forward") {
			t.Errorf("%s is another than with all others", arg)
		}
	}
	info, err := os.Stat(held.socket)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("its socket is for others too: %v %v", info.Mode(), err)
	}
	if filepath.Dir(held.socket) != filepath.Join(l.dir, "keys") {
		t.Errorf("its socket is at %s", held.socket)
	}
}

// A connection is held where ssh can make its socket, and nowhere else: fetches work without.
func TestWhereNoSocketCanBeNoLineIsHeld(t *testing.T) {
	r := control.GitRepository{Upstream: "ssh://git@git.example/x.git"}
	short, err := os.MkdirTemp("/tmp", "") // t.TempDir may be too long already
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	dir := func(n int) string { return short + "/" + strings.Repeat("k", n-len(short)-1) }
	const name = len("/line-0123456789")
	for keys, held := range map[string]bool{dir(maxSocket - name): true, dir(maxSocket - name + 1): false, short + "/a b": false, short + "/%h": false, short + `/"`: false} {
		line := newLine(r, Options{Keys: keys, Log: slog.New(slog.DiscardHandler)}, "config")
		if (line != nil) != held {
			t.Errorf("%d bytes, %s: held %v", len(keys), keys, line != nil)
		}
		if line == nil {
			continue
		}
		if err := os.MkdirAll(keys, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", line.socket+".0123456789abcdef") // as ssh does at first
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
