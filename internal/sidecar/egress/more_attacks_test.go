package egress

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack A13: an allowed host is at an address that it shares with others, as with every CDN,
// and the route names that address. The others' names do not lead there: neither in CONNECT,
// nor in TLS, nor in Host.
func TestAttackA13_ASharedAddressIsNotAnothersWay(t *testing.T) {
	asked := make(chan string, 10)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host })
	l := newLab(t, up.route("api.example", nil)) // its address is pinned
	if conn, status := l.connect(t, "tenant.example:443"); status != http.StatusForbidden {
		t.Errorf("CONNECT: got %d", status)
	} else {
		_ = conn.Close()
	}
	conn, status := l.connect(t, "api.example:443")
	if status != http.StatusOK {
		t.Fatal(status)
	}
	defer func() { _ = conn.Close() }()
	if err := tls.Client(conn, &tls.Config{RootCAs: l.roots, ServerName: "tenant.example"}).Handshake(); err == nil {
		t.Error("TLS for another name was accepted")
	}
	r := request(t, "GET", "https://api.example/", nil)
	r.Host = "tenant.example"
	if response, _ := get(t, l.client(t, false), r); response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusMisdirectedRequest && response.StatusCode != http.StatusBadRequest {
		t.Errorf("Host: got %s", response.Status)
	}
	select {
	case host := <-asked:
		t.Errorf("the upstream was asked for %s", host)
	default:
	}
}

// Attack C4: what decides about the credential is another rule than what decides about the
// request: a path that another route allows gets the key as well.
func TestAttackC4_TheCredentialIsOfTheRuleThatMatched(t *testing.T) {
	keys := make(chan string, 1)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { keys <- r.Header.Get("X-Api-Key") })
	with, without := up.route("api.example", keyAuth()), up.route("api.example", nil)
	with.Paths, without.Paths = []string{"/mail/**"}, []string{"/public/**"}
	l := newLab(t, with, without)
	for path, want := range map[string]string{"/mail/x": realKey, "/public/x": "", "/public/mail/x": "", "/public/x?/mail/": ""} {
		if response, body := get(t, l.client(t, true), request(t, "GET", "https://api.example"+path, nil)); response.StatusCode != 200 {
			t.Fatalf("%s: got %s %s", path, response.Status, body)
		}
		if got := <-keys; got != want {
			t.Errorf("%s: the upstream got %q", path, got)
		}
	}
	if response, _ := get(t, l.client(t, true), request(t, "GET", "https://api.example/other", nil)); response.StatusCode != http.StatusForbidden {
		t.Errorf("a path of neither: got %s", response.Status)
	}
}

// Attack C9: a pattern where a secret's name is to be, or a name of somebody else's, gets
// all of them, or another.
func TestAttackC9_ASecretIsNamedExactly(t *testing.T) {
	ca, _ := newCA(t)
	for _, name := range []string{"*", "**", "KEY*", "K?Y", "key", "KEY ", "../other/KEY", ".*", "OTHER_BOTTLES"} {
		cfg := control.EgressConfig{
			Bottle: "dev-abcdef", CACert: ca.CertPEM, CAKey: ca.KeyPEM, Secrets: []control.Secret{{Name: "KEY", Value: realKey, Placeholder: placeholder}},
			Routes: []policy.Route{{Host: "api.example", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: name}}},
		}
		if _, err := New(cfg, audit.NewWriter(new(bytes.Buffer)), slog.New(slog.DiscardHandler), nil); err == nil || strings.Contains(err.Error(), realKey) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// Attack I3: a registry that may be read is written to, or told something in what is
// read: publishing is another method, and secrets are found in paths and queries.
func TestAttackI3_ARegistryIsOnlyRead(t *testing.T) {
	asked := make(chan string, 10)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.RequestURI })
	route := up.route("registry.example", nil)
	route.Methods = []string{"GET", "HEAD"}
	l := newLab(t, route)
	for name, r := range map[string]*http.Request{
		"npm publish":       request(t, "PUT", "https://registry.example/pkg", strings.NewReader(`{"_attachments":{}}`)),
		"twine upload":      request(t, "POST", "https://registry.example/legacy/", strings.NewReader("x")),
		"cargo publish":     request(t, "PUT", "https://registry.example/api/v1/crates/new", strings.NewReader("x")),
		"another method":    request(t, "GET", "https://registry.example/pkg?_method=PUT", nil),
		"a secret, path":    request(t, "GET", "https://registry.example/"+placeholder, nil),
		"a secret, query":   request(t, "GET", "https://registry.example/pkg?v="+realKey, nil),
		"a token, in query": request(t, "GET", "https://registry.example/pkg?v="+githubToken, nil),
	} {
		if response, body := get(t, l.client(t, true), r); response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got %s %s", name, response.Status, body)
		}
	}
	if response, body := get(t, l.client(t, true), request(t, "GET", "https://registry.example/pkg", nil)); response.StatusCode != 200 || <-asked != "GET /pkg" || len(asked) > 0 {
		t.Errorf("got %s %s, and %d more", response.Status, body, len(asked))
	}
}
