package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// The bottle's secrets in these tests.
const (
	realKey          = "sk-ant-api03-REALrealREALrealREALreal"
	placeholder      = "sk-ant-api03-placeholder-7f3a9c1e5b"
	otherReal        = "ghp_realREALrealREALrealREALreal0123"
	otherPlaceholder = "ghp_placeholder0123456789abcdefghij"
)

func testSecrets() []control.Secret {
	return []control.Secret{
		{Name: "KEY", Value: realKey, Placeholder: placeholder},
		{Name: "OTHER", Value: otherReal, Placeholder: otherPlaceholder},
	}
}

func keyAuth() *policy.Auth {
	return &policy.Auth{Scheme: policy.Header, Header: "x-api-key", Secret: "KEY"}
}

// safeBuffer is a log that several goroutines write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// take returns what was written since the last call.
func (s *safeBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.b.String()
	s.b.Reset()
	return all
}

// authority is a CA made for a test.
func newCA(t testing.TB) (pki.CA, *pki.Issuer) {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca, issuer
}

// origin is a real TLS server that has a certificate for every name.
type origin struct {
	*httptest.Server
	ca pki.CA
}

func newOrigin(t testing.TB, h http.HandlerFunc) *origin {
	t.Helper()
	return newOriginWith(t, func(*httptest.Server) {}, h)
}

// newOriginWith changes the server before it starts.
func newOriginWith(t testing.TB, change func(*httptest.Server), h http.HandlerFunc) *origin {
	t.Helper()
	ca, issuer := newCA(t)
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issuer.Certificate(hello.ServerName)
	}}
	change(server)
	server.StartTLS()
	t.Cleanup(server.Close)
	return &origin{Server: server, ca: ca}
}

// route leads to the origin under a name.
func (o *origin) route(host string, auth *policy.Auth) policy.Route {
	return policy.Route{Host: host, Auth: auth, CA: o.ca.CertPEM, Address: o.Listener.Addr().String(), Private: true}
}

// lab is a running egress.
type lab struct {
	server *Server
	socket string
	roots  *x509.CertPool
	events *safeBuffer
	log    *safeBuffer
}

func newLab(t testing.TB, routes ...policy.Route) *lab {
	t.Helper()
	return newLabWith(t, func(*Server) {}, routes...)
}

// newLabWith changes a server before it serves.
func newLabWith(t testing.TB, change func(*Server), routes ...policy.Route) *lab {
	t.Helper()
	return newLabOf(t, func(*control.EgressConfig) {}, change, routes...)
}

// newLabOf changes the configuration as well.
func newLabOf(t testing.TB, configure func(*control.EgressConfig), change func(*Server), routes ...policy.Route) *lab {
	t.Helper()
	ca, _ := newCA(t)
	l := &lab{roots: x509.NewCertPool(), events: &safeBuffer{}, log: &safeBuffer{}}
	l.roots.AppendCertsFromPEM([]byte(ca.CertPEM))
	cfg := control.EgressConfig{Bottle: "dev-abcdef", Routes: routes, CACert: ca.CertPEM, CAKey: ca.KeyPEM, Secrets: testSecrets()}
	configure(&cfg)
	var err error
	log := slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for range 3 { // a pipelock that has just begun may break off its first answer
		if l.server, err = New(cfg, audit.NewWriter(l.events), log, nil); err == nil || !strings.Contains(err.Error(), "cannot be read (in its test)") {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	l.server.rules.Load().revision = 1
	l.server.grace = time.Hour // there is no guest, and a test may take long
	change(l.server)
	l.listen(t)
	return l
}

func (l *lab) listen(t testing.TB) {
	dir, err := os.MkdirTemp("", "egress") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l.socket = filepath.Join(dir, "s")
	ln, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("egress ended with %v", err)
		}
		_ = os.RemoveAll(dir)
	})
}

func (l *lab) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // a hang is a failure, not a wait
	return conn
}

// client uses egress as a proxy, over HTTP/2 where h2.
func (l *lab) client(t testing.TB, h2 bool) *http.Client {
	transport := &http.Transport{
		Proxy:              http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:3128"}),
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", l.socket) },
		TLSClientConfig:    &tls.Config{RootCAs: l.roots},
		ForceAttemptHTTP2:  h2,
		DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       5 * time.Minute, // the race detector searches slowly
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// connect opens a tunnel by hand; status is the proxy's answer.
func (l *lab) connect(t testing.TB, authority string) (conn net.Conn, status int) {
	t.Helper()
	conn = l.dial(t)
	_, _ = fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority)
	return conn, readStatus(t, conn)
}

// readStatus reads an answer's head byte by byte, and not a byte more.
func readStatus(t testing.TB, conn net.Conn) int {
	t.Helper()
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
		if _, err := conn.Read(b); err != nil {
			return 0
		}
		head.Write(b)
	}
	fields := strings.Fields(head.String())
	status, _ := strconv.Atoi(fields[1])
	return status
}

// secure opens a tunnel and a TLS session in it.
func (l *lab) secure(t testing.TB, host string, port int) *tls.Conn {
	t.Helper()
	conn, status := l.connect(t, net.JoinHostPort(host, strconv.Itoa(port)))
	if status != http.StatusOK {
		t.Fatalf("CONNECT %s: %d", host, status)
	}
	return tls.Client(conn, &tls.Config{RootCAs: l.roots, ServerName: host})
}

// say writes a raw request and reads the answer.
func say(t testing.TB, conn net.Conn, request string) (int, string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, ""
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// get returns an answer and its body.
func get(t testing.TB, client *http.Client, request *http.Request) (*http.Response, string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// newPlainOrigin is a server without TLS.
func newPlainOrigin(t testing.TB, h http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

func request(t testing.TB, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventsOf decodes the audit log so far.
func (l *lab) eventsOf(t testing.TB) []audit.Event {
	t.Helper()
	var events []audit.Event
	for line := range strings.Lines(l.events.String()) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// awaitEvent waits for an event, which is written when an exchange has ended.
func (l *lab) awaitEvent(t testing.TB, what string, match func(audit.Event) bool) audit.Event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, e := range l.eventsOf(t) {
			if e.Phase == "" && match(e) {
				return e
			}
		}
	}
	t.Fatalf("no event: %s; got %s", what, l.events.String())
	return audit.Event{}
}

// configWith is a configuration with secrets that make trouble.
func configWith(ca pki.CA, routes ...policy.Route) control.EgressConfig {
	secrets := append(testSecrets(), control.Secret{Name: "LINES", Value: "two lines\nof it", Placeholder: "xxxxxxxxxx"})
	return control.EgressConfig{Bottle: "dev-abcdef", Routes: routes, CACert: ca.CertPEM, CAKey: ca.KeyPEM, Secrets: secrets}
}
