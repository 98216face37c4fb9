package egress

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// underWay are the requests that were decided on and are open now.
func (s *Server) underWay() []policy.Request {
	s.openings.mu.Lock()
	defer s.openings.mu.Unlock()
	var asked []policy.Request
	for o := range s.openings.all {
		if o.asked.Method != "" {
			asked = append(asked, o.asked)
		}
	}
	return asked
}

// h2Frame is one HTTP/2 frame (RFC 9113 §4.1).
func h2Frame(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	head = append(head, kind, flags)
	return string(binary.BigEndian.AppendUint32(head, stream)) + payload
}

// h2Field is a header field as a literal, any bytes whatever (RFC 7541 §6.2.3).
func h2Field(name, value string) string {
	length := func(s string) string {
		if len(s) < 127 {
			return string([]byte{byte(len(s))})
		}
		return string(binary.AppendUvarint([]byte{127}, uint64(len(s)-127)))
	}
	return "\x10" + length(name) + name + length(value) + value
}

// sayH2 makes one request by hand and returns when it was answered, or refused by whatever
// means.
func sayH2(conn io.ReadWriter, fields, body string) {
	said := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2Frame(4, 0, 0, "")
	if body == "" {
		said += h2Frame(1, 5, 1, fields)
	} else {
		said += h2Frame(1, 4, 1, fields)
	}
	for piece := range slices.Chunk([]byte(body), 16<<10) {
		said += h2Frame(0, 0, 1, string(piece))
	}
	if body != "" {
		said += h2Frame(0, 1, 1, "")
	}
	if _, err := io.WriteString(conn, said); err != nil {
		return
	}
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		size, kind, flags := binary.BigEndian.Uint32(head)>>8, head[3], head[4]
		if _, err := io.CopyN(io.Discard, conn, int64(size)); err != nil {
			return
		}
		switch {
		case kind == 4 && flags == 0:
			_, _ = io.WriteString(conn, h2Frame(4, 1, 0, ""))
		case kind == 3 || kind == 7 || kind <= 1 && flags&1 != 0:
			return
		}
	}
}

// matchLab is egress before two upstreams, of HTTP/1.1 and of HTTP/2, that compare what
// arrives with what was decided on.
type matchLab struct {
	*lab
	mu      sync.Mutex
	fault   string
	arrived []readRequest
}

func newMatchLab(t testing.TB) *matchLab {
	m := &matchLab{}
	handler := func(w http.ResponseWriter, r *http.Request) { m.compare(r) }
	one, two := newOrigin(t, handler), newOrigin(t, handler)
	first, second := one.route("one.example", nil), two.route("two.example", nil)
	pinned := two.route("pinned.example", nil)
	first.Methods, first.Paths = []string{"GET", "POST", "PUT"}, []string{"/ok/**"}
	second.Paths, second.Query = []string{"/ok/**", "/@acme%2F*"}, map[string]string{"q": "a*"}
	pinned.Body = map[string]string{"who": "acme"}
	m.lab = newLab(t, first, second, pinned)
	m.server.rules.Load().routes[0].transport.ForceAttemptHTTP2 = false
	return m
}

// compare is what an upstream does with a request. One whose client has gone is not under
// way any more.
func (m *matchLab) compare(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got := readRequest{r.Method, r.RequestURI, r.Host, r.Header, string(body)}
	m.arrived = append(m.arrived, got)
	for _, asked := range m.server.underWay() {
		if asked.Method != r.Method || asked.Target != r.RequestURI || asked.Host != r.Host {
			m.fault = fmt.Sprintf("%s %s of %s was decided on, %s %s of %s arrived", asked.Method, asked.Target, asked.Host, r.Method, r.RequestURI, r.Host)
		}
		asked.Method, asked.Target, asked.Host = r.Method, r.RequestURI, r.Host
		asked.Body = &policy.Body{Type: r.Header.Values("Content-Type"), Encoding: r.Header.Values("Content-Encoding"), Data: body}
		if d := m.server.rules.Load().set.Request(asked); !d.Allowed {
			m.fault = fmt.Sprintf("%+v arrived, which is not allowed: %s", got, d.Reason)
		}
	}
}

// ask makes one request in a tunnel of its own, by hand.
func (m *matchLab) ask(t *testing.T, h2 bool, host, method, target, body string) []readRequest {
	t.Helper()
	m.mu.Lock()
	m.arrived, m.fault = nil, ""
	m.mu.Unlock()
	conn, status := m.connect(t, host+":443")
	if status != http.StatusOK {
		t.Fatalf("CONNECT %s: %d", host, status)
	}
	defer func() { _ = conn.Close() }()
	config := &tls.Config{RootCAs: m.roots, ServerName: host}
	if h2 {
		config.NextProtos = []string{"h2"}
		fields := h2Field(":method", method) + h2Field(":scheme", "https") + h2Field(":authority", host) + h2Field(":path", target) + h2Field("content-type", "application/json")
		sayH2(tls.Client(conn, config), fields, body)
	} else {
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", method, target, host, len(body))
		_, _ = say(t, tls.Client(conn, config), head+body)
	}
	for len(m.server.underWay()) > 0 { // the answer comes before the end
		runtime.Gosched()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != "" {
		t.Error(m.fault)
	}
	for _, r := range m.arrived {
		if r.body != body && !strings.ContainsAny(method+target, "\r\n") {
			t.Errorf("%q was sent, %q arrived", body, r.body)
		}
	}
	return m.arrived
}

// FuzzSentAsMatched: method, target, host and body are at the upstream, byte for byte, what
// the policy decided on, over both protocols on both sides (ATTACKS B5).
func FuzzSentAsMatched(f *testing.F) {
	for _, target := range []string{
		"/ok/a", "/ok/%6f?q=a", "/ok/a%20b?q=a+b", "/@acme%2Fx?q=a", "/@acme%2fx?q=a&Q=b", "/ok/é?q=a", "/ok/a?q=a;q=b", "/ok/a?q=a&q=b", "/ok/a?%71=a", "/ok/a?", "/ok/?q=a%",
		"/ok/../no", "/ok/%2e%2e/no", "//ok/a", "/ok/a#b", "*", "", "/ok/a[b]?q=a[", "https://one.example/ok/a", "/ok/a?q=a%00", "/ok/a\tb", "/ok/a b", "/OK/a", "/ok/a%", "/ok/\\a?q=a",
		"/ok/%C3%A9?q=a", "/ok/a:b@c!$&'()*+,=?q=a", "/ok/a?x=%zz&q=a", "/ok/~a-._?q=ab^`|{}\"<>",
	} {
		for _, method := range []string{"GET", "POST"} {
			f.Add(true, "two.example", method, target, `{"who":"acme"}`)
			f.Add(false, "one.example", method, target, "")
		}
	}
	for _, method := range []string{"get", "POST ", "CONNECT", "TRACE", "OPTIONS", "G\x00T", "", "PUT", "PRI", "M-SEARCH"} {
		f.Add(true, "one.example", method, "/ok/a", "x")
		f.Add(false, "two.example", method, "/ok/a?q=a", "x")
	}
	for _, body := range []string{`{"who":"acme"}`, `{"who":"evil","who":"acme"}`, `{"Who":"evil","who":"acme"}`, `{"who":"evil"}`, `{"who":"acme"} {"who":"evil"}`, "\xef\xbb\xbf{\"who\":\"acme\"}", `{"who":"acme\u0000"}`} {
		f.Add(true, "pinned.example", "POST", "/any", body)
		f.Add(false, "pinned.example", "POST", "/any", body)
	}
	m := newMatchLab(f)
	f.Fuzz(func(t *testing.T, h2 bool, host, method, target, body string) {
		if !slices.Contains([]string{"one.example", "two.example", "pinned.example"}, host) || len(method)+len(target) > 8<<10 || len(body) > 32<<10 {
			return
		}
		m.ask(t, h2, host, method, target, body)
	})
}

// What the fuzzer relies on: what is allowed arrives, over each pair of protocols.
func TestAttackB5_SentAsMatched(t *testing.T) {
	m := newMatchLab(t)
	for _, h2 := range []bool{false, true} {
		for host, target := range map[string]string{"one.example": "/ok/a?x=%zz;y&&z", "two.example": "/@acme%2fx?q=a%20b&%7e", "pinned.example": "/~a-._/b!$&'()*+,=:@?{}"} {
			got := m.ask(t, h2, host, "POST", target, `{"who":"acme"}`)
			if len(got) != 1 || got[0].target != target || got[0].host != host {
				t.Errorf("%s%s, HTTP/2 %t: got %+v", host, target, h2, got)
			}
		}
		for _, body := range []string{`{"who":"evil","who":"acme"}`, `{"who":"evil"}`, ""} {
			if got := m.ask(t, h2, "pinned.example", "POST", "/", body); len(got) > 0 {
				t.Errorf("%s arrived", body)
			}
		}
	}
}
