package bundle

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// Egress can make no unix socket on a host, where one may lead to anything of the operator's. Where
// it needs pipelock's, the parent connects it: a byte asks for one of the two, and a byte answers,
// with the connection as a file descriptor (unix(7), SCM_RIGHTS).

// errandLimit bounds how long the parent tries.
const errandLimit = 5 * time.Second

// errandNames are the sockets that can be asked for, by the byte that does.
func errandNames() map[byte]string {
	return map[byte]string{'o': pipelock.OrderSocket, 's': pipelock.ScanSocket}
}

// Answers to an errand.
const (
	errandDone   = '+'
	errandFailed = '-'
)

// runErrands connects whoever asks on conn with sockets of dir, until conn is closed.
func runErrands(conn net.Conn, dir string) {
	stream, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	asked := make([]byte, 1)
	for {
		if _, err := stream.Read(asked); err != nil {
			return
		}
		answer, rights := []byte{errandFailed}, []byte(nil)
		name, known := errandNames()[asked[0]]
		if !known {
			return
		}
		if made, err := connected(filepath.Join(dir, name)); err == nil {
			answer, rights = []byte{errandDone}, unix.UnixRights(made)
			_, _, err = stream.WriteMsgUnix(answer, rights, nil)
			if err = errors.Join(err, unix.Close(made)); err != nil {
				return
			}
			continue
		}
		if _, err := stream.Write(answer); err != nil {
			return
		}
	}
}

// connected is a socket that is connected with a path.
func connected(path string) (fd int, err error) {
	conn, err := net.DialTimeout("unix", path, errandLimit)
	if err != nil {
		return -1, err
	}
	defer func() { _ = conn.Close() }()
	file, err := conn.(*net.UnixConn).File()
	if err != nil {
		return -1, err
	}
	defer func() { _ = file.Close() }()
	return unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// errands has the parent make connections. It may be used concurrently.
type errands struct {
	mu   sync.Mutex
	conn net.Conn
}

func newErrands(conn net.Conn) *errands { return &errands{conn: conn} }

var errNotConnected = errors.New("there is nobody to connect with")

// dial implements pipelock.Dial. An errand that is given up is run to its end all the same: its
// answer would be taken for the next one's.
func (e *errands) dial(ctx context.Context, socket string) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	came := make(chan answer)
	go func() {
		conn, err := e.run(socket)
		select {
		case came <- answer{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case a := <-came:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run has the parent run one errand, and waits for as long as there is a parent.
func (e *errands) run(socket string) (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stream, ok := e.conn.(*net.UnixConn)
	if !ok {
		return nil, errNotConnected
	}
	for asked, name := range errandNames() {
		if name == socket {
			if _, err := stream.Write([]byte{asked}); err != nil {
				return nil, err
			}
			return receive(stream)
		}
	}
	return nil, errNotConnected
}

// receive takes the answer to an errand.
func receive(stream *net.UnixConn) (net.Conn, error) {
	answer, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := stream.ReadMsgUnix(answer, rights)
	if err != nil {
		return nil, err
	}
	if answer[0] != errandDone {
		return nil, errNotConnected
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errNotConnected, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errNotConnected, err)
	}
	return connOf(fds[0])
}

// connOf makes a connection of a file descriptor, which it takes.
func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "connected")
	defer func() { _ = file.Close() }()
	return net.FileConn(file)
}
