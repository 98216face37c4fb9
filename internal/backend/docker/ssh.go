package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// An engine behind ssh:// is reached as the docker command does it: each connection is an
// ssh of its own that runs `docker system dial-stdio` on the other side. The operator's
// own ssh does it, with the operator's configuration, keys and known hosts.

// sshAtOnce is how many connections are being made at once: an sshd refuses some of ten
// that have not logged in yet (MaxStartups in sshd_config(5)).
const sshAtOnce = 4

// remote is an engine behind ssh.
type remote struct {
	host  string   // for messages
	argv  []string // of one connection
	turns chan struct{}
}

// parseSSH reads ssh://[user@]host[:port][/path of the socket].
func parseSSH(endpoint string) (*remote, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the address of an engine: ssh://[user@]host[:port]", endpoint)
	}
	if _, has := u.User.Password(); has {
		return nil, errors.New("an engine's address must not hold a password: use a key")
	}
	// BatchMode: there is no terminal to ask at, and ten connections would ask ten times.
	argv := []string{"ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"}
	if name := u.User.Username(); name != "" {
		argv = append(argv, "-l", name)
	}
	if port := u.Port(); port != "" {
		argv = append(argv, "-p", port)
	}
	argv = append(argv, "--", u.Hostname(), "docker") // behind --, no name is an option
	if u.Path != "" && u.Path != "/" {
		if strings.Trim(u.Path, "/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			return nil, fmt.Errorf("%q is not the path of an engine's socket", u.Path)
		}
		argv = append(argv, "--host", "unix://"+u.Path)
	}
	return &remote{host: u.Hostname(), argv: append(argv, "system", "dial-stdio"), turns: make(chan struct{}, sshAtOnce)}, nil
}

// dial opens one connection. The process outlives ctx, and ends with the connection.
func (r *remote) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	done := sync.OnceFunc(func() { <-r.turns })
	near, far, err := pair()
	if err != nil {
		done()
		return nil, err
	}
	c := &sshConn{UnixConn: near, done: done}
	c.process = exec.Command(r.argv[0], r.argv[1:]...)
	c.process.Stdin, c.process.Stdout, c.process.Stderr = far, far, &c.said
	c.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ctrl-c is for us: what we take down goes through it
	err = c.process.Start()
	_ = far.Close()
	if err != nil {
		done()
		return nil, errors.Join(fmt.Errorf("cannot run ssh: %w", err), near.Close())
	}
	return c, nil
}

// pair is two ends of a stream: ours, and a file for a process.
func pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	near, far := os.NewFile(uintptr(fds[0]), "ssh"), os.NewFile(uintptr(fds[1]), "ssh")
	conn, err := net.FileConn(near)
	if err := errors.Join(err, near.Close()); err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return conn.(*net.UnixConn), far, nil
}

// sshConn is a connection through a process.
type sshConn struct {
	*net.UnixConn
	process *exec.Cmd
	said    plain.Tail
	done    func() // it is made, or will not be

	once  sync.Once
	ended error
}

// Read says why there is nothing to read, when ssh knows.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.UnixConn.Read(p)
	c.done()
	return n, c.explain(err)
}

// Write does the same.
func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.UnixConn.Write(p)
	return n, c.explain(err)
}

// explain gives the end of a stream the reason that ssh gave, if it failed.
func (c *sshConn) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		if why := c.end(); why != nil {
			return why
		}
	}
	return err
}

// Close ends the process.
func (c *sshConn) Close() error {
	err := c.UnixConn.Close()
	c.done()
	_ = c.end()
	return err
}

// sshGrace is how long ssh may take to end by itself once its streams are closed.
const sshGrace = 2 * time.Second

// end waits for the process, and says why it failed. It does so once.
func (c *sshConn) end() error {
	c.once.Do(func() {
		kill := time.AfterFunc(sshGrace, func() { _ = c.process.Process.Kill() })
		err := c.process.Wait()
		kill.Stop()
		if said := c.said.Last(); err != nil && said != "" {
			c.ended = fmt.Errorf("ssh: %s", said)
		}
	})
	return c.ended
}
