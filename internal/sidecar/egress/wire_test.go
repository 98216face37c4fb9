package egress

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// wire is an upstream that keeps every byte that it is sent, and answers each request.
type wire struct {
	mu       sync.Mutex
	streams  []*bytes.Buffer // one for each connection
	requests []readRequest
	open     sync.WaitGroup
}

// readRequest is a request as an upstream reads it.
type readRequest struct {
	method, target, host string
	header               http.Header
	body                 string
}

func (w *wire) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	w.mu.Lock()
	stream := &bytes.Buffer{}
	w.streams = append(w.streams, stream)
	w.mu.Unlock()
	w.open.Go(func() {
		defer func() { _ = theirs.Close() }()
		for from := bufio.NewReader(io.TeeReader(theirs, stream)); ; {
			r, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.requests = append(w.requests, readRequest{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
			w.mu.Unlock()
			if _, err := io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return ours, nil
}

// oneReading checks what egress wrote on a connection: heads that every server takes apart
// alike, and between them only the bodies that they announce.
func oneReading(t *testing.T, stream []byte) (requests int) {
	t.Helper()
	for len(stream) > 0 {
		head, rest, whole := bytes.Cut(stream, []byte("\r\n\r\n"))
		if !whole {
			return requests // broken off; nobody takes it for a request
		}
		length, chunked := soundHead(t, string(head))
		requests++
		switch {
		case chunked:
			if rest, whole = afterChunks(rest); !whole {
				return requests
			}
		case length > len(rest):
			return requests
		default:
			rest = rest[length:]
		}
		stream = rest
	}
	return requests
}

func soundHead(t *testing.T, head string) (length int, chunked bool) {
	t.Helper()
	lines := strings.Split(head, "\r\n")
	if strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\x00") || strings.Count(lines[0], " ") != 2 || !strings.HasSuffix(lines[0], " HTTP/1.1") {
		t.Errorf("a head that can be read in two ways: %q", head)
	}
	framings := 0
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok && strings.HasSuffix(line, ":") {
			name, ok = strings.TrimSuffix(line, ":"), true
		}
		if !ok || name == "" || strings.Trim(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Errorf("a header line that can be read in two ways: %q", line)
		}
		switch strings.ToLower(name) {
		case "content-length":
			framings++
			for _, digit := range value {
				length = length*10 + int(digit-'0')
			}
			if strings.Trim(value, "0123456789") != "" || value == "" || len(value) > 9 {
				t.Errorf("a length that can be read in two ways: %q", value)
			}
		case "transfer-encoding":
			framings++
			chunked = true
			if value != "chunked" {
				t.Errorf("transfer-encoding %q", value)
			}
		}
	}
	if framings > 1 {
		t.Errorf("two lengths of one body: %q", head)
	}
	return length, chunked
}

// afterChunks skips a chunked body without extensions and trailers, as egress writes it.
func afterChunks(from []byte) ([]byte, bool) {
	for {
		line, rest, ok := bytes.Cut(from, []byte("\r\n"))
		size := 0
		for _, digit := range line {
			size = size*16 + strings.IndexByte("0123456789abcdef", digit)
		}
		if !ok || size < 0 || len(rest) < size+2 {
			return nil, false
		}
		if from = rest[size+2:]; size == 0 {
			return from, string(rest[:2]) == "\r\n"
		}
	}
}

// FuzzTunnel: whatever a client says in a tunnel, an upstream gets no request but those that
// were decided on, one for each that is on record, with our credential and no other, and no
// byte that could be read as one more (ATTACKS B7, B9, C1).
func FuzzTunnel(f *testing.F) {
	const host = "Host: plain.example\r\n"
	for _, said := range []string{
		"GET /ok/a HTTP/1.1\r\n" + host + "\r\nGET /ok/b HTTP/1.1\r\n" + host + "\r\nGET /no HTTP/1.1\r\n" + host + "\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhelloGET /ok/b HTTP/1.1\r\n" + host + "\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\nGET /ok/b HTTP/1.1\r\n" + host + "\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\nGET /no HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 30\r\n\r\nabcGET /no HTTP/1.1\r\n" + host + "\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\nabc", "POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\nabc",
		"POST /ok/a HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "POST /ok/a HTTP/1.1\r\n" + host + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"POST /ok/a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"POST /ok/a HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /no HTTP/1.1\r\n" + host + "\r\n",
		"GET /ok/a HTTP/1.1\r\n" + host + "Content-Length: 31\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n",
		"GET /ok/a HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n", "GET /ok/a HTTP/1.1\r\n" + host + "X: a\rGET /no HTTP/1.1\r\n\r\n", "GET /ok/a\nHost: plain.example\n\n",
		"GET /ok/a HTTP/1.1\n" + "Host: plain.example\n\nGET /no HTTP/1.1\nHost: plain.example\n\n", "GET  /ok/a HTTP/1.1\r\n" + host + "\r\n", "GET /ok/a b HTTP/1.1\r\n" + host + "\r\n",
		"GET /ok/%0d%0aGET%20/no HTTP/1.1\r\n" + host + "\r\n", "GET /ok/\x00 HTTP/1.1\r\n" + host + "\r\n", "GET http://plain.example/ok/a HTTP/1.1\r\n" + host + "\r\n",
		"GET /ok/a HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", "HEAD /ok/a HTTP/1.1\r\n" + host + "\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /ok/a HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /no HTTP/1.1\r\n" + host + "\r\n",
		"GET /ok/a HTTP/1.1\r\n" + host + "Connection: X-Api-Key, Host, Content-Length\r\nX-Api-Key: mine\r\nAuthorization: Bearer mine\r\nX_Api_Key: mine\r\n\r\n",
		"GET /ok/a?key=mine&a=b HTTP/1.1\r\n" + host + "Trailer: X-Api-Key\r\n\r\n", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "CONNECT plain.example:80 HTTP/1.1\r\n" + host + "\r\n",
	} {
		f.Add([]byte(said))
	}
	f.Add(bytes.Repeat([]byte("x"), 4095))
	w := newWireLab(f)
	f.Fuzz(func(t *testing.T, said []byte) { w.say(t, said) })
}

// What the fuzzer relies on: what is decided on does arrive.
func TestAttackB9_OnlyDecidedRequestsLeaveATunnel(t *testing.T) {
	w := newWireLab(t)
	const host = "Host: plain.example\r\n"
	for said, want := range map[string]string{
		"GET /ok/a HTTP/1.1\r\n" + host + "\r\nGET /no HTTP/1.1\r\n" + host + "\r\nGET /ok/b HTTP/1.1\r\n" + host + "\r\n":           "/ok/a /ok/b",
		"POST /ok/a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n":                               "/ok/a hello",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: 30\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\n\r\n":                           "",
		"POST /ok/a HTTP/1.1\r\n" + host + "Content-Length: 5\r\nX-Api-Key: mine\r\n\r\nhelloGET /ok/b HTTP/1.1\r\n" + host + "\r\n": "/ok/a hello /ok/b",
	} {
		var got []string
		for _, r := range w.say(t, []byte(said)) {
			got = append(got, strings.TrimSpace(r.target+" "+r.body))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q arrived, want %q", said, got, want)
		}
	}
}

// wireLab is egress with a wire for its upstream.
type wireLab struct {
	*lab
	transport *http.Transport
	up        *wire
}

func newWireLab(t testing.TB) *wireLab {
	w := &wireLab{lab: newLab(t, policy.Route{
		Host: "plain.example", Protocol: policy.HTTP, Private: true, Address: "127.0.0.1:9", Auth: keyAuth(), Methods: []string{"GET", "HEAD", "POST"}, Paths: []string{"/ok/**"},
	})}
	w.transport = w.server.rules.Load().routes[0].transport
	w.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return w.up.dial(ctx, network, address)
	}
	return w
}

// say says something in a tunnel, and checks what comes of it, which it returns.
func (w *wireLab) say(t *testing.T, said []byte) []readRequest {
	t.Helper()
	w.up = &wire{}
	client := newScript(said)
	w.server.tunnels.add(client.tunnel(policy.HTTP, "plain.example", 80))
	<-client.ended
	w.transport.CloseIdleConnections()
	w.up.open.Wait()
	read := 0
	for _, stream := range w.up.streams {
		read += oneReading(t, stream.Bytes())
	}
	allowed := make(map[time.Time]bool) // one that was allowed may have been broken off
	for _, e := range w.takeEvents(t) {
		if e.Decision == audit.Allow {
			allowed[e.Time] = true
		}
	}
	if read > len(allowed) || len(w.up.requests) > len(allowed) {
		t.Errorf("%d requests were allowed, %d can be read, %d were: %q", len(allowed), read, len(w.up.requests), w.up.streams)
	}
	for _, r := range w.up.requests {
		w.checkArrived(t, r)
	}
	return w.up.requests
}

func (w *wireLab) checkArrived(t *testing.T, r readRequest) {
	t.Helper()
	now := policy.Request{Protocol: policy.HTTP, Host: "plain.example", Port: 80, Method: r.method, Target: r.target}
	if d := w.server.rules.Load().set.Request(now); !d.Allowed || r.host != "plain.example" {
		t.Errorf("%+v arrived: %s", r, d.Reason)
	}
	_, query, _ := strings.Cut(r.target, "?")
	if keys := r.header.Values("X-Api-Key"); len(keys) != 1 || keys[0] != realKey || r.header.Get("Authorization") != "" || r.header.Get("X_Api_Key") != "" || stripQuery(query, "") != query {
		t.Errorf("%+v arrived with these credentials", r)
	}
}
