package egress

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Every refusal that an agent can do something about says what.
func TestRefusalsHaveHints(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	swapped := up.route("swap.example", &policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"})
	counted := up.route("counted.example", nil)
	counted.Limits = &policy.Limits{BytesUp: 1}
	near := up.route("near.example", nil)
	near.Private = false
	l := newLabOf(t, func(cfg *control.EgressConfig) {
		cfg.Proxy = &policy.Proxy{URL: rawProxy(t, func(net.Conn) {})}
	}, func(*Server) {}, up.route("api.example", nil), swapped, counted, near, policy.Route{Host: "far.example"})
	for code, c := range map[string]struct{ method, target, body, hint string }{
		"egress_denied":            {"GET", "http://evil.example:8080/x", "", "bot-bottle egress dev-abcdef allow evil.example:8080 --protocol http --method GET"},
		"address_denied":           {"GET", "https://near.example/", "", "private: true"},
		"secret_leak":              {"POST", "https://api.example/", otherReal, "scan: on the route"},
		"placeholder_not_replaced": {"GET", "https://swap.example/", "", "auth: on the route"},
		"not_inspectable":          {"POST", "https://api.example/?_method=x", "", "no rule can allow it"},
		"limit_reached":            {"POST", "https://counted.example/", "much", "limits:"},
		"upstream_unreachable":     {"GET", "https://api.example/", "", "The policy allows this"},
		"upstream_proxy_failed":    {"GET", "https://far.example/", "", "egress.upstream_proxy"},
		"bad_target":               {"GET", "http://10.0.0.1/", "", "as a name"},
	} {
		var said notice
		response, body := get(t, l.client(t, false), request(t, c.method, c.target, strings.NewReader(c.body)))
		if err := json.Unmarshal([]byte(body), &said); err != nil || said.Error != code || !strings.Contains(said.Hint, c.hint) || said.Reason == "" || said.Request.Method != c.method || said.Request.Host == "" {
			t.Errorf("%s: got %s %s", code, response.Status, body)
		}
	}
}

// Attack H1, J2: a host, a method or a path that an agent shows to the operator, in the
// answer to its refused request: words for the shell or for the terminal, or very long.
func TestAttackH1_ARefusalIsPlain(t *testing.T) {
	l := newLab(t, policy.Route{Host: "api.example", Methods: []string{"GET"}})
	hostile := []string{"$(reboot)", "`id`", "a;reboot", "a b", "--private", "-h", "'x'", "\x1b]0;x\x07", "\u202e", "a\nb", "é", strings.Repeat("x", 60_000), "evil.example --private"}
	for _, text := range hostile {
		for _, no := range []refusal{
			{code: "egress_denied", status: 403, reason: "no " + text, host: text, port: 443},
			{code: "egress_denied", status: 403, reason: text, host: "evil.example", port: 443, protocol: policy.HTTPS},
			{code: "secret_leak", status: 403, reason: text, host: text},
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Method, r.URL.Path, r.Host = text, "/"+text, text
			answer := httptest.NewRecorder()
			l.server.tell(answer, r, no)
			var said notice
			if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil || answer.Body.Len() > 8<<10 {
				t.Fatalf("%.40q: %d bytes, %v", text, answer.Body.Len(), err)
			}
			for _, field := range []string{said.Reason, said.Hint, said.Request.Method, said.Request.Host, said.Request.Path} {
				if i := strings.IndexFunc(field, func(c rune) bool { return !unicode.IsPrint(c) && c != '\uFFFD' }); i >= 0 {
					t.Errorf("%.40q: %q holds %q", text, field, field[i:])
				}
			}
			_, command, _ := strings.Cut(said.Hint, "bot-bottle egress ")
			if command, _, _ = strings.Cut(command, ". For good"); command != "" && command != "dev-abcdef allow evil.example" {
				t.Errorf("%.40q: the operator is asked to run %q", text, command)
			}
			if _, route, ok := strings.Cut(said.Hint, "For good: {"); ok && !strings.HasPrefix(route, "host: evil.example} under") {
				t.Errorf("%.40q: the operator is asked to write %q", text, route)
			}
		}
	}
	for _, said := range []string{"CONNECT $(reboot):443 HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\nX-Y: " + strings.Repeat("z", 30_000) + "\r\n\r\n"} {
		if status, body := say(t, l.dial(t), said); status < 400 || len(body) > 4<<10 || strings.Contains(body, "allow $") {
			t.Errorf("got %d %s", status, fmt.Sprintf("%.300s", body))
		}
	}
}

// Where the agent may ask, a refusal has the call ready: what it says is what was refused,
// and nothing that could not be a route.
func TestRefusalsHaveTheAskReady(t *testing.T) {
	l := newLabOf(t, func(cfg *control.EgressConfig) { cfg.Supervised = true }, func(*Server) {}, policy.Route{Host: "api.example", Methods: []string{"GET"}})
	for target, want := range map[string]string{
		"http://evil.example:8080/a/b?q=1": `{"tool":"request_egress","arguments":{"host":"evil.example","methods":["PUT"],"paths":["/a/b"],"port":8080,"protocol":"http"}}`,
		"https://api.example/x":            `{"tool":"request_egress","arguments":{"host":"api.example","methods":["PUT"],"paths":["/x"],"port":443,"protocol":"https"}}`,
		"https://api.example/*":            `{"tool":"request_egress","arguments":{"host":"api.example","methods":["PUT"],"port":443,"protocol":"https"}}`,
	} {
		_, body := get(t, l.client(t, false), request(t, "PUT", target, nil))
		var said notice
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(said.Ask); string(got) != want || !strings.Contains(said.Hint, "request_egress") || strings.Count(said.Hint, "If you need it") != 1 || !strings.Contains(said.Hint, "On the host") {
			t.Errorf("%s: got %s, want %s\n%s", target, got, want, said.Hint)
		}
	}
}

// Where a limit is used up, the call that asks for more of it is ready: of the route's or of the
// bottle's, whichever refused. Of what was granted for a number of uses there is no more to ask for.
func TestLimitsHaveTheAskReady(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for want, test := range map[string]struct {
		route, bottle *policy.Limits
		grant         string
	}{
		`{"tool":"request_limit","arguments":{"host":"api.example","requests":1}}`: {&policy.Limits{Requests: 1}, &policy.Limits{Requests: 9}, ""},
		`{"tool":"request_limit","arguments":{"requests":1}}`:                      {nil, &policy.Limits{Requests: 1, Window: policy.Span(time.Hour)}, ""},
		`{"tool":"request_limit","arguments":{"bytes_up":3000}}`:                   {nil, &policy.Limits{BytesUp: 3000}, "k-1"},
		`null`: {&policy.Limits{Requests: 1}, nil, "k-1"},
	} {
		route := up.route("api.example", nil)
		route.Limits, route.Grant = test.route, test.grant
		l := newLabOf(t, func(cfg *control.EgressConfig) { cfg.Supervised, cfg.Limits = true, test.bottle }, func(*Server) {}, route)
		client := l.client(t, false)
		var body string
		for range 2 {
			_, body = get(t, client, request(t, "POST", "https://api.example/", strings.NewReader(strings.Repeat("x", 2000))))
		}
		var said notice
		if err := json.Unmarshal([]byte(body), &said); err != nil || said.Error != "limit_reached" {
			t.Fatalf("%s, %v", body, err)
		}
		if got, _ := json.Marshal(said.Ask); string(got) != want || strings.Contains(said.Hint, "request_limit") != (want != "null") {
			t.Errorf("got %s, want %s\n%s", got, want, said.Hint)
		}
	}
}
