package gitgate

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// line is a connection to an ssh upstream that is held open between operations
// (ssh_config(5), ControlMaster): greeting and checking each other takes longer than all else
// that a fetch with nothing new needs. It is made by the same ssh with the same configuration
// as each connection besides: the pinned host key, the one credential. Whoever finds none
// connects as ever. The mirror's lock is held in all calls.
type line struct {
	config  string   // what ssh reads
	to      []string // whom it connects to, as arguments
	socket  string   // by which git's ssh finds it
	log     *slog.Logger
	idle    time.Duration // after which it is closed
	oldest  time.Duration // after which nothing begins on it any more
	process *exec.Cmd     // nil for none
	gone    chan struct{} // closed when process has ended
	opened  time.Time
	used    time.Time
	resting *time.Timer
	ended   bool // for good
}

// How long a connection is held: while a bottle works, but not for so long that a credential
// or a host key that has been withdrawn goes on being good.
const (
	lineIdle   = 5 * time.Minute // as those to https upstreams are
	lineOldest = 15 * time.Minute
)

// maxSocket is how long the path of a unix socket may be, less what ssh adds to it meanwhile.
const maxSocket = 107 - len(".0123456789abcdef")

// newLine prepares one; nil where the upstream is no ssh, or no socket can be there.
func newLine(r control.GitRepository, o Options, config string) *line {
	if strings.HasPrefix(r.Upstream, "https://") {
		return nil
	}
	socket := filepath.Join(o.Keys, "line-"+rand.Text()[:10]) // of this mirror alone, not of what takes its place with another key
	if len(socket) > maxSocket || strings.ContainsAny(socket, `%" `) {
		o.Log.Info("no connection to an upstream is held: the path is too long", "repository", r.Name, "path", socket)
		return nil
	}
	return &line{config: config, to: sshDestination(r.Upstream), socket: socket, log: o.Log.With("repository", r.Name), idle: lineIdle, oldest: lineOldest}
}

// sshDestination is an upstream as ssh's arguments.
func sshDestination(upstream string) []string {
	host, port := sshAddress(upstream)
	user := ""
	if u, err := url.Parse(upstream); err == nil && u.Scheme == "ssh" {
		user = u.User.Username()
	} else if name, _, ok := strings.Cut(upstream, "@"); ok {
		user = name
	}
	var args []string
	if port != "" {
		args = append(args, "-p", port)
	}
	if user != "" {
		args = append(args, "-l", user)
	}
	return append(args, "--", host)
}

// path is what ssh calls it in its configuration.
func (l *line) path() string {
	if l == nil {
		return "none"
	}
	return l.socket
}

// up reports whether there is a connection.
func (l *line) up() bool {
	if l == nil || l.process == nil {
		return false
	}
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// keep holds a connection from now on, after one that went well. It does not wait for it. rest
// is called, without the lock, when nothing has come for a while.
func (l *line) keep(rest func()) {
	if l == nil || l.ended {
		return
	}
	l.used = time.Now()
	if l.up() && !l.old() {
		l.resting.Reset(min(l.idle, l.oldest-time.Since(l.opened)))
		return
	}
	l.close()
	if err := l.open(); err != nil {
		l.log.Info("no connection to an upstream could be held", "err", err)
		return
	}
	l.resting = time.AfterFunc(min(l.idle, l.oldest), rest)
}

func (l *line) old() bool { return time.Since(l.opened) >= l.oldest }

// rest closes it if nothing has come meanwhile, or it is too old for what comes.
func (l *line) rest() {
	if time.Since(l.used) >= l.idle || l.up() && l.old() {
		l.close()
	}
}

func (l *line) open() error {
	argv := append(limits(maxFile), append([]string{
		"/usr/bin/ssh",
		"-F", l.config, "-N", "-T", "-o", "ControlMaster=yes", "-o", "ControlPath=" + l.socket,
		"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", // who has lost the upstream finds out before a fetch does
	}, l.to...)...)
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C"}
	c.SysProcAttr = attributes()
	said := &bounded{most: 4 << 10, tail: true}
	c.Stderr = said
	if err := c.Start(); err != nil {
		return err
	}
	l.process, l.gone, l.opened = c, make(chan struct{}), time.Now()
	go func(gone chan struct{}) {
		defer close(gone)
		if err := c.Wait(); err != nil && len(bytes.TrimSpace(said.kept.Bytes())) > 0 {
			l.log.Info("a connection to an upstream has ended", "err", err, "said", printable(said.String()))
		}
	}(l.gone)
	return nil
}

// close ends the connection, and waits for it.
func (l *line) close() {
	if l == nil || l.process == nil {
		return
	}
	l.resting.Stop()
	_ = signalGroup(l.process.Process, syscall.SIGTERM)
	select {
	case <-l.gone:
	case <-time.After(grace):
		_ = signalGroup(l.process.Process, syscall.SIGKILL)
		<-l.gone
	}
	if err := os.Remove(l.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.log.Info("a socket is left", "err", err)
	}
	l.process = nil
}

// end closes it for good.
func (l *line) end() {
	if l != nil {
		l.ended = true
		l.close()
	}
}

// lists asks an ssh upstream for its refs. A connection that was held may have died unnoticed:
// then the same is asked on a new one.
func (m *mirror) lists(ctx context.Context) ([]byte, error) {
	held := m.line.up()
	out, err := m.upstream.run(ctx, nil, "ls-remote", "--symref", "--", m.Upstream)
	if err != nil && held && ctx.Err() == nil {
		m.line.close()
		out, err = m.upstream.run(ctx, nil, "ls-remote", "--symref", "--", m.Upstream)
	}
	if err != nil {
		return nil, err
	}
	m.line.keep(m.rest)
	return out, nil
}

// rest closes a connection that nobody has needed for a while.
func (m *mirror) rest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.line.rest()
}

// leave closes it for good, once what is under way has come to its end.
func (m *mirror) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.line.end()
}
