package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/semaphore"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// flood is a connection of HTTP/2 on which one side writes frames by hand.
type flood struct {
	*http2.Framer
	conn   net.Conn
	text   bytes.Buffer // what the framer wrote, until it is sent
	fields bytes.Buffer
	hpack  *hpack.Encoder
}

func newFlood(conn net.Conn) *flood {
	f := &flood{conn: conn}
	f.Framer = http2.NewFramer(&f.text, conn)
	f.AllowIllegalWrites = true
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.hpack = hpack.NewEncoder(&f.fields)
	return f
}

// send puts what was written on the wire.
func (f *flood) send() error {
	_, err := f.text.WriteTo(f.conn)
	return err
}

// block is a header block.
func (f *flood) block(fields ...string) []byte {
	f.fields.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = f.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(f.fields.Bytes())
}

// flood opens one from a bottle.
func (l *lab) flood(t *testing.T) *flood {
	t.Helper()
	conn, status := l.connect(t, "api.example:443")
	if status != 200 {
		t.Fatalf("CONNECT: %d", status)
	}
	f := newFlood(tls.Client(conn, &tls.Config{RootCAs: l.roots, ServerName: "api.example", NextProtos: []string{"h2"}}))
	f.text.WriteString(http2.ClientPreface)
	if err := errors.Join(f.WriteSettings(), f.send()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *flood) open(stream uint32, method, path string, end bool) {
	head := f.block(":method", method, ":scheme", "https", ":authority", "api.example", ":path", path)
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndHeaders: true, EndStream: end})
}

// answers reads until the other side ends the connection, and returns why it said so.
func (f *flood) answers() http2.ErrCode {
	code := http2.ErrCode(0xff)
	for {
		frame, err := f.ReadFrame()
		if goaway, ok := frame.(*http2.GoAwayFrame); ok {
			code = goaway.ErrCode
		}
		if err != nil && !errors.As(err, new(http2.StreamError)) {
			return code
		}
	}
}

// untilReset reads until the other side gives a stream or the connection up.
func (f *flood) untilReset() {
	for {
		frame, err := f.ReadFrame()
		if _, reset := frame.(*http2.RSTStreamFrame); reset || err != nil {
			return
		}
	}
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// maxFlood is how much of the heap a flood may take: far less than it sends.
const maxFlood = 12 << 20

// bounded runs a flood, and checks that its memory is bounded and that another connection, to
// other, is still served.
func (l *lab) bounded(t *testing.T, other string, attack func()) {
	t.Helper()
	before := heap()
	attack()
	if after := heap(); after > before+maxFlood {
		t.Errorf("the heap grew by %d MiB", (after-before)>>20)
	}
	if response, _ := get(t, l.client(t, true), request(t, "GET", other, nil)); response.StatusCode != 200 {
		t.Errorf("another connection got %s", response.Status)
	}
}

// atOnce is how many requests were ever under way at a time, by the log.
func (l *lab) atOnce(t *testing.T) (most int) {
	now := 0
	for _, e := range l.eventsOf(t) {
		switch {
		case e.Kind != audit.Request || e.Path == "/other":
		case e.Phase != "":
			now++
			most = max(most, now)
		default:
			now--
		}
	}
	return most
}

// Attack J4: requests that are taken back as soon as they are sent, by the bottle's own
// RST_STREAM (CVE-2023-44487) or by an error that has egress send one (CVE-2025-8671), so that
// no limit of concurrent streams is ever reached while each of them is worked on.
func TestAttackJ4_RapidReset(t *testing.T) {
	for name, reset := range map[string]func(f *flood, stream uint32){
		"by the bottle": func(f *flood, stream uint32) { _ = f.WriteRSTStream(stream, http2.ErrCodeCancel) },
		"by egress": func(f *flood, stream uint32) {
			_ = f.WriteRawFrame(http2.FrameWindowUpdate, 0, stream, make([]byte, 4))
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/other" {
					<-r.Context().Done()
				}
			})
			l := newLab(t, up.route("api.example", keyAuth()))
			const requests = 5000
			l.bounded(t, "https://api.example/other", func() {
				f := l.flood(t)
				ended := make(chan http2.ErrCode, 1)
				go func() { ended <- f.answers() }()
				var err error
				for i := uint32(0); i < requests && err == nil; i++ {
					f.open(2*i+1, "GET", "/reset", true)
					reset(f, 2*i+1)
					if i%50 == 49 {
						err = f.send()
					}
				}
				_ = f.conn.Close()
				t.Logf("ended with %v", <-ended)
			})
			if most := l.atOnce(t); most > maxStreams {
				t.Errorf("%d requests of one connection were under way at a time", most)
			}
		})
	}
}

// Attack J4: more requests at a time than a connection may have, none of which is answered.
func TestAttackJ4_ManyStreamsAtATime(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			<-r.Context().Done()
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	f := l.flood(t)
	const requests = 200
	for i := range uint32(requests) {
		f.open(2*i+1, "GET", "/hang", true)
	}
	if err := f.send(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for refused < requests-maxStreams {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%d were refused, then %v", refused, err)
		}
		if reset, ok := frame.(*http2.RSTStreamFrame); ok && (reset.ErrCode == http2.ErrCodeRefusedStream || reset.ErrCode == http2.ErrCodeProtocol) {
			refused++
		}
	}
	_ = f.conn.Close()
	if most := l.atOnce(t); most > maxStreams {
		t.Errorf("%d were under way", most)
	}
}

// Attack J4: a header block that never ends (CONTINUATION flood, CVE-2023-45288), and small
// ones that stand for large lists: one entry of the table, named thousands of times.
func TestAttackJ4_HeaderBlocksThatGrow(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLab(t, up.route("api.example", keyAuth()))
	const most = 64 << 20
	t.Run("CONTINUATION", func(t *testing.T) {
		l.bounded(t, "https://api.example/other", func() {
			f := l.flood(t)
			head := f.block(":method", "GET", ":scheme", "https", ":authority", "api.example", ":path", "/")
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head})
			sent := endless(f, most, func() []byte { return f.block("x", strings.Repeat("a", 4<<10)) })
			if code := f.answers(); sent > most/16 {
				t.Errorf("%d MiB of headers were taken (%v)", sent>>20, code)
			}
		})
	})
	t.Run("HPACK", func(t *testing.T) {
		l.bounded(t, "https://api.example/other", func() {
			f := l.flood(t)
			head := f.block(":method", "GET", ":scheme", "https", ":authority", "api.example", ":path", "/", "x", strings.Repeat("a", 3<<10))
			head = append(head, bytes.Repeat([]byte{0x80 | 62}, 10<<10)...) // the entry just made, 30 MiB in all
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndHeaders: true, EndStream: true})
			if err := f.send(); err != nil {
				t.Fatal(err)
			}
			frame, err := f.nextHeaders()
			if err == nil && frame.PseudoValue("status") != "431" {
				t.Errorf("got %s", frame.PseudoValue("status"))
			}
			_ = f.conn.Close()
		})
	})
	if events := l.eventsOf(t); len(events) != 4 {
		t.Errorf("the log has %d events; two requests, each with two, were to pass", len(events))
	}
}

// endless writes CONTINUATION frames until the other side has enough, and says how much it took.
func endless(f *flood, most int, block func() []byte) (sent int) {
	for sent < most {
		_ = f.WriteContinuation(1, false, block())
		sent += f.text.Len()
		if f.send() != nil {
			break
		}
	}
	return sent
}

// nextHeaders skips what else there is.
func (f *flood) nextHeaders() (*http2.MetaHeadersFrame, error) {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil, err
		}
		if head, ok := frame.(*http2.MetaHeadersFrame); ok {
			return head, nil
		}
	}
}

// Attack J4: frames that each want an answer, from who reads none of them (CVE-2019-9512,
// CVE-2019-9514).
func TestAttackJ4_AnswersThatNobodyReads(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLab(t, up.route("api.example", keyAuth()))
	const most, batch = 200_000, 500
	for name, write := range map[string]func(f *flood){
		"PING":   func(f *flood) { _ = f.WritePing(false, [8]byte{}) },
		"resets": func(f *flood) { _ = f.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4)) },
	} {
		t.Run(name, func(t *testing.T) {
			l.bounded(t, "https://api.example/other", func() {
				f := l.flood(t)
				f.open(1, "POST", "/", false)
				sent := 0
				for sent < most {
					for range batch {
						write(f)
					}
					sent += batch
					if f.send() != nil {
						break
					}
				}
				if sent == most {
					t.Errorf("%d were taken", sent)
				}
			})
		})
	}
}

// Attack J4: frames that cost who sends them next to nothing and mean nothing: empty DATA
// (CVE-2019-9518), empty CONTINUATION, PRIORITY, WINDOW_UPDATE by one, kinds that there are none
// of, and SETTINGS (CVE-2019-9515), many of which are acknowledged as one. They take time, of the
// bottle's own processors, and no memory.
func TestAttackJ4_FramesThatMeanNothing(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	l := newLab(t, up.route("api.example", keyAuth()))
	const frames, batch = 200_000, 1000
	for name, write := range map[string]func(f *flood){
		"DATA":          func(f *flood) { _ = f.WriteData(1, false, nil) },
		"padded DATA":   func(f *flood) { _ = f.WriteDataPadded(1, false, nil, []byte{}) },
		"CONTINUATION":  func(f *flood) { _ = f.WriteContinuation(3, false, nil) },
		"PRIORITY":      func(f *flood) { _ = f.WritePriority(5, http2.PriorityParam{StreamDep: 7, Weight: 1}) },
		"WINDOW_UPDATE": func(f *flood) { _ = f.WriteWindowUpdate(0, 1) },
		"SETTINGS":      func(f *flood) { _ = f.WriteSettings() },
		"no kind":       func(f *flood) { _ = f.WriteRawFrame(0x7f, 0, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			l.bounded(t, "https://api.example/other", func() {
				f := l.flood(t)
				if name != "SETTINGS" { // of which nobody reads what they are answered
					go func() { _ = f.answers() }()
				}
				f.open(1, "POST", "/", false)
				if name == "CONTINUATION" {
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: f.block(":method", "GET")})
				}
				for sent := 0; sent < frames; sent += batch {
					for range batch {
						write(f)
					}
					if f.send() != nil {
						break
					}
				}
			})
		})
	}
	if events := l.eventsOf(t); len(events) > 7*4 {
		t.Errorf("the log has %d events", len(events))
	}
}

// hostile is an upstream that speaks HTTP/2 by hand: be says what it does once a request has come.
func hostile(t *testing.T, be func(f *flood, stream uint32)) *origin {
	t.Helper()
	serve := func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
		f := newFlood(conn)
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		if errors.Join(f.WriteSettings(), f.send()) != nil {
			return
		}
		head, err := f.nextHeaders()
		if err != nil {
			return
		}
		be(f, head.StreamID)
	}
	ca, issuer := newCA(t)
	server := httptest.NewUnstartedServer(nil)
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": serve}
	server.TLS = &tls.Config{NextProtos: []string{"h2"}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issuer.Certificate(hello.ServerName)
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return &origin{Server: server, ca: ca}
}

// Attack J4: an upstream answers with a head that never ends, with one that stands for more
// than it is, or with interim answers without end.
func TestAttackJ4_AnUpstreamsHeadsThatGrow(t *testing.T) {
	const most = 64 << 20
	for name, be := range map[string]func(f *flood, stream uint32) (sent int){
		"CONTINUATION": func(f *flood, stream uint32) int {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(":status", "200")})
			return endless(f, most, func() []byte { return f.block("x", strings.Repeat("a", 4<<10)) })
		},
		"HPACK": func(f *flood, stream uint32) int {
			head := append(f.block(":status", "200", "x", strings.Repeat("a", 3<<10)), bytes.Repeat([]byte{0x80 | 62}, 10<<10)...)
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndHeaders: true})
			sent := f.text.Len()
			_ = f.send()
			return sent
		},
		"interim answers": func(f *flood, stream uint32) (sent int) {
			for sent < most {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(":status", "103", "link", strings.Repeat("a", 4<<10)), EndHeaders: true})
				sent += f.text.Len()
				if f.send() != nil {
					break
				}
			}
			return sent
		},
	} {
		t.Run(name, func(t *testing.T) {
			took := make(chan int, 1)
			up := hostile(t, func(f *flood, stream uint32) {
				_ = f.conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang is a failure
				gone := make(chan struct{})
				go func() { defer close(gone); f.untilReset(); _ = f.conn.Close() }()
				took <- be(f, stream)
				<-gone
			})
			fine := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
			l := newLab(t, up.route("api.example", keyAuth()), fine.route("fine.example", nil))
			l.bounded(t, "https://fine.example/", func() {
				response, _ := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil))
				if response.StatusCode != http.StatusBadGateway {
					t.Errorf("got %s", response.Status)
				}
				if sent := <-took; sent > most/8 {
					t.Errorf("%d MiB of heads were taken", sent>>20)
				}
			})
		})
	}
}

// Attack J4: the same over HTTP/1.1: interim answers without end.
func TestAttackJ4_InterimAnswersWithoutEnd(t *testing.T) {
	const most = 64 << 20
	up := newPlainOrigin(t, nil)
	took := make(chan int, 1)
	up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		sent, hint := 0, []byte("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 4<<10)+"\r\n\r\n")
		for err == nil && sent < most {
			_, err = conn.Write(hint)
			sent += len(hint)
		}
		took <- sent
	})
	route := (&origin{Server: up}).route("api.example", nil)
	route.Protocol, route.CA = "http", ""
	l := newLab(t, route)
	before := heap()
	response, _ := get(t, l.client(t, false), request(t, "GET", "http://api.example/", nil))
	if sent := <-took; response.StatusCode != http.StatusBadGateway || sent > most/8 {
		t.Errorf("got %s, and %d MiB were taken", response.Status, sent>>20)
	}
	if after := heap(); after > before+maxFlood {
		t.Errorf("the heap grew by %d MiB", (after-before)>>20)
	}
}

// Attack J4: an upstream floods its connection, in the middle of an answer, with frames that
// want an answer and with those that mean nothing.
func TestAttackJ4_AnUpstreamThatFloods(t *testing.T) {
	const frames, batch = 100_000, 1000
	for name, write := range map[string]func(f *flood, stream uint32){
		"PING":          func(f *flood, _ uint32) { _ = f.WritePing(false, [8]byte{}) },
		"SETTINGS":      func(f *flood, _ uint32) { _ = f.WriteSettings() },
		"DATA":          func(f *flood, stream uint32) { _ = f.WriteData(stream, false, nil) },
		"WINDOW_UPDATE": func(f *flood, stream uint32) { _ = f.WriteWindowUpdate(stream, 1) },
		"resets":        func(f *flood, stream uint32) { _ = f.WriteRSTStream(stream+2, http2.ErrCodeRefusedStream) },
		"no kind":       func(f *flood, _ uint32) { _ = f.WriteRawFrame(0x7f, 0, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			up := hostile(t, func(f *flood, stream uint32) {
				gone := make(chan struct{})
				go func() { defer close(gone); _ = f.answers() }()
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(":status", "200"), EndHeaders: true})
				for sent := 0; sent < frames && f.send() == nil; sent += batch {
					for range batch {
						write(f, stream)
					}
				}
				_ = f.WriteData(stream, true, []byte("the end"))
				_ = f.send()
				<-gone
			})
			fine := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
			l := newLab(t, up.route("api.example", keyAuth()), fine.route("fine.example", nil))
			l.bounded(t, "https://fine.example/", func() {
				response, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil))
				if response.StatusCode != 200 || body != "the end" {
					t.Errorf("got %s %q", response.Status, body)
				}
			})
		})
	}
}

// Attack J4: under a wildcard the bottle names host after host, and egress keeps a connection to
// each for its next request: so many that there is no room for another one's.
func TestAttackJ4_AConnectionToEachOfManyHosts(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			var open, most atomic.Int64
			up := newOriginWith(t, func(server *httptest.Server) {
				server.EnableHTTP2 = h2
				server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					switch state {
					case http.StateNew:
						most.Store(max(most.Load(), open.Add(1)))
					case http.StateClosed:
						open.Add(-1)
					}
				}
			}, func(http.ResponseWriter, *http.Request) {})
			l := newLabWith(t, func(s *Server) { s.lines.most = 4 }, up.route("*.wild.example", nil))
			client := l.client(t, false)
			client.Transport.(*http.Transport).DisableKeepAlives = true // to us; what egress keeps is its own
			for i := range 40 {
				response, _ := get(t, client, request(t, "GET", fmt.Sprintf("https://h%d.wild.example/", i), nil))
				if response.StatusCode != http.StatusOK {
					t.Fatalf("got %d", response.StatusCode)
				}
			}
			if got := most.Load(); got > 12 { // the origin hears of an end after it
				t.Errorf("%d connections at a time are kept", got)
			}
			if got := l.server.lines.open.Load(); got > 4 {
				t.Errorf("%d connections are open", got)
			}
		})
	}
}

// stall begins a request whose body does not come.
func (l *lab) stall(t *testing.T, h2 bool, head http.Header, length int64) <-chan int {
	t.Helper()
	body, begun := io.Pipe()
	t.Cleanup(func() { _ = begun.Close() })
	r := request(t, "POST", "https://api.example/", body)
	r.Header, r.ContentLength = head, length
	status := make(chan int, 1)
	client := l.client(t, h2)
	var stalled sync.WaitGroup
	stalled.Go(func() {
		if response, err := client.Do(r); err == nil {
			_ = response.Body.Close()
			status <- response.StatusCode
		}
		close(status)
	})
	t.Cleanup(func() { _ = begun.CloseWithError(io.ErrUnexpectedEOF); stalled.Wait() })
	_, _ = begun.Write([]byte("abc"))
	return status
}

// Attack J4: bodies are begun and not sent. What is held for them is not held for ever: another
// request, whose body waits for room, is answered.
func TestAttackJ4_BodiesThatDoNotCome(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			l := newLabWith(t, func(s *Server) { s.held, s.patience = semaphore.NewWeighted(1000), 3*time.Second }, up.route("api.example", nil))
			status := l.stall(t, h2, http.Header{}, 1000)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, body := range []string{"hello", strings.Repeat("much ", 200)} {
				response, err := l.client(t, h2).Do(request(t, "POST", "https://api.example/", strings.NewReader(body)).WithContext(ctx))
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("got %d", response.StatusCode)
				}
			}
			if got := <-status; got != http.StatusRequestTimeout {
				t.Errorf("the one that does not come got %d", got)
			}
		})
	}
}

// Attack J4: the same with compressed bodies that are too long to be held: they may take their
// time, and take no room from those that are.
func TestAttackJ4_CompressedBodiesThatDoNotCome(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	l := newLab(t, up.route("api.example", nil))
	for range maxHeld / unpacking {
		l.stall(t, false, http.Header{"Content-Encoding": {"gzip"}}, maxCoded+1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	response, err := l.client(t, false).Do(request(t, "POST", "https://api.example/", strings.NewReader("hello")).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %d", response.StatusCode)
	}
}
