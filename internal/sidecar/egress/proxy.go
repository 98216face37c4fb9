package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// proxy is the operator's own, which stands between egress and its upstreams. All that it
// gets is CONNECT, for http as well as for https, WebSockets and tcp: it sees a name and a
// port, and the TLS session in the tunnel is with the upstream.
//
// It does not change while egress runs, but for its password: no change of the rules can
// take it away, and send directly what was not to go so.
type proxy struct {
	rules      policy.Proxy
	at         policy.Endpoint
	tls        *tls.Config   // nil: it is spoken to in clear
	credential func() string // Proxy-Authorization; "" for none
	patience   time.Duration // from the first packet to the end of its answer
}

// proxyTimeout is how long a proxy may take to open a tunnel.
const proxyTimeout = 30 * time.Second

// newProxy returns nil for nil.
func (s *Server) newProxy(p *policy.Proxy) (*proxy, error) {
	if p == nil {
		return nil, nil
	}
	if wrong := p.Check(); len(wrong) > 0 {
		return nil, fmt.Errorf("upstream_proxy: %w", wrong[0])
	}
	at, err := p.Endpoint()
	if err != nil {
		return nil, err
	}
	made := &proxy{rules: *p, at: at, patience: proxyTimeout, credential: func() string { return "" }}
	if auth := p.Auth; auth != nil {
		made.credential = func() string {
			value := s.rules.Load().secrets.values[auth.Secret]
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(auth.User+":"+value.Reveal()))
		}
	}
	if !at.Secure {
		return made, nil
	}
	roots := s.roots
	if p.CA != "" {
		roots = roots.Clone()
		if !roots.AppendCertsFromPEM([]byte(p.CA)) {
			return nil, errors.New("upstream_proxy: its ca holds no certificate")
		}
	}
	made.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: at.Host, NextProtos: []string{"http/1.1"}}
	return made, nil
}

// check refuses secrets with which the proxy cannot be asked.
func (p *proxy) check(s secrets) error {
	if p == nil || p.rules.Auth == nil {
		return nil
	}
	if value := s.values[p.rules.Auth.Secret]; value.Empty() {
		return fmt.Errorf("upstream_proxy needs secret %s, which is empty", p.rules.Auth.Secret)
	} else if !fitsHeader(value.Reveal()) {
		return fmt.Errorf("upstream_proxy needs secret %s, which holds line ends, surrounding spaces or control characters", p.rules.Auth.Secret)
	}
	return nil
}

// carries reports whether a connection goes through the proxy.
func (p *proxy) carries(route *policy.Route, host string) bool {
	return p != nil && p.rules.Carries(route, host)
}

// via is what the log calls the proxy, "" for a connection that it does not carry.
func (p *proxy) via(route *policy.Route, host string) string {
	if !p.carries(route, host) {
		return ""
	}
	return p.at.String()
}

// errProxy is a failure of the operator's proxy: 502, and no fault of the upstream's.
type errProxy struct{ reason string }

func (e *errProxy) Error() string { return e.reason }

// fault tells what the proxy did. Nothing that it said is repeated.
func (p *proxy) fault(format string, args ...any) error {
	return &errProxy{"the upstream proxy " + p.at.String() + " " + fmt.Sprintf(format, args...)}
}

// connect opens a tunnel through the proxy. What the upstream, or the proxy in its name,
// said before us is the first of the connection's bytes on tcp routes. Of an HTTP server it
// would be the answer to a request that was not made: refused.
func (p *proxy) connect(ctx context.Context, g guard, target policy.Endpoint, protocol policy.Protocol) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	raw, err := p.dial(ctx, g)
	if err != nil {
		return nil, p.orLate(ctx, err)
	}
	inTime := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := p.open(ctx, raw, target)
	switch {
	case err == nil && !inTime():
		err = context.Cause(ctx)
	case err == nil && len(tunnel.early) > 0 && protocol != policy.TCP:
		err = p.fault("sent more than its answer")
	}
	if err != nil {
		_ = raw.Close()
		return nil, p.orLate(ctx, err)
	}
	return tunnel, nil
}

// dial connects to the proxy, whose address is the operator's choice and may be private.
func (p *proxy) dial(ctx context.Context, g guard) (net.Conn, error) {
	addresses, err := g.addresses(ctx, p.at.Host)
	if err == nil && slices.ContainsFunc(addresses, netip.Addr.IsUnspecified) {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, p.fault("cannot be found: %v", err)
	}
	conn, err := dialFirst(ctx, addresses, p.at.Port)
	if err != nil {
		return nil, p.fault("cannot be reached: %v", err)
	}
	return conn, nil
}

func (p *proxy) open(ctx context.Context, raw net.Conn, target policy.Endpoint) (*takenOver, error) {
	if p.tls == nil {
		return p.ask(raw, target)
	}
	secure := tls.Client(raw, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, p.fault("does not prove who it is: %v", err)
	}
	return p.ask(secure, target)
}

// orLate tells a proxy that took too long from one that said no.
func (p *proxy) orLate(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return p.fault("did not open a connection within %s", p.patience)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// ask says CONNECT and reads the answer's head, of maxHeader at most.
func (p *proxy) ask(conn net.Conn, target policy.Endpoint) (*takenOver, error) {
	head := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n", target)
	if credential := p.credential(); credential != "" {
		head += "Proxy-Authorization: " + credential + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, p.fault("hung up: %v", err)
	}
	bounded := &io.LimitedReader{R: conn, N: maxHeader}
	answers := bufio.NewReader(bounded)
	answer, err := http.ReadResponse(answers, &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil && bounded.N <= 0:
		return nil, p.fault("answered with a head of more than %d KiB", maxHeader>>10)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.fault("hung up before it answered")
	case err != nil:
		return nil, p.fault("did not answer as a proxy does")
	case answer.StatusCode == http.StatusProxyAuthRequired && p.rules.Auth == nil:
		return nil, p.fault("asks for a user and a password (407): upstream_proxy needs auth")
	case answer.StatusCode == http.StatusProxyAuthRequired:
		return nil, p.fault("does not take the password in %s (407)", p.rules.Auth.Secret)
	case answer.StatusCode != http.StatusOK:
		return nil, p.fault("refused to connect to %s: %s", target, strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))))
	}
	early, err := answers.Peek(answers.Buffered())
	if err != nil {
		return nil, err
	}
	return &takenOver{Conn: conn, early: slices.Clone(early)}, nil
}
