package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// script is a client that says what it has to say, whatever is answered, and then is gone.
// Only the HTTP server's watch for that, which reads beside a handler, learns of it late, as
// it does of a client that waits for its answer.
type script struct {
	mu     sync.Mutex
	rest   []byte
	heard  bytes.Buffer
	change *sync.Cond
	late   bool // the deadline for reading has passed
	closed bool
	ended  chan struct{}
}

func newScript(text []byte) *script {
	s := &script{rest: bytes.Clone(text), ended: make(chan struct{})}
	s.change = sync.NewCond(&s.mu)
	return s
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) == 0 && !s.late && !s.closed && watching() {
		s.change.Wait()
	}
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.late:
		return 0, os.ErrDeadlineExceeded
	case len(s.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// watching reports whether it is called by that watch, which reads a single byte; but so may
// who fills a buffer.
func watching() bool {
	callers := make([]uintptr, 16)
	for frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)]); ; {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".backgroundRead") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.heard.Write(p)
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.ended)
	}
	s.change.Broadcast()
	return nil
}

func (s *script) SetReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = !at.IsZero() && !at.After(time.Now())
	s.change.Broadcast()
	return nil
}

func (s *script) SetDeadline(at time.Time) error   { return s.SetReadDeadline(at) }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "egress", Net: "unix"} }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "bottle", Net: "unix"} }
func (s *script) answers() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.heard.Bytes())
}
func (s *script) tunnel(p policy.Protocol, host string, port int) *tunnel {
	return &tunnel{takenOver: &takenOver{Conn: s}, protocol: p, host: host, port: port, done: func() {}}
}

// clientHello is what a client for a name says first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	said := newScript(nil)
	if err := tls.Client(said, config).Handshake(); err == nil {
		t.Fatal("a handshake with nobody")
	}
	hello := said.answers()
	if bytes.HasSuffix(hello, []byte{21, 3, 1, 0, 2, 2, 80}) { // the alert that nobody answered
		hello = hello[:len(hello)-7]
	}
	return hello
}

// reader cuts a message, apart from how crypto/tls does it. It is empty once something was
// missing.
type reader []byte

func (r *reader) take(n int) []byte {
	if n > len(*r) {
		*r = nil
		return nil
	}
	taken := (*r)[:n]
	*r = (*r)[n:]
	return taken
}

func (r *reader) block(sized int) reader {
	var size [4]byte
	copy(size[4-sized:], r.take(sized))
	return r.take(int(binary.BigEndian.Uint32(size[:])))
}

// handshakes joins what is in the handshake records of a flight, up to the first that is
// none (RFC 8446 §5.1).
func handshakes(flight []byte) reader {
	var joined []byte
	for r := reader(flight); len(r) >= 5 && r[0] == 22; {
		r.take(3)
		joined = append(joined, r.block(2)...)
	}
	return joined
}

// serverNames are those in each ClientHello of a flight (RFC 6066 §3).
func serverNames(flight []byte) []string {
	var names []string
	for r := handshakes(flight); len(r) >= 4; {
		kind, hello := r.take(1)[0], r.block(3)
		if kind != 1 {
			continue
		}
		hello.take(2 + 32)
		hello.block(1)
		hello.block(2)
		hello.block(1)
		for extensions := hello.block(2); len(extensions) >= 4; {
			kind, body := binary.BigEndian.Uint16(extensions.take(2)), extensions.block(2)
			for list := body.block(2); kind == 0 && len(list) >= 3; {
				list.take(1)
				names = append(names, string(list.block(2)))
			}
		}
	}
	return names
}

// hasCertificate reports whether a server went on after a ClientHello: it has chosen a
// certificate then (a HelloRetryRequest, RFC 8446 §4.1.3, comes before that).
func hasCertificate(flight []byte) bool {
	for r := handshakes(flight); len(r) >= 4; {
		kind, hello := r.take(1)[0], r.block(3)
		hello.take(2)
		if kind == 2 && !bytes.HasPrefix(hello, []byte{0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11}) {
			return true
		}
	}
	return false
}

// FuzzClientHello: whatever a client says first in a tunnel, egress neither panics nor asks
// anybody, and ends TLS only for a hello that names the tunnel's host (ATTACKS B2).
func FuzzClientHello(f *testing.F) {
	for _, config := range []*tls.Config{
		{ServerName: "api.example"}, {ServerName: "API.example", MaxVersion: tls.VersionTLS12}, {ServerName: "other.example"},
		{ServerName: "api.example", CurvePreferences: []tls.CurveID{tls.CurveP521}, NextProtos: []string{"h2"}}, {ServerName: "api.example", MinVersion: tls.VersionTLS13},
		{InsecureSkipVerify: true}, {ServerName: "api.example", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
	} {
		hello := clientHello(f, config)
		f.Add(hello)
		f.Add(hello[:len(hello)/2])
		f.Add(append(bytes.Clone(hello), hello...))
		for _, name := range []string{"api.exampl\x00", "api.example"[:10] + ".", "127.0.0.10\x20", "api.exaMple", "b.i.example"} {
			f.Add(bytes.Replace(hello, []byte("api.example"), []byte(name), 1))
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff})
	f.Add([]byte{0x80, 0x2e, 1, 3, 1})
	l := newLabWith(f, func(s *Server) { nothingResolved(f)(s) }, policy.Route{Host: "api.example"}, policy.Route{Host: "other.example"})
	f.Fuzz(func(t *testing.T, said []byte) {
		client := newScript(said)
		l.server.serveTLS(context.Background(), client.tunnel(policy.HTTPS, "api.example", 443))
		<-client.ended
		named := false
		for _, name := range serverNames(said) {
			named = named || strings.EqualFold(name, "api.example")
		}
		if hasCertificate(client.answers()) && !named {
			t.Errorf("a certificate for a client that names %q", serverNames(said))
		}
		for _, e := range l.takeEvents(t) {
			if e.Decision != audit.Deny || e.Host != "api.example" || e.Reason == "" {
				t.Errorf("got %+v", e)
			}
		}
	})
}

// takeEvents decodes the audit log since the last call.
func (l *lab) takeEvents(t testing.TB) []audit.Event {
	t.Helper()
	var events []audit.Event
	for line := range strings.Lines(l.events.take()) {
		e, err := audit.Decode([]byte(line))
		if err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// What the fuzzer relies on: a hello for the tunnel's name gets a certificate, one for
// another does not.
func TestAttackB2_OnlyTheTunnelsNameGetsACertificate(t *testing.T) {
	l := newLab(t, policy.Route{Host: "api.example"})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, want := range map[string]bool{"api.example": true, "API.Example": true, "other.example": false, "": false} {
			hello := clientHello(t, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version})
			client := newScript(hello)
			l.server.serveTLS(t.Context(), client.tunnel(policy.HTTPS, "api.example", 443))
			if got := hasCertificate(client.answers()); got != want {
				t.Errorf("%q, TLS %x: got %t", name, version, got)
			}
			if named := serverNames(hello); name != "" && (len(named) != 1 || !strings.EqualFold(named[0], name)) {
				t.Errorf("%q: read %q", name, named)
			}
		}
	}
}
