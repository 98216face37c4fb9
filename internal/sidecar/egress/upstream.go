package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// upstream is how one route's requests leave. Every route has a transport of its own,
// so that no connection is shared between routes that trust or dial differently.
type upstream struct {
	route     policy.Route
	transport *http.Transport
}

// answerTimeout bounds the wait for the beginning of an answer; models think long.
const answerTimeout = 15 * time.Minute

func (s *Server) newUpstream(r policy.Route, roots *x509.CertPool) (*upstream, error) {
	route, err := r.Normalize()
	if err != nil {
		return nil, err
	}
	if route.CA != "" {
		roots = roots.Clone()
		if !roots.AppendCertsFromPEM([]byte(route.CA)) {
			return nil, fmt.Errorf("route %s: its ca holds no certificate", route.Host)
		}
	}
	u := &upstream{route: route}
	u.transport = &http.Transport{
		Proxy:                  nil, // never another proxy's
		DialContext:            s.dialer(&u.route),
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the bottle asks for what it wants
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  answerTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: maxAhead, MaxReceiveBufferPerConnection: maxAllAhead},
	}
	return u, nil
}

// dialer dials for one route through the guard, whatever address the transport has in
// mind: it is the host of a request that was decided on.
func (s *Server) dialer(route *policy.Route) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		host, port, err := splitAuthority(address, 0)
		if err != nil {
			return nil, errors.New("cannot dial: " + err.Error())
		}
		if s.lines.crowded() {
			s.closeIdle()
		}
		conn, err := s.guard.dial(ctx, route, host, port)
		if err != nil {
			return nil, err
		}
		return s.lines.line(conn), nil
	}
}

// closeIdle closes the connections to upstreams that no request uses. What routes that are gone
// have left is closed with them (Apply).
func (s *Server) closeIdle() {
	for _, u := range s.rules.Load().routes {
		u.transport.CloseIdleConnections()
	}
}
