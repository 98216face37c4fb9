package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

const proxyPassword = "correct-horse-battery-staple"

// connectProxy is a real one: it opens tunnels, and resolves names as it likes.
type connectProxy struct {
	*httptest.Server
	names map[string]string // host:port → where it is
	auth  string            // that it asks for; "" for none

	mu      sync.Mutex
	asked   []string    // of CONNECT
	heads   http.Header // of the last one
	carried safeBuffer  // towards the upstreams
}

func newProxyServer(t testing.TB, auth string, names map[string]string) *connectProxy {
	p := &connectProxy{names: names, auth: auth}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(p.Close)
	return p
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked, p.heads = append(p.asked, r.Method+" "+r.RequestURI), r.Header.Clone()
	p.mu.Unlock()
	if p.auth != "" && r.Header.Get("Proxy-Authorization") != p.auth {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	upstream, err := net.Dial("tcp", p.names[r.Host])
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = upstream.Close() }()
	w.WriteHeader(http.StatusOK)
	conn, err := takeOver(w)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = copyHalf(upstream, io.TeeReader(conn, &p.carried)) })
	copies.Go(func() { _, _ = copyHalf(conn, upstream) })
	copies.Wait()
}

func (p *connectProxy) seen() ([]string, http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.heads
}

// through is a configuration with a proxy.
func through(url string, change func(*policy.Proxy)) func(*control.EgressConfig) {
	return func(cfg *control.EgressConfig) {
		cfg.Proxy = &policy.Proxy{URL: url}
		cfg.Secrets = append(cfg.Secrets, control.Secret{Name: "PROXY", Value: proxyPassword, Placeholder: "proxy-placeholder-0123456789"})
		change(cfg.Proxy)
	}
}

func withPassword(p *policy.Proxy) { p.Auth = &policy.ProxyAuth{User: "bottles", Secret: "PROXY"} }

func asIs(*policy.Proxy) {}

// nothingResolved fails a test in which egress asks for a name.
func nothingResolved(t testing.TB) func(*Server) {
	return func(s *Server) {
		s.guard.resolve = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			t.Errorf("%s was resolved", host)
			return nil, errors.New("no")
		}
	}
}

// speaker is a tcp server that says something first, then sends everything back.
func speaker(t testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, "hello\n")
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return ln
}

func TestEveryProtocolGoesThroughTheProxy(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the upstream was told the proxy's password")
		}
		_, _ = fmt.Fprintf(w, "%s %d %t", r.Host, r.ProtoMajor, r.Header.Get("X-Api-Key") == realKey)
	}
	up, plain, sockets, db := newOrigin(t, handler), newPlainOrigin(t, handler), echo(t, &safeBuffer{}), speaker(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("bottles:"+proxyPassword))
	p := newProxyServer(t, basic, map[string]string{
		"api.example:443": up.Listener.Addr().String(), "ws.example:443": sockets.Listener.Addr().String(),
		"plain.example:80": plain.Listener.Addr().String(), "db.example:5432": db.Addr().String(), "192.88.99.1:444": up.Listener.Addr().String(),
	})
	p.Start()
	l := newLabOf(t, through(p.URL, withPassword), nothingResolved(t),
		policy.Route{Host: "api.example", CA: up.ca.CertPEM, Auth: keyAuth()}, policy.Route{Host: "ws.example", CA: sockets.ca.CertPEM},
		policy.Route{Host: "plain.example", Protocol: policy.HTTP}, policy.Route{Host: "db.example", Protocol: policy.TCP, Port: 5432},
		policy.Route{Host: "moved.example", CA: up.ca.CertPEM, Address: "192.88.99.1:444"})
	for _, h2 := range []bool{false, true} {
		if _, body := get(t, l.client(t, h2), request(t, "GET", "https://api.example/", nil)); body != "api.example 2 true" {
			t.Errorf("https: got %q", body)
		}
	}
	if _, body := get(t, l.client(t, false), request(t, "GET", "https://moved.example/", nil)); body != "moved.example 2 false" {
		t.Errorf("another address: got %q", body)
	}
	if _, body := get(t, l.client(t, false), request(t, "GET", "http://plain.example/", nil)); body != "plain.example 1 false" {
		t.Errorf("http: got %q", body)
	}
	socket := l.webSocket(t, "wss://ws.example/")
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("to and fro")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := socket.Read(t.Context()); err != nil || string(got) != "to and fro" {
		t.Errorf("WebSocket: got %q, %v", got, err)
	}
	conn, _ := l.connect(t, "db.example:5432")
	answers := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "select\n")
	for _, want := range []string{"hello\n", "select\n"} {
		if got, err := answers.ReadString('\n'); got != want {
			t.Errorf("tcp: got %q, %v", got, err)
		}
	}
	_ = conn.Close()
	asked, heads := p.seen()
	want := "CONNECT api.example:443, CONNECT 192.88.99.1:444, CONNECT plain.example:80, CONNECT ws.example:443, CONNECT db.example:5432"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	if len(heads) != 1 || strings.Contains(p.carried.String(), realKey) {
		t.Errorf("the proxy was told %v, our key %t", heads, strings.Contains(p.carried.String(), realKey))
	}
	for _, host := range []string{"api.example", "plain.example", "db.example"} {
		e := l.awaitEvent(t, host, func(e audit.Event) bool {
			return e.Host == host && e.Status != 0 || e.Host == host && e.Protocol == policy.TCP
		})
		if at := p.Listener.Addr().String(); e.Via != at || e.Address != at {
			t.Errorf("%s: via %q at %q, want %s", host, e.Via, e.Address, at)
		}
	}
	if all := l.events.String() + l.log.String(); strings.Contains(all, proxyPassword) || strings.Contains(all, basic) {
		t.Error("the password is in a log")
	}
}

func TestNoProxyIsDialledDirectly(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	_, port := splitPort(t, up.Listener.Addr())
	p := newProxyServer(t, "", nil)
	p.Start()
	l := newLabOf(t, through(p.URL, func(p *policy.Proxy) { p.NoProxy = []string{"**.corp.internal", "10.1.0.0/16"} }), func(s *Server) {
		s.guard.resolve = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}, policy.Route{Host: "git.corp.internal", Port: port, CA: up.ca.CertPEM, Private: true}, up.route("near.example", nil),
		policy.Route{Host: "private.corp.internal"}, policy.Route{Host: "literal.example", Address: "10.1.2.3:443"})
	client := l.client(t, false)
	for _, target := range []string{fmt.Sprintf("https://git.corp.internal:%d/", port), "https://near.example/"} {
		if response, body := get(t, client, request(t, "GET", target, nil)); response.StatusCode != 200 || !strings.HasPrefix(target, "https://"+body) {
			t.Errorf("%s: got %s %s", target, response.Status, body)
		}
	}
	for _, host := range []string{"private.corp.internal", "literal.example"} { // the guard's rule stays
		if response, body := get(t, client, request(t, "GET", "https://"+host+"/", nil)); response.StatusCode != 403 || !strings.Contains(body, "address_denied") {
			t.Errorf("%s: got %s %s", host, response.Status, body)
		}
	}
	if asked, _ := p.seen(); len(asked) > 0 {
		t.Errorf("the proxy was asked for %s", asked)
	}
	if e := l.awaitEvent(t, "direct", func(e audit.Event) bool { return e.Host == "git.corp.internal" }); e.Via != "" {
		t.Errorf("via %s", e.Via)
	}
}

// A proxy that is spoken to over TLS proves who it is before it hears a word.
func TestAnHTTPSProxy(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "right") })
	ca, issuer := newCA(t)
	p := newProxyServer(t, "", map[string]string{"api.example:443": up.Listener.Addr().String()})
	p.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issuer.Certificate(hello.ServerName)
	}}
	p.StartTLS()
	_, port := splitPort(t, p.Listener.Addr())
	loopback := func(s *Server) {
		s.guard.resolve = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host != "proxy.corp.internal" {
				t.Errorf("%s was resolved", host)
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}
	for trust, want := range map[string]int{ca.CertPEM: 200, "": 502} {
		l := newLabOf(t, through(p.URL, func(proxy *policy.Proxy) {
			proxy.URL, proxy.CA = fmt.Sprintf("https://proxy.corp.internal:%d", port), trust
			withPassword(proxy)
		}), loopback, policy.Route{Host: "api.example", CA: up.ca.CertPEM})
		before, _ := p.seen()
		response, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil))
		if response.StatusCode != want {
			t.Errorf("got %s %s, want %d", response.Status, body, want)
		}
		if after, _ := p.seen(); want != 200 && len(after) != len(before) {
			t.Error("somebody who is not the proxy was asked")
		}
	}
}

// Attack A11: with a proxy, an address or a name that leads into the proxy's own network,
// where nobody here could see it.
func TestAttackA11_TheProxyIsNotAskedForLocalAddresses(t *testing.T) {
	p := newProxyServer(t, "", nil)
	p.Start()
	var routes []policy.Route
	for i, address := range []string{
		"169.254.169.254:443", "10.0.0.1:443", "[fd00:ec2::254]:443", "[::ffff:10.0.0.1]:443", "192.168.1.1:443", "0.0.0.0:443", "127.0.0.1:443", "[::1]:443",
		"metadata.google.internal:443", "Metadata.Google.Internal:443", "instance-data:443",
	} {
		routes = append(routes, policy.Route{Host: fmt.Sprintf("r%d.example", i), Address: address})
	}
	routes = append(routes, policy.Route{Host: "metadata.google.internal", Private: true}, policy.Route{Host: "r100.example", Address: "169.254.169.254:80", Private: true})
	l := newLabOf(t, through(p.URL, asIs), nothingResolved(t), routes...)
	for _, r := range routes {
		response, body := get(t, l.client(t, false), request(t, "GET", "https://"+r.Host+"/", nil))
		if response.StatusCode != 403 || !strings.Contains(body, "address_denied") {
			t.Errorf("%s at %s: got %s %s", r.Host, r.Address, response.Status, body)
		}
	}
	if asked, _ := p.seen(); len(asked) > 0 {
		t.Errorf("the proxy was asked for %s", asked)
	}
}

// Attack C10: a credential for a route in clear, of which the proxy would see every byte.
func TestAttackC10_TheProxySeesNoCredential(t *testing.T) {
	p := newProxyServer(t, "", nil)
	p.Start()
	l := newLabOf(t, through(p.URL, asIs), nothingResolved(t), policy.Route{Host: "plain.example", Protocol: policy.HTTP, Private: true, Auth: keyAuth()})
	if response, body := get(t, l.client(t, false), request(t, "GET", "http://plain.example/", nil)); response.StatusCode != 403 || !strings.Contains(body, "no_proxy") {
		t.Errorf("got %s %s", response.Status, body)
	}
	if asked, _ := p.seen(); len(asked) > 0 || p.carried.String() != "" {
		t.Errorf("the proxy was asked for %s, and told %q", asked, p.carried.String())
	}
}

// rawProxy says the same to everybody who asks, then hangs up unless it is to hold on.
func rawProxy(t testing.TB, answer func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn)
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// Attack C3: a proxy, or who took its place, that answers CONNECT with what is no leave: a
// redirect to itself, another challenge, a head without an end, an answer to a request that
// was not made yet. Nothing of that may reach the bottle, and nothing may be sent by
// another way.
func TestAttackC3_AProxysHostileAnswers(t *testing.T) {
	const evil = "EVIL-\x1b[31mEVIL"
	endless := func(line string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(conn, line); err != nil {
					return
				}
			}
		}
	}
	said := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	const smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
	for name, c := range map[string]struct {
		answer func(net.Conn)
		reason string
	}{
		"endless headers": {endless("X-Y: " + strings.Repeat("z", 1000) + "\r\n"), "more than 64 KiB"},
		"endless line":    {endless(strings.Repeat("z", 1000)), "more than 64 KiB"},
		"407":             {said("HTTP/1.1 407 " + evil + "\r\nProxy-Authenticate: Basic realm=\"EVIL\"\r\nContent-Length: 4\r\n\r\nEVIL"), "does not take the password"},
		"redirect":        {said("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/EVIL\r\nContent-Length: 0\r\n\r\n"), "302 Found"},
		"refusal":         {said("HTTP/1.1 403 " + evil + "\r\nContent-Length: 4\r\n\r\nEVIL"), "403 Forbidden"},
		"interim":         {said("HTTP/1.1 100 Continue\r\n\r\n" + smuggled), "100 Continue"},
		"upgrade":         {said("HTTP/1.1 101 Switching Protocols\r\nUpgrade: EVIL\r\n\r\n"), "101"},
		"no content":      {said("HTTP/1.1 204 No Content\r\n\r\n"), "204"},
		"unknown":         {said("HTTP/1.1 799 " + evil + "\r\n\r\n"), "799"},
		"smuggled answer": {said("HTTP/1.1 200 OK\r\n\r\n" + smuggled), "more than its answer"},
		"a body":          {said("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"), "more than its answer"},
		"no HTTP":         {said(evil + "\r\n\r\n"), "did not answer as a proxy does"},
		"bad header":      {said("HTTP/1.1 200 OK\r\n: " + evil + "\r\n\r\n"), "did not answer as a proxy does"},
		"hung up":         {func(net.Conn) {}, "hung up"},
		"hung up within":  {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Y: ") }, "hung up"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, through(rawProxy(t, c.answer), withPassword), nothingResolved(t), policy.Route{Host: "api.example"}, policy.Route{Host: "plain.example", Protocol: policy.HTTP})
			for _, target := range []string{"https://api.example/", "http://plain.example/"} {
				response, body := get(t, l.client(t, false), request(t, "GET", target, nil))
				if response.StatusCode != 502 || !strings.Contains(body, "upstream_proxy_failed") || !strings.Contains(body, c.reason) {
					t.Errorf("%s: got %s %s", target, response.Status, body)
				}
				if strings.Contains(body, "EVIL") || response.Header.Get("Location") != "" || response.Header.Get("Proxy-Authenticate") != "" {
					t.Errorf("%s: the bottle hears what the proxy said: %v %s", target, response.Header, body)
				}
			}
			e := l.awaitEvent(t, "the failure", func(e audit.Event) bool { return e.Host == "api.example" })
			if !strings.Contains(e.Reason, c.reason) || strings.Contains(l.events.String(), "EVIL") || strings.Contains(l.events.String(), proxyPassword) {
				t.Errorf("got %s", l.events.String())
			}
		})
	}
}

// Attack I6: a proxy that takes the connection and never answers; each one would be held
// for good.
func TestAttackI6_ASilentProxyIsGivenUp(t *testing.T) {
	url := rawProxy(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	l := newLabOf(t, through(url, withPassword), func(s *Server) {
		s.guard.proxy.patience = 50 * time.Millisecond
	}, policy.Route{Host: "api.example"})
	if response, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil)); response.StatusCode != 502 || !strings.Contains(body, "did not open a connection within") {
		t.Errorf("got %s %s", response.Status, body)
	}
}

// Attack A16: the proxy is away, or a change of the rules says nothing of it; nothing may
// go directly then.
func TestAttackA16_WithoutItsProxyNothingGoes(t *testing.T) {
	up := unreachable(t)
	p := newProxyServer(t, "", nil)
	p.Start()
	_, port := splitPort(t, up.Listener.Addr())
	route := policy.Route{Host: "api.example", Port: port, CA: up.ca.CertPEM, Private: true}
	l := newLabOf(t, through(p.URL, asIs), nothingResolved(t), route)
	cfg := control.EgressConfig{Bottle: "dev-abcdef", Routes: []policy.Route{route, up.route("more.example", nil)}, Secrets: testSecrets()}
	if err := l.server.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("https://api.example:%d/", port)
	if response, body := get(t, l.client(t, false), request(t, "GET", target, nil)); response.StatusCode != 502 || !strings.Contains(body, "502 Bad Gateway") {
		t.Errorf("a proxy that cannot: got %s %s", response.Status, body)
	}
	p.Close()
	if response, body := get(t, l.client(t, false), request(t, "GET", target, nil)); response.StatusCode != 502 || !strings.Contains(body, "cannot be reached") {
		t.Errorf("no proxy: got %s %s", response.Status, body)
	}
}

// A password that is replaced while the bottle runs is used for the next tunnel, and one
// that cannot be sent is refused.
func TestTheProxysPasswordIsReplaced(t *testing.T) {
	p := newProxyServer(t, "", nil)
	p.Start()
	l := newLabOf(t, through(p.URL, withPassword), nothingResolved(t), policy.Route{Host: "api.example"})
	for value, good := range map[string]bool{"": false, "two\nlines": false, "new-password": true} {
		cfg := control.EgressConfig{Bottle: "dev-abcdef", Routes: []policy.Route{{Host: "api.example"}}, Secrets: []control.Secret{{Name: "PROXY", Value: value, Placeholder: "x"}}}
		if err := l.server.Apply(cfg); (err == nil) != good {
			t.Errorf("%q: got %v", value, err)
		}
	}
	_, _ = get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil))
	if _, heads := p.seen(); heads.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("bottles:new-password")) {
		t.Errorf("got %v", heads)
	}
}
