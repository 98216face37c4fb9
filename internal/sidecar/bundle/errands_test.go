package bundle

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// Attack A15: whoever has taken egress over asks for the bundle's control socket, or another of the
// operator's. It is connected with pipelock's two, and one question for anything else is its last.
func TestAttackA15_ErrandsLeadToPipelockAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{pipelock.OrderSocket, pipelock.ScanSocket, HostControl} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(name + "\n"))
				_ = conn.Close()
			}
		}()
	}
	ours, file, err := newLink()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runErrands(ours, dir)
		_ = ours.Close()
	}()
	e := newErrands(theirs)
	for _, name := range []string{pipelock.ScanSocket, pipelock.OrderSocket, pipelock.ScanSocket} {
		conn, err := e.dial(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if said, err := bufio.NewReader(conn).ReadString('\n'); said != name+"\n" {
			t.Errorf("got %q, %v, want %s", said, err, name)
		}
		_ = conn.Close()
	}
	if conn, err := e.dial(t.Context(), HostControl); err == nil {
		_ = conn.Close()
		t.Error("it was connected with the control socket")
	}
	if _, err := theirs.Write([]byte{'c'}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a question that makes no sense was not its last")
	}
	_ = theirs.Close()
}

// Where pipelock does not run there is no connection, and the next errand is run all the same.
func TestAnErrandThatLeadsNowhere(t *testing.T) {
	ours, file, err := newLink()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _, _ = file.Close(), theirs.Close(), ours.Close() }()
	dir := t.TempDir()
	go runErrands(ours, dir)
	e := newErrands(theirs)
	if _, err := e.dial(t.Context(), pipelock.OrderSocket); err == nil {
		t.Error("it was connected with nobody")
	}
	l, err := net.Listen("unix", filepath.Join(dir, pipelock.OrderSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := e.dial(t.Context(), pipelock.OrderSocket)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// An answer to an errand that comes late is nobody's. Taken for the next one's, it would lead what
// pipelock is to look at to who takes orders.
func TestAnErrandThatIsGivenUp(t *testing.T) {
	ours, file, err := newLink()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = file.Close(), theirs.Close() }()
	dir := t.TempDir()
	for _, name := range []string{pipelock.OrderSocket, pipelock.ScanSocket} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				_, _ = conn.Write([]byte(name + "\n"))
				_ = conn.Close()
			}
		}()
	}
	e := newErrands(theirs)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.dial(ctx, pipelock.ScanSocket); !errors.Is(err, context.DeadlineExceeded) { // nobody runs it yet
		t.Errorf("got %v", err)
	}
	done := make(chan struct{})
	go func() { defer close(done); runErrands(ours, dir) }()
	conn, err := e.dial(t.Context(), pipelock.OrderSocket)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(conn).ReadString('\n'); said != pipelock.OrderSocket+"\n" {
		t.Errorf("got %q, %v", said, err)
	}
	_, _ = conn.Close(), ours.Close()
	<-done
}
