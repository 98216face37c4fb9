package egress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// apply changes a lab's routes, and fails the test where that is refused.
func (l *lab) apply(t *testing.T, secrets []control.Secret, routes ...policy.Route) {
	t.Helper()
	if err := l.server.Apply(control.EgressConfig{Routes: routes, Secrets: secrets}); err != nil {
		t.Fatal(err)
	}
}

// A route that the operator adds works at once, for names, ports and requests, and the
// guest hears of it without asking again.
func TestAGrantOpensAtOnce(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	l := newLab(t)
	waiting := l.dial(t)
	_, _ = io.WriteString(waiting, "GET /.bot-bottle/v1/ports?rev=1 HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n")
	client := l.client(t, true)
	if _, err := client.Get("https://api.example/"); err == nil {
		t.Fatal("it was open before")
	}
	route := up.route("api.example", nil)
	route.Port = 8443
	l.apply(t, testSecrets(), up.route("api.example", nil), route)
	response, body := get(t, client, request(t, "GET", "https://api.example/", nil))
	if response.StatusCode != 200 || body != "hello" {
		t.Errorf("got %d %q", response.StatusCode, body)
	}
	status, ports := say(t, waiting, "")
	if want := `{"rev":2,"ports":[443,8443]}`; status != 200 || strings.TrimSpace(ports) != want {
		t.Errorf("the guest heard %d %q, want %s", status, ports, want)
	}
}

// A service that crashed in the middle of a change and came back must not be taken for the
// one before: the guest would go on with the ports of then.
func TestRevisionsOutlastACrash(t *testing.T) {
	ca, _ := newCA(t)
	one, err := New(configWith(ca), audit.NewWriter(io.Discard), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	two, err := New(configWith(ca), audit.NewWriter(io.Discard), slog.New(slog.DiscardHandler), nil)
	if err != nil || one.rules.Load().revision == two.rules.Load().revision {
		t.Errorf("both have revision %d, %v", one.rules.Load().revision, err)
	}
}

// A change that cannot be made changes nothing.
func TestABadChangeChangesNothing(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLab(t, up.route("api.example", keyAuth()))
	for name, cfg := range map[string]control.EgressConfig{
		"host":   {Routes: []policy.Route{{Host: "*"}}, Secrets: testSecrets()},
		"secret": {Routes: []policy.Route{up.route("api.example", &policy.Auth{Scheme: policy.Bearer, Secret: "NONE"})}, Secrets: testSecrets()},
		"ca":     {Routes: []policy.Route{{Host: "api.example", CA: "no certificate"}}, Secrets: testSecrets()},
	} {
		if err := l.server.Apply(cfg); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
	if response, _ := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil)); response.StatusCode != 200 {
		t.Errorf("got %d", response.StatusCode)
	}
}

// Attack G13: what was allowed goes on over what is open already after the operator has
// taken it back: a stream, a WebSocket, an idle tunnel, a TCP route, a request that waits
// for its answer. All of it ends; what is still allowed does not notice.
func TestAttackG13_RevocationEndsWhatIsOpen(t *testing.T) {
	closed := make(chan string, 8)
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quiet" {
			<-r.Context().Done()
			closed <- r.URL.Path
			return
		}
		_, _ = io.WriteString(w, "begin\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		closed <- r.URL.Path
	})
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	table := policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP, Address: db.Addr().String(), Private: true}
	stays := up.route("stays.example", nil)
	l := newLab(t, up.route("api.example", nil), table, stays)

	stream := l.secure(t, "api.example", 443)
	_, _ = io.WriteString(stream, "GET /stream HTTP/1.1\r\nHost: api.example\r\n\r\n")
	if status := readStatus(t, stream); status != 200 {
		t.Fatalf("got %d", status)
	}
	quiet := l.secure(t, "api.example", 443)
	_, _ = io.WriteString(quiet, "GET /quiet HTTP/1.1\r\nHost: api.example\r\n\r\n")
	idle, _ := l.connect(t, "api.example:443")
	bytes, _ := l.connect(t, "db.example:5432")
	server, err := db.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	other := l.secure(t, "stays.example", 443)
	_, _ = io.WriteString(other, "GET /other HTTP/1.1\r\nHost: stays.example\r\n\r\n")
	if status := readStatus(t, other); status != 200 {
		t.Fatalf("got %d", status)
	}
	l.awaitOpenings(t, 8) // five tunnels, and a request in three of them

	l.apply(t, testSecrets(), stays)
	for name, conn := range map[string]net.Conn{"stream": stream, "waiting": quiet, "idle": idle, "tcp": bytes, "tcp upstream": server} {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: still open", name)
		}
	}
	for range 2 {
		select {
		case path := <-closed:
			if path == "/other" {
				t.Error("what is still allowed was ended")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("an upstream still has its request")
		}
	}
	if _, status := l.connect(t, "api.example:443"); status != http.StatusForbidden {
		t.Errorf("a new tunnel: %d", status)
	}
	_ = other.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := io.ReadAll(other); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("what is still allowed: %v", err)
	}
	l.awaitEvent(t, "a revoked request", func(e audit.Event) bool {
		return e.Path == "/quiet" && e.Decision == audit.Deny && strings.Contains(e.Reason, "taken this route back")
	})
}

func (l *lab) awaitOpenings(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		l.server.openings.mu.Lock()
		have := len(l.server.openings.all)
		l.server.openings.mu.Unlock()
		if have == n {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d are open, want %d", have, n)
		case <-time.After(time.Millisecond):
		}
	}
}

// A new value of a secret is used for the next request; the old one is still masked and
// may still not leave, since it may still open the door.
func TestASecretIsReplacedWhileItRuns(t *testing.T) {
	var got string
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Api-Key")
		_, _ = fmt.Fprintf(w, "%s %s", got, realKey)
	})
	l := newLab(t, up.route("api.example", keyAuth()), up.route("other.example", nil))
	const fresh = "sk-ant-api03-FRESHfreshFRESHfreshFRESH"
	l.apply(t, []control.Secret{{Name: "KEY", Value: fresh, Placeholder: placeholder}}, up.route("api.example", keyAuth()), up.route("other.example", nil))
	client := l.client(t, true)
	_, body := get(t, client, request(t, "GET", "https://api.example/", nil))
	if got != fresh || strings.Contains(body, fresh) || strings.Contains(body, realKey) {
		t.Errorf("sent %q, answered %q", got, body)
	}
	if response, _ := get(t, client, request(t, "GET", "https://other.example/?x="+realKey, nil)); response.StatusCode != http.StatusForbidden {
		t.Errorf("the old value left: %d", response.StatusCode)
	}
}

// Requests of a route that a change leaves as it is keep their upstream connection.
func TestAChangeKeepsConnections(t *testing.T) {
	var remotes []string
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { remotes = append(remotes, r.RemoteAddr) })
	l := newLab(t, up.route("api.example", keyAuth()))
	client := l.client(t, true)
	get(t, client, request(t, "GET", "https://api.example/", nil))
	l.apply(t, testSecrets(), up.route("more.example", nil), up.route("api.example", keyAuth()))
	get(t, client, request(t, "GET", "https://api.example/", nil))
	if len(remotes) != 2 || remotes[0] != remotes[1] {
		t.Errorf("got %v", remotes)
	}
}
