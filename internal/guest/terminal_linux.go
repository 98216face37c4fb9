package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/session"
)

// console is the agent's terminal, which the guest owns: the pseudo-terminal, what it shows,
// and the socket that operators come through.
type console struct {
	options  Terminal
	listener *net.UnixListener // nil where somebody else takes operators in
	master   *os.File
	agents   *os.File // the agent's end, until it has it
	hub      *session.Hub
	reading  sync.WaitGroup // the agent's output
	serving  sync.WaitGroup
}

// openConsole makes a terminal that operators come to through a socket of its own.
func openConsole(o Terminal) (*console, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: o.Socket})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for operators: %w", err)
	}
	o.Term = os.Getenv("TERM")
	c, err := newConsole(o)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	c.listener = listener
	c.serving.Go(c.serve)
	return c, nil
}

// newConsole makes a terminal of its size.
func newConsole(o Terminal) (_ *console, err error) {
	c := &console{options: o}
	if c.master, c.agents, err = openTerminal(); err != nil {
		return nil, fmt.Errorf("cannot make a terminal: %w", err)
	}
	c.hub = session.NewHub(c, o.Size)
	if o.Awaited {
		c.hub.Await()
	}
	drawn, _ := c.hub.Drawn()
	c.Resize(drawn)
	c.reading.Go(c.read)
	if o.Record != nil {
		go c.hub.NewRecorder(o.Record, o.Term).Run() // End waits for it, and no longer than for a viewer
	}
	return c, nil
}

// openTerminal makes a pseudo-terminal. Its master does not block: reads of it can end.
func openTerminal() (master, agents *os.File, err error) {
	made, agents, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = made.Close() }()
	fd, err := unix.FcntlInt(made.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, nil, errors.Join(err, agents.Close())
	}
	return os.NewFile(uintptr(fd), made.Name()), agents, nil
}

// started lets go of the agent's end: when the agent has, the output ends.
func (c *console) started() { _ = c.agents.Close() }

// Write types.
func (c *console) Write(p []byte) (int, error) { return c.master.Write(p) }

// Resize tells the agent.
func (c *console) Resize(s session.Size) {
	raw, err := c.master.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(s.Width), Row: uint16(s.Height)})
	})
}

func (c *console) read() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.master.Read(buffer)
		c.hub.Output(buffer[:n])
		if err != nil {
			return
		}
	}
}

// serve takes operators in. The engine runs their end as root, which nobody in the bottle
// is by himself: others are not listened to.
func (c *console) serve() {
	var viewers sync.WaitGroup
	defer viewers.Wait()
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return
		}
		if !c.options.trusts(conn) {
			_ = conn.Close()
			continue
		}
		viewers.Go(func() { c.hub.Serve(conn) })
	}
}

func (o Terminal) trusts(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	control := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return err == nil && control == nil && peer.Uid == 0
}

// How long the end of a session may take.
const (
	lastOutput = 300 * time.Millisecond // what the agent's children may still hold of its terminal
	lastWords  = 5 * time.Second        // a viewer, to hear that the agent has ended
	awaiting   = 15 * time.Second       // who launched it, to come
)

// finish tells operators how the agent ended, and closes the terminal.
func (c *console) finish(status int) {
	_ = c.master.SetReadDeadline(time.Now().Add(lastOutput))
	c.reading.Wait()
	patience := lastWords
	if c.options.Awaited {
		patience = awaiting
	}
	c.hub.End(status, c.options.Awaited, patience)
	c.close()
}

func (c *console) close() {
	if c.listener != nil {
		_ = c.listener.Close()
	}
	_ = c.master.Close()
	c.hub.Close()
	c.reading.Wait()
	c.serving.Wait()
}

// Attach connects a stream with the session of the bottle that it runs in, until either
// ends.
func Attach(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	conn, err := dialGuest(ctx, address)
	if err != nil {
		return fmt.Errorf("cannot reach the session: %s", strings.TrimPrefix(err.Error(), "dial "))
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() { // ends with the process at the latest: a read of a pipe cannot be interrupted
		_, _ = io.Copy(conn, in)
		_ = conn.Close()
	}()
	_, err = io.Copy(out, conn)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// dialGuest connects with the guest, which starts beside us: nothing tells when it listens.
func dialGuest(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address)
	for deadline := time.Now().Add(startGrace); refused(err) && time.Now().Before(deadline) && ctx.Err() == nil; conn, err = d.DialContext(ctx, "unix", address) {
		time.Sleep(5 * time.Millisecond)
	}
	return conn, err
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
