package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// maxConnections bounds each listener, so that a bottle can exhaust only itself.
const maxConnections = 2048

// accept serves a listener until it is closed. A handler that panics ends its
// connection, not the bottle.
func accept(ctx context.Context, l net.Listener, log *slog.Logger, handle func(context.Context, *net.TCPConn)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	slots := make(chan struct{}, maxConnections)
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or a connection that is gone already
			<-slots
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		handlers.Go(func() {
			defer func() { <-slots }()
			defer func() { _ = conn.Close() }()
			defer func() {
				if p := recover(); p != nil {
					log.Error("a connection failed", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				}
			}()
			handle(ctx, conn.(*net.TCPConn))
		})
	}
}

// relay carries connections into a service's socket.
func relay(s socket, log *slog.Logger) func(context.Context, *net.TCPConn) {
	return func(ctx context.Context, client *net.TCPConn) {
		service, err := s.dial(ctx)
		if err != nil {
			log.Info("service not reached", "service", s.name, "err", err)
			if s.name == control.GitGate && errors.Is(err, syscall.ENOENT) && s.exists(control.Supervise) {
				noRepository(client)
				return
			}
			unavailable(client, string(s.name))
			return
		}
		join(ctx, client, service)
	}
}

// noRepository tells git that there is nothing behind the gate yet: in a bottle whose agent may ask
// for repositories, the gate is started with the first one (docs/decisions).
func noRepository(client *net.TCPConn) {
	const body = "bot-bottle: this bottle has no repository.\n" +
		"If you need one, call request_git of the MCP server \"operator\" with {\"repository\":\"URL\"} and why you need it.\n"
	reply(client, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nCache-Control: no-cache\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		return err
	})
}

// unavailable tells an HTTP client what is wrong.
func unavailable(client *net.TCPConn, service string) {
	body := fmt.Sprintf(`{"error":"service_unavailable","reason":"the bottle's %s does not run"}`+"\n", service)
	reply(client, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		return err
	})
}

// reply writes an HTTP response, the connection's last, once the client has begun to
// ask: what comes before any request answers none (RFC 9112 §9.2), and clients differ in
// what they make of it.
func reply(client *net.TCPConn, write func(io.Writer) error) {
	_ = client.SetReadDeadline(time.Now().Add(headTimeout))
	if _, err := client.Read(make([]byte, 4096)); err != nil {
		return
	}
	if write(client) == nil {
		linger(client)
	}
}

// headTimeout is how long a client may take to begin.
const headTimeout = 30 * time.Second

// linger ends a connection on which an answer was just written. Closed with input
// unread, it would be reset, and the client could lose the answer (RFC 9112 §9.6).
func linger(client *net.TCPConn) {
	_ = client.CloseWrite()
	_ = client.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, client)
}

// halfCloser is a connection whose directions end one by one.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// join carries bytes both ways until both directions have ended or ctx does. The
// kernel moves them where it can (splice(2)).
func join(ctx context.Context, a, b halfCloser) {
	defer func() { _ = b.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })()
	var copies sync.WaitGroup
	copies.Go(func() { half(a, b) })
	copies.Go(func() { half(b, a) })
	copies.Wait()
}

func half(to, from halfCloser) {
	if _, err := io.Copy(to, from); err != nil || to.CloseWrite() != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
