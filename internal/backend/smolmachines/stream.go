package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// conn is a process in a machine as one connection: its standard input and output, through a
// smolvm that lives as long as it does. Two pipes: smolvm makes its standard input non-blocking,
// which would hold for its output too, were they one.
type conn struct {
	in, out *os.File
	process *exec.Cmd
	said    *tail
	lost    func(error) error // says more of an error, if the machine is gone

	once sync.Once
	done chan struct{} // closed when the process has ended
	err  error         // how
}

// inside starts our own binary in a machine, connected to us. It ends with the connection.
func (d *Driver) inside(ctx context.Context, name string, args ...string) (*conn, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c, err := d.command(append([]string{"machine", "exec", "--name", name, "--interactive", "--", control.Binary}, args...))
	if err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	k := &conn{in: in, out: out, process: c, said: &tail{}, done: make(chan struct{})}
	k.lost = func(err error) error { return d.lost(ctx, name, err) }
	c.Stdin, c.Stdout, c.Stderr = theirIn, theirOut, k.said
	c.WaitDelay = endGrace // what it started may hold its standard error open
	err = c.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, errors.Join(&callError{verb: "machine exec", err: err}, in.Close(), out.Close())
	}
	go func() {
		k.err = c.Wait()
		close(k.done)
	}()
	return k, nil
}

// Read implements net.Conn.
func (k *conn) Read(p []byte) (int, error) {
	n, err := k.out.Read(p)
	if errors.Is(err, io.EOF) {
		err = k.why(err)
	}
	return n, err
}

// Write implements net.Conn.
func (k *conn) Write(p []byte) (int, error) {
	n, err := k.in.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = k.why(err)
	}
	return n, err
}

// why is the error of a stream that ends early: what smolvm complained of, if it did.
func (k *conn) why(err error) error {
	select {
	case <-k.done:
		if k.err != nil {
			return k.lost(&callError{verb: "machine exec", code: k.process.ProcessState.ExitCode(), said: k.said.last()})
		}
	case <-time.After(endGrace):
	}
	return err
}

// Close ends the process.
func (k *conn) Close() error {
	k.once.Do(func() {
		_, _ = k.in.Close(), k.out.Close()
		select {
		case <-k.done:
		case <-time.After(endGrace / 10): // one that has nobody to speak with ends by itself
			kill(k.process)
			<-k.done
		}
	})
	return nil
}

// LocalAddr implements net.Conn.
func (k *conn) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (k *conn) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "smolvm" }
func (address) String() string  { return "smolvm" }

// SetDeadline implements net.Conn.
func (k *conn) SetDeadline(t time.Time) error {
	return errors.Join(k.in.SetWriteDeadline(t), k.out.SetReadDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (k *conn) SetReadDeadline(t time.Time) error { return k.out.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (k *conn) SetWriteDeadline(t time.Time) error { return k.in.SetWriteDeadline(t) }

// until closes the connection when ctx ends before stop is called.
func (k *conn) until(ctx context.Context) (stop func()) {
	end := context.AfterFunc(ctx, func() { _ = k.Close() })
	return func() { end() }
}

// ask has the guest of a machine answer a verb with a line of JSON.
func (d *Driver) ask(ctx context.Context, name, verb string, answer any) error {
	k, err := d.inside(ctx, name, "guest", "talk", verb)
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	defer k.until(ctx)()
	if err := decodeLine(k, answer); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("the machine's guest does not answer: %w", err)
	}
	return nil
}
