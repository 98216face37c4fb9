//go:build linux

package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// machine is what runs of a bottle: its guest, in namespaces of its own, and its bundle.
type machine struct {
	identity, agent string
	remove, tty     bool
	services        []control.Service
	started         time.Time
	secrets         map[string]secret.Value // to keep out of the transcript

	dir    string   // of sockets, which ends with it
	guest  *process // process 1
	bundle *process // nil: it was started for its files alone

	mu      sync.Mutex
	release func()        // gives up the lock; nil while nobody holds it
	free    chan struct{} // closed when nobody holds it any more
	stream  net.Conn      // the agent's, from its first byte; taken once

	once   sync.Once
	closed error
}

// process is one that ends with this process.
type process struct {
	*exec.Cmd
	ended chan struct{} // closed when it has
}

// start starts a command on a thread that lives as long as it does: the kernel ends a process
// with the thread that made it (prctl(2), PR_SET_PDEATHSIG).
func start(c *exec.Cmd) (*process, error) {
	p, started := &process{c, make(chan struct{})}, make(chan error)
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// end asks a process to end, makes it after a while, and waits.
func (p *process) end(ask syscall.Signal, patience time.Duration) {
	_ = p.Process.Signal(ask)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.Process.Kill()
		<-p.ended
	}
}

// newMachine has a directory, short enough for sockets, and nothing else.
func newMachine() (*machine, error) {
	dir, err := os.MkdirTemp("", "bb")
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "root"), 0o755)
	}
	return &machine{dir: dir, free: make(chan struct{})}, err
}

// boot starts a machine's guest, with what dir holds as home and workspace. What cannot be set up is
// its error.
func (d *Driver) boot(ctx context.Context, m *machine, dir string) error {
	l := layout{
		Root: filepath.Join(m.dir, "root"), Program: d.Program, Programs: d.Programs,
		Home: filepath.Join(dir, "home"), Workspace: filepath.Join(dir, "workspace"), Sockets: map[string]string{},
	}
	for _, s := range []control.Service{control.Egress, control.GitGate, control.Supervise} {
		if socket := filepath.Join(m.dir, string(s)+".sock"); exists(socket) {
			l.Sockets[string(s)+".sock"] = socket
		}
	}
	if err := errors.Join(os.MkdirAll(l.Home, 0o755), os.MkdirAll(l.Workspace, 0o755)); err != nil {
		return err
	}
	up, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = up.Close() }()
	c := exec.Command("/proc/self/exe", first)
	c.ExtraFiles = []*os.File{theirs} // upFD
	c.Env = environment()
	m.guest, err = inNamespaces(c, l)
	_ = theirs.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = m.guest.Process.Kill() })()
	if why, err := io.ReadAll(up); err != nil || len(why) > 0 {
		return errors.Join(err, errors.New(string(why)))
	}
	return ctx.Err()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// halt ends all that there is, and waits for it.
func (m *machine) halt() error {
	if m.guest != nil && m.guest.Process != nil {
		m.guest.end(syscall.SIGKILL, bundleGrace) // and with process 1 all in its namespace
	}
	if m.bundle != nil && m.bundle.Process != nil {
		m.bundle.end(syscall.SIGTERM, bundleGrace)
	}
	return os.RemoveAll(m.dir)
}

// command is one of our own guest's in the bottle.
func (m *machine) command(args ...string) *exec.Cmd {
	into := []string{
		"--target", strconv.Itoa(m.guest.Process.Pid), "--user", "--mount", "--uts", "--ipc", "--net", "--pid",
		"--", "/bin/sh", "-c", "cd " + provider.Workspace + ` && exec "$@"`, "sh", control.Binary, "guest",
	}
	c := exec.Command("nsenter", append(into, args...)...)
	c.Env = environment()
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ctrl-c is for us
	return c
}

// kill ends what nsenter runs, and so nsenter, which must see it: else process 1 of this machine has
// to, and until then the bottle's namespaces do not end.
func kill(c *exec.Cmd) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid))
	pids := strings.Fields(string(children))
	if len(pids) == 0 {
		_ = c.Process.Kill() // it has not begun
	}
	for _, pid := range pids {
		if n, err := strconv.Atoi(pid); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
}

// inside starts a command of the guest's with us at the other end of its standard streams. It
// ends with the connection.
func (m *machine) inside(ctx context.Context, args ...string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer func() { _, _ = mine.Close(), theirs.Close() }()
	conn, err := net.FileConn(mine)
	if err != nil {
		return nil, err
	}
	c := m.command(args...)
	c.Stdin, c.Stdout = theirs, theirs
	if err := c.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go func() { _ = c.Wait() }()
	return conn, nil
}

// ask has the guest answer a verb with a line of JSON.
func (m *machine) ask(ctx context.Context, verb string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, agentGrace)
	defer cancel()
	k, err := m.inside(ctx, "talk", verb)
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	defer context.AfterFunc(ctx, func() { _ = k.Close() })()
	if err := json.NewDecoder(k).Decode(answer); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("the guest of %s does not answer: %w", m.identity, err))
	}
	return nil
}

// condition is how far its agent is.
func (m *machine) condition(ctx context.Context) (now control.Condition, err error) {
	if m.guest.over() {
		return now, nil
	}
	return now, m.ask(ctx, control.SayStatus, &now)
}
