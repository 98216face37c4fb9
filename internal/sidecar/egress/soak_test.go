package egress

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

var soak = flag.Duration("soak", 0, "how long TestSoak goes on; by default a fixed number of rounds")

// traffic is a lab with an upstream of each kind.
type traffic struct {
	*lab
	one, two *http.Client // HTTP/1.1, HTTP/2
	heard    *safeBuffer  // by the upstream of WebSockets
}

func newTraffic(t *testing.T) *traffic {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		case "/broken":
			panic(http.ErrAbortHandler)
		}
		_, _ = io.Copy(w, r.Body)
	})
	heard := &safeBuffer{}
	sockets, db := echo(t, heard), speaker(t)
	l := newLab(t, up.route("api.example", keyAuth()), sockets.route("ws.example", nil),
		policy.Route{Host: "db.example", Protocol: policy.TCP, Port: 5432, Address: db.Addr().String(), Private: true})
	return &traffic{lab: l, one: l.client(t, false), two: l.client(t, true), heard: heard}
}

// ask makes a request and compares the answer with what was sent.
func (w *traffic) ask(ctx context.Context, client *http.Client, method, url, body string, want int) error {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != want || want == 200 && string(got) != body {
		return fmt.Errorf("%s %s: got %s, %d bytes, %v", method, url, response.Status, len(got), err)
	}
	return nil
}

// stream reads an event stream for a while, and goes.
func (w *traffic) stream(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example/events", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewReader(response.Body)
	for i := range 3 {
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
			return fmt.Errorf("event stream: %q, %w", line, err)
		}
		_, _ = lines.ReadString('\n')
	}
	return nil
}

// abandon cancels an upload half-way.
func (w *traffic) abandon(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.example/", reader)
	if err != nil {
		cancel()
		return err
	}
	go func() {
		_, _ = io.WriteString(writer, strings.Repeat("half ", 10_000))
		cancel()
		_ = writer.CloseWithError(context.Canceled) // for who still reads
	}()
	if response, err := client.Do(r); err == nil {
		n, err := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode < 400 {
			return fmt.Errorf("half an upload was answered, over %s, as a whole: %s, %d bytes", response.Proto, response.Status, n)
		}
	}
	return nil
}

func (w *traffic) webSocket(ctx context.Context) error {
	conn, _, err := websocket.Dial(ctx, "wss://ws.example/", &websocket.DialOptions{HTTPClient: w.one})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	for _, message := range []string{"hello", strings.Repeat("long ", 2000)} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			return err
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != message {
			return fmt.Errorf("WebSocket: %d bytes, %w", len(got), err)
		}
	}
	return conn.Close(websocket.StatusNormalClosure, "")
}

// raw says something on the socket and reads as much as is expected.
func (w *traffic) raw(said, want string) error {
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, said); err != nil || want == "" {
		return err
	}
	got, err := io.ReadAll(io.LimitReader(conn, int64(len(want))))
	if string(got) != want {
		return fmt.Errorf("%q: got %q, %w", said, got, err)
	}
	return nil
}

// round is one of everything.
func (w *traffic) round(ctx context.Context, n int) error {
	body := strings.Repeat(fmt.Sprintf("round %d of many. ", n), 500)
	defer func() { _, _, _ = w.events.take(), w.log.take(), w.heard.take() }()
	return errors.Join(
		w.ask(ctx, w.one, "GET", "https://api.example/", "", 200),
		w.ask(ctx, w.two, "POST", "https://api.example/", body, 200),
		w.ask(ctx, w.one, "PUT", "https://api.example/", body, 200),
		w.ask(ctx, w.two, "GET", "https://api.example/broken", "", 502),
		w.ask(ctx, w.two, "POST", "https://api.example/", otherReal, 403),
		w.ask(ctx, w.one, "GET", "http://evil.example/", "", 403),
		w.stream(ctx, w.one), w.stream(ctx, w.two),
		w.abandon(ctx, w.one), w.abandon(ctx, w.two),
		w.webSocket(ctx),
		w.raw("CONNECT db.example:5432 HTTP/1.1\r\nHost: x\r\n\r\nselect", "HTTP/1.1 200 Connection established\r\n\r\n"),
		w.raw("CONNECT db.example:5432 HTTP/1.1\r\nHost: x\r\n\r\n", ""),
		w.raw("CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 403 Forbidden by the bottle's policy\r\n"),
		w.raw("CONNECT api.example:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01", "HTTP/1.1 200 Connection established\r\n\r\n"),
		w.raw("GET http://evil", ""),
	)
}

// rounds runs some workers side by side, until more says no.
func (w *traffic) rounds(t *testing.T, more func(n int) bool) (done int) {
	t.Helper()
	var workers sync.WaitGroup
	var mu sync.Mutex
	for worker := range 4 {
		workers.Go(func() {
			for n := 0; more(n) && !t.Failed(); n++ {
				if err := w.round(t.Context(), worker*1_000_000+n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return done
}

// open counts the tunnels and requests under way.
func (w *traffic) open() int {
	w.server.openings.mu.Lock()
	defer w.server.openings.mu.Unlock()
	return len(w.server.openings.all)
}

// used is what a process holds.
type used struct {
	goroutines, files int
	heap              int64
}

func (u used) within(before used) bool {
	return u.goroutines <= before.goroutines+2 && u.files <= before.files+2 && u.heap <= before.heap+4<<20
}

func (u used) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d KiB of heap", u.goroutines, u.files, u.heap>>10)
}

// atRest closes what is only kept for later, and looks.
func (w *traffic) atRest(t *testing.T) used {
	t.Helper()
	w.one.CloseIdleConnections()
	w.two.CloseIdleConnections()
	for _, u := range w.server.rules.Load().routes {
		u.transport.CloseIdleConnections()
	}
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // pools are emptied by the second
		runtime.GC()
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return used{runtime.NumGoroutine(), len(files), int64(memory.HeapAlloc)}
}

// Attack I6: traffic of every kind, refused, broken off and given up as well, that leaves a
// little of itself behind each time. At rest egress holds as much after it as before.
func TestSoak(t *testing.T) {
	w := newTraffic(t)
	w.rounds(t, func(n int) bool { return n < 5 }) // what is made once, and caches
	before := w.settle(t, func(used) bool { return w.open() == 0 })
	ends := time.Now().Add(*soak)
	done := w.rounds(t, func(n int) bool { return n < 10 || time.Now().Before(ends) })
	after := w.settle(t, func(u used) bool { return u.within(before) && w.open() == 0 })
	t.Logf("%d rounds; before: %s; after: %s", done, before, after)
	if !after.within(before) || w.open() > 0 {
		t.Errorf("egress holds more than before, %d openings among it", w.open())
	}
}

// settle waits until all is quiet, and no longer than a minute.
func (w *traffic) settle(t *testing.T, quiet func(used) bool) used {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	u := w.atRest(t)
	for last := (used{}); time.Now().Before(deadline) && (!quiet(u) || u.goroutines != last.goroutines); u = w.atRest(t) {
		last = u
		time.Sleep(100 * time.Millisecond)
	}
	return u
}
