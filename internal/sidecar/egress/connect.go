package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// serveConnect opens a tunnel to a name and a port that a route allows. What is said
// in it is decided by itself, except on TCP routes.
func (s *Server) serveConnect(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	host, port, err := splitAuthority(r.Host, 0)
	if err != nil {
		s.refuse(w, r, refusal{reason: err.Error(), status: http.StatusBadRequest})
		return
	}
	now := s.rules.Load()
	d := now.set.Connect(host, port)
	if !d.Allowed {
		s.refuse(w, r, refusal{reason: d.Reason, host: d.Host, port: port})
		return
	}
	x := &exchange{refusal: refusal{host: d.Host, port: port}, rules: now, decision: d, search: &search{scanner: now.scanner, host: d.Host, route: d.Route}}
	if err := x.search.name(r.Context()); err != nil {
		s.refuse(w, r, x.refused(err))
		return
	}
	conn, err := takeOver(w)
	if err != nil {
		s.log.Error("cannot take over a connection", "err", err)
		return
	}
	t := &tunnel{takenOver: conn, protocol: d.Route.Protocol, host: d.Host, port: port, turn: newTurn()}
	s.crowd.enter()
	held := s.hold(&opening{used: now, asked: policy.Request{Host: d.Host, Port: port}, end: func() { t.turn.end(); _ = t.takenOver.Close() }})
	t.done = sync.OnceFunc(func() { held(); t.turn.end(); s.crowd.leave() })
	if _, err := conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		_ = t.Close()
		return
	}
	switch d.Route.Protocol {
	case policy.TCP:
		s.pipe(ctx, t, now, d)
	case policy.HTTPS:
		s.serveTLS(ctx, t)
	default:
		s.tunnels.add(t)
	}
}

// serveTLS ends TLS, then serves the tunnel. A client that trusts nobody but the real
// server is refused here, visibly (ATTACKS B10).
func (s *Server) serveTLS(ctx context.Context, t *tunnel) {
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	secure := tls.Server(t, s.tlsConfig(t))
	if err := secure.HandshakeContext(ctx); err != nil {
		s.record(audit.Event{
			Kind: audit.Connect, Decision: audit.Deny, Reason: "no TLS session with the bottle: " + err.Error(),
			Protocol: policy.HTTPS, Host: t.host, Port: t.port,
		})
		answerPlain(t, err)
		_ = t.Close()
		return
	}
	t.h2 = secure.ConnectionState().NegotiatedProtocol == "h2"
	s.tunnels.add(secure)
}

// answerPlain tells a client that spoke HTTP where TLS was due.
func answerPlain(t *tunnel, err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil {
		_, _ = t.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	}
}

// takeOver takes a connection from the HTTP server, whole: what it had read already is
// copied out, because its reader ends the request's context when the client ends its half.
func takeOver(w http.ResponseWriter) (*takenOver, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &takenOver{Conn: conn, early: slices.Clone(early)}, nil
}

// takenOver is a connection of which some was read early.
type takenOver struct {
	net.Conn
	early []byte
}

func (c *takenOver) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// CloseWrite ends our direction only.
func (c *takenOver) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// splitAuthority takes host:port apart, with a default port where 0 means none.
func splitAuthority(authority string, fallback int) (string, int, error) {
	host, digits, err := net.SplitHostPort(authority)
	if err != nil && fallback != 0 {
		host, digits = authority, strconv.Itoa(fallback)
	} else if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", authority)
	}
	name, err := policy.ParseHost(host)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || digits[0] == '+' {
		return "", 0, fmt.Errorf("%q is not a port", digits)
	}
	return name, int(port), nil
}

// tunnel is the bottle's side of a CONNECT.
type tunnel struct {
	*takenOver
	protocol policy.Protocol
	host     string
	port     int
	h2       bool   // what is said in it, once TLS is agreed on
	done     func() // it is no longer open
	turn     *turn
}

// Close implements net.Conn.
func (t *tunnel) Close() error {
	t.done()
	return t.takenOver.Close()
}

// tlsConfig ends TLS for exactly the name that was asked for: another one in the
// ClientHello, or none, gets no certificate (ATTACKS B2).
func (s *Server) tlsConfig(t *tunnel) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if name, err := policy.ParseHost(hello.ServerName); err != nil || name != t.host {
				return nil, fmt.Errorf("it names %q, the connection is to %s", hello.ServerName, t.host)
			}
			return s.issuer.Certificate(t.host)
		},
	}
}

type tunnelKey struct{}

// withTunnel lets a request know the tunnel that it came through.
func withTunnel(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, tunnelKey{}, conn)
}

// tunnels is the listener of the inner HTTP server: its connections are those that
// CONNECT opened.
type tunnels struct {
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newTunnels() *tunnels {
	return &tunnels{queue: make(chan net.Conn), done: make(chan struct{})}
}

func (t *tunnels) add(conn net.Conn) {
	select {
	case t.queue <- conn:
	case <-t.done:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.queue:
		return conn, nil
	case <-t.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (t *tunnels) Close() error { t.closeAll(); return nil }

func (t *tunnels) closeAll() { t.once.Do(func() { close(t.done) }) }

// Addr implements net.Listener.
func (t *tunnels) Addr() net.Addr { return &net.UnixAddr{Name: "tunnels", Net: "unix"} }
