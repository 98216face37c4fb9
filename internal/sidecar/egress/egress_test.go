package egress

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

func TestRequestGoesOutWithOurCredential(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(w, "%s %s %s %v %s", r.Method, r.URL.RequestURI(), r.Host, r.Header.Get("X-Api-Key") == realKey, body)
			})
			l := newLab(t, up.route("api.example", keyAuth()))
			client := l.client(t, h2)
			for i := range 3 { // on one connection
				r := request(t, "POST", fmt.Sprintf("https://api.example/v1/m%d?a=b", i), strings.NewReader("hello"))
				r.Header.Set("X-Api-Key", placeholder)
				response, body := get(t, client, r)
				if want := fmt.Sprintf("POST /v1/m%d?a=b api.example true hello", i); body != want || (response.ProtoMajor == 2) != h2 {
					t.Fatalf("got %d %s over %s, want %s", response.StatusCode, body, response.Proto, want)
				}
			}
			e := l.awaitEvent(t, "the third", func(e audit.Event) bool { return e.Path == "/v1/m2" })
			if e.Decision != audit.Allow || e.Status != 200 || e.Secret != "KEY" || e.BytesOut != 5 || e.Address != up.Listener.Addr().String() || *e.Rule != 0 || e.Bottle != "dev-abcdef" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// An upstream that does not take our credential answers an agent that has none: what its command line
// says, log in again, does not help there. The log says whose value it is.
func TestTheLogSaysWhichCredentialIsNotTaken(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	l := newLab(t, up.route("api.example", keyAuth()), up.route("open.example", nil))
	for host, want := range map[string]string{"api.example": "the upstream does not take the value of KEY", "open.example": ""} {
		if response, _ := get(t, l.client(t, false), request(t, "GET", "https://"+host+"/v1/models", nil)); response.StatusCode != 401 {
			t.Errorf("%s: got %d", host, response.StatusCode)
		}
		e := l.awaitEvent(t, "its end", func(e audit.Event) bool { return e.Kind == audit.Request && e.Host == host && e.Status == 401 })
		if e.Decision != audit.Allow || e.Reason != want {
			t.Errorf("%s: got %s %q, want %q", host, e.Decision, e.Reason, want)
		}
	}
}

func TestRefusalSaysWhyAndWhatToDo(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) { t.Error("the request arrived") })
	route := up.route("api.example", nil)
	route.Methods, route.Paths = []string{"GET"}, []string{"/v1/**"}
	l := newLab(t, route)
	response, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/v2/x?q=1", nil))
	var said notice
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		t.Fatal(err)
	}
	want := notice{
		Error: "egress_denied", Reason: "the route to api.example allows only the paths /v1/**", Bottle: "dev-abcdef",
		Request: noticeRequest{Method: "GET", Host: "api.example", Port: 443, Path: "/v2/x"},
		Hint: "If you need it, ask the operator. On the host, this allows it while the bottle runs: bot-bottle egress dev-abcdef allow api.example --method GET. " +
			"For good: {host: api.example, methods: [GET]} under egress.routes in the bottle's manifest. Deny rules win over both.",
	}
	if response.StatusCode != 403 || said != want {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
	e := l.awaitEvent(t, "the refusal", func(e audit.Event) bool { return e.Decision == audit.Deny })
	if e.Path != "/v2/x" || e.Status != 403 {
		t.Errorf("got %+v", e)
	}
}

func TestRefusedConnectAnswersWithJSON(t *testing.T) {
	l := newLab(t)
	conn := l.dial(t)
	status, body := say(t, conn, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n")
	if status != 403 || !strings.Contains(body, `"error":"egress_denied"`) || !strings.Contains(body, "evil.example") {
		t.Errorf("got %d %s", status, body)
	}
}

// Of a refused CONNECT most clients show no more than its first line.
func TestRefusedConnectSaysWhoRefusedIt(t *testing.T) {
	l := newLab(t)
	conn := l.dial(t)
	_, _ = io.WriteString(conn, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\nan early ClientHello")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.Status != "403 Forbidden by the bottle's policy" || !response.Close || !strings.Contains(string(body), "evil.example") {
		t.Errorf("got %q, %s, %v", response.Status, body, err)
	}
}

func TestEventsStreamAtOnce(t *testing.T) {
	for _, auth := range []*policy.Auth{nil, keyAuth()} {
		next := make(chan struct{})
		up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
				<-next // the next event comes only when this one has arrived
			}
		})
		l := newLab(t, up.route("api.example", auth))
		response, err := l.client(t, true).Do(request(t, "GET", "https://api.example/events", nil))
		if err != nil {
			t.Fatal(err)
		}
		events := bufio.NewReader(response.Body)
		for i := range 3 {
			line, err := events.ReadString('\n')
			blank, _ := events.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) || blank != "\n" {
				t.Fatalf("got %q %q, %v", line, blank, err)
			}
			next <- struct{}{}
		}
		_ = response.Body.Close()
	}
}

// A call in both directions, as gRPC makes them: each message must arrive although the
// stream stays open, whatever its last byte is; a masker that holds back "s" because a
// secret begins with it would wait for ever.
func TestBothDirectionsStream(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		buffer := make([]byte, 64)
		for {
			n, err := r.Body.Read(buffer)
			if n > 0 {
				_, _ = w.Write(buffer[:n])
				_ = http.NewResponseController(w).Flush()
			}
			if err != nil {
				return
			}
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	reader, writer := io.Pipe()
	response, err := l.client(t, true).Do(request(t, "POST", "https://api.example/call", reader))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, message := range []string{"alphas", "betag", "sk", "*s"} {
		_, _ = io.WriteString(writer, message)
		got := make([]byte, len(message))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != message {
			t.Fatalf("got %q, %v; want %q", got, err, message)
		}
	}
	_ = writer.Close()
}

func TestTCPRouteCarriesBytes(t *testing.T) {
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := db.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(conn) // until the client has ended its half
		_, _ = fmt.Fprintf(conn, "got %s", all)
		_ = conn.Close()
	}()
	l := newLab(t, policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP, Address: db.Addr().String(), Private: true})
	conn, status := l.connect(t, "db.example:5432")
	if status != 200 {
		t.Fatalf("got %d", status)
	}
	_, _ = io.WriteString(conn, "select 1")
	_ = conn.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "got select 1" {
		t.Errorf("got %q, %v", answer, err)
	}
	<-done
	e := l.awaitEvent(t, "the connection", func(e audit.Event) bool { return e.Kind == audit.Connect })
	if e.BytesOut != 8 || e.BytesIn != 12 || e.Decision != audit.Allow {
		t.Errorf("got %+v", e)
	}
}

// One side may end its half and still be told things.
func TestTCPRouteIsHalfClosed(t *testing.T) {
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	late := make(chan string, 1)
	go func() {
		conn, err := db.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "bye")
		_ = conn.(*net.TCPConn).CloseWrite()
		rest, _ := io.ReadAll(conn)
		_ = conn.Close()
		late <- string(rest)
	}()
	l := newLab(t, policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP, Address: db.Addr().String(), Private: true})
	conn, _ := l.connect(t, "db.example:5432")
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "bye" {
		t.Errorf("got %q, %v", answer, err)
	}
	_, _ = io.WriteString(conn, "late")
	_ = conn.Close()
	if got := <-late; got != "late" {
		t.Errorf("got %q", got)
	}
}

func TestPlainHTTP(t *testing.T) {
	plain := newPlainOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Host+r.URL.Path) })
	l := newLab(t, policy.Route{Host: "plain.example", Protocol: policy.HTTP, Address: plain.Listener.Addr().String(), Private: true})
	if _, body := get(t, l.client(t, false), request(t, "GET", "http://plain.example/a", nil)); body != "plain.example/a" {
		t.Errorf("absolute form: got %s", body)
	}
	conn, status := l.connect(t, "plain.example:80")
	if status != 200 {
		t.Fatalf("got %d", status)
	}
	for _, path := range []string{"/b", "/c"} {
		if _, body := say(t, conn, "GET "+path+" HTTP/1.1\r\nHost: plain.example\r\n\r\n"); body != "plain.example"+path {
			t.Errorf("tunnel: got %s", body)
		}
	}
}

func TestOwnQuestions(t *testing.T) {
	l := newLab(t, policy.Route{Host: "api.example"}, policy.Route{Host: "db.example", Protocol: policy.TCP, Port: 5432})
	for target, want := range map[string]string{
		"/.bot-bottle/v1/lookup?name=API.example.": `{"allowed":true}`,
		"/.bot-bottle/v1/lookup?name=evil.example": `{"allowed":false,"reason":"no route allows evil.example"}`,
		"/.bot-bottle/v1/ports?rev=0":              `{"rev":1,"ports":[443,5432]}`,
		"/other":                                   `{"error":"not_found"}`,
	} {
		if _, body := say(t, l.dial(t), "GET "+target+" HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n"); strings.TrimSpace(body) != want {
			t.Errorf("%s: got %s, want %s", target, body, want)
		}
	}
}
