package egress

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack I6: data leaves slowly, or a lot of it at once, to an allowed host: by the number
// of requests, by bodies, by WebSocket, by a TCP route. What a limit allows passes, what is
// more does not, and the log says why.
func TestAttackI6_LimitsHold(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Read", strconv.FormatInt(n, 10))
		_, _ = w.Write(bytes.Repeat([]byte("x"), len(r.URL.RawQuery)*1000))
	})
	event := func(t *testing.T, l *lab, what string) {
		t.Helper()
		l.awaitEvent(t, what, func(e audit.Event) bool {
			return e.Decision == audit.Deny && strings.Contains(e.Reason, "no more "+what)
		})
	}
	limited := func(l policy.Limits) policy.Route {
		r := up.route("api.example", nil)
		r.Limits = &l
		return r
	}
	for _, h2 := range []bool{false, true} {
		t.Run("requests", func(t *testing.T) {
			l := newLab(t, limited(policy.Limits{Requests: 2, Window: policy.Span(time.Hour)}))
			client := l.client(t, h2)
			for i, want := range []int{200, 200, 429, 429} {
				response, body := get(t, client, request(t, "GET", "https://api.example/", nil))
				wait, _ := strconv.Atoi(response.Header.Get("Retry-After"))
				if response.StatusCode != want || want == 429 && (wait < 60 || !strings.Contains(body, "limit_reached")) {
					t.Errorf("request %d: got %d %s, wait %d", i, response.StatusCode, body, wait)
				}
			}
			event(t, l, "requests")
		})
		t.Run("up", func(t *testing.T) {
			l := newLab(t, limited(policy.Limits{BytesUp: 100_000}))
			client := l.client(t, h2)
			if response, _ := get(t, client, request(t, "POST", "https://api.example/", bytes.NewReader(make([]byte, 60_000)))); response.StatusCode != 200 || response.Header.Get("X-Read") != "60000" {
				t.Errorf("got %d, %s read", response.StatusCode, response.Header.Get("X-Read"))
			}
			response, body := get(t, client, request(t, "POST", "https://api.example/", bytes.NewReader(make([]byte, 60_000))))
			if response.StatusCode != 429 || response.Header.Get("Retry-After") != "" || !strings.Contains(body, "bytes up") {
				t.Errorf("got %d %s", response.StatusCode, body)
			}
			event(t, l, "bytes up")
		})
		t.Run("up in heads", func(t *testing.T) {
			l := newLab(t, limited(policy.Limits{BytesUp: 100_000}))
			client, carried := l.client(t, h2), 0
			for i := range 20 {
				r := request(t, "GET", "https://api.example/"+strings.Repeat("p", 5000), nil)
				r.Header.Set("X-Data", strings.Repeat("h", 5000))
				if response, _ := get(t, client, r); response.StatusCode == 200 {
					carried += 10_000
				} else if response.StatusCode != 429 {
					t.Errorf("request %d: got %d", i, response.StatusCode)
				}
			}
			if carried == 0 || carried > 100_000-10_000 {
				t.Errorf("%d bytes went out in heads, beside what else was in them", carried)
			}
		})
		t.Run("down", func(t *testing.T) {
			l := newLab(t, limited(policy.Limits{BytesDown: 500_000}))
			response, err := l.client(t, h2).Do(request(t, "GET", "https://api.example/?"+strings.Repeat("q", 1000), nil))
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(response.Body)
			if err == nil || len(data) > 500_000 {
				t.Errorf("got %d bytes, %v: it must be seen to break off", len(data), err)
			}
			event(t, l, "bytes down")
		})
	}
}

// A bottle's own limit counts what goes to all its routes, and a change of the policy is
// no refill.
func TestALimitOfTheBottle(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLab(t)
	cfg := control.EgressConfig{Secrets: testSecrets(), Limits: &policy.Limits{Requests: 2, Window: policy.Span(time.Hour)}}
	for _, host := range []string{"a.example", "b.example"} {
		cfg.Routes = append(cfg.Routes, up.route(host, nil))
	}
	if err := l.server.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	client := l.client(t, true)
	for i, c := range []struct {
		host string
		want int
	}{{"a", 200}, {"b", 200}, {"a", 429}, {"b", 429}} {
		if i == 3 {
			cfg.Routes = append(cfg.Routes, up.route("c.example", nil))
			if err := l.server.Apply(cfg); err != nil {
				t.Fatal(err)
			}
		}
		if response, body := get(t, client, request(t, "GET", "https://"+c.host+".example/", nil)); response.StatusCode != c.want {
			t.Errorf("%s: got %d %s", c.host, response.StatusCode, body)
		}
	}
}

func TestLimitsOfAWebSocketAndOfATCPRoute(t *testing.T) {
	route := echo(t, &safeBuffer{}).route("api.example", nil)
	route.Limits = &policy.Limits{BytesUp: 1000}
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	read := make(chan int64, 1)
	go func() {
		conn, err := db.Accept()
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, conn)
		_ = conn.Close()
		read <- n
	}()
	l := newLab(t, route, policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP, Address: db.Addr().String(), Private: true, Limits: &policy.Limits{BytesUp: 1000}})
	conn := l.webSocket(t, "wss://api.example/")
	for range 3 {
		_ = conn.Write(t.Context(), websocket.MessageBinary, make([]byte, 400))
	}
	for err == nil {
		_, _, err = conn.Read(t.Context())
	}
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "bytes up") {
		t.Errorf("got %v", err)
	}
	tunnel, _ := l.connect(t, "db.example:5432")
	for range 30 {
		if _, err := tunnel.Write(make([]byte, 100)); err != nil {
			break
		}
	}
	if n := <-read; n > 1000 {
		t.Errorf("%d bytes arrived", n)
	}
	for _, host := range []string{"api.example", "db.example"} {
		l.awaitEvent(t, host, func(e audit.Event) bool {
			return e.Host == host && e.Decision == audit.Deny && strings.Contains(e.Reason, "no more bytes up")
		})
	}
}
