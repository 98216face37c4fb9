package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack C1: the agent's own key where it is seldom put: in a WebSocket's subprotocol, which
// is how browsers send one, in another spelling of a parameter, in a header of one product.
func TestAttackC1_AKeyInAnOddPlace(t *testing.T) {
	arrived := make(chan *http.Request, 1)
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r
		w.WriteHeader(http.StatusTeapot)
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	r := request(t, "GET", "https://api.example/?access.token=evil&access_token[]=evil&access[token=evil&%u0061ccess_token=evil&client_secret=evil&job_token=evil&AWSAccessKeyId=evil&subscription-key=evil&kept=1&page_token=kept", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header["Sec-Websocket-Protocol"] = []string{"realtime, openai-insecure-api-key.evil", "base64url.bearer.authorization.k8s.io.evil, graphql-ws"}
	for _, name := range []string{"X-Authorization", "X-Original-Authorization", "X-Jfrog-Art-Api", "X-Functions-Key", "Cookie2", "X_Corp_Auth", "X-Service-Credentials"} {
		r.Header[name] = []string{"evil"}
	}
	if response, err := l.client(t, false).Do(r); err != nil {
		t.Fatal(err)
	} else {
		_ = response.Body.Close()
	}
	got := <-arrived
	var all bytes.Buffer
	_ = got.Header.Write(&all)
	if seen := got.RequestURI + "\n" + all.String(); strings.Contains(seen, "evil") {
		t.Errorf("arrived: %s", seen)
	}
	if got.RequestURI != "/?kept=1&page_token=kept" || strings.Join(got.Header["Sec-Websocket-Protocol"], ",") != "realtime,graphql-ws" {
		t.Errorf("what is no credential did not arrive: %s %v", got.RequestURI, got.Header)
	}
}

// Attack B5: a header that names another path or host than the request line, which some
// servers go by, and headers that are others once "_" is read as "-".
func TestAttackB5_AnotherTargetInAHeader(t *testing.T) {
	up := unreachable(t)
	route := up.route("api.example", nil)
	route.Paths = []string{"/ok"}
	l := newLab(t, route)
	for _, name := range []string{
		"X-Original-URL", "X-Rewrite-URL", "X-Override-URL", "X_Original_Url", "X-HTTP-Host-Override", "X-Original-Host", "X-Host", "X-Original-URI",
		"Content_Length", "Transfer_Encoding", "Content_Encoding", "Content_Type",
	} {
		for _, h2 := range []bool{false, true} {
			r := request(t, "GET", "https://api.example/ok", nil)
			if h2 {
				r.Header.Set(name, "/admin")
			} else {
				r.Header[name] = []string{"/admin"}
			}
			if response, body := get(t, l.client(t, h2), r); response.StatusCode != 403 {
				t.Errorf("%s (h2=%v): got %d %s", name, h2, response.StatusCode, body)
			}
		}
	}
}

// Attack C3: an answer in a coding that a second header names, so that our credential comes
// back unseen.
func TestAttackC3_ASecondContentEncoding(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Encoding"] = strings.Split(r.URL.Query().Get("codings"), " ")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, r.Header.Get("X-Api-Key"))
		_ = z.Close()
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, codings := range []string{"identity gzip", "gzip identity", "identity, gzip", "identity gzip, identity"} {
		response, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/?codings="+strings.ReplaceAll(codings, " ", "+"), nil))
		if z, err := gzip.NewReader(strings.NewReader(body)); err == nil {
			plain, _ := io.ReadAll(z)
			body += string(plain)
		}
		if strings.Contains(body, realKey) {
			t.Errorf("%s: the key came back (%d)", codings, response.StatusCode)
		}
	}
}

// Attack C3: one route puts the key on, and the host keeps what it was sent; a route of the
// same host without a credential fetches it.
func TestAttackC3_AnotherRouteOfTheHost(t *testing.T) {
	var kept string
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("X-Api-Key"); key != "" {
			kept = key
		}
		body := []byte("kept: " + kept)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = z.Write(body)
			_ = z.Close()
			body = packed.Bytes()
		}
		_, _ = w.Write(body)
	})
	with := up.route("api.example", keyAuth())
	with.Paths = []string{"/save"}
	l := newLab(t, with, up.route("api.example", nil), up.route("other.example", nil))
	for _, path := range []string{"/save", "/load"} {
		r := request(t, "GET", "https://api.example"+path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		response, body := get(t, l.client(t, false), r)
		if z, err := gzip.NewReader(strings.NewReader(body)); err == nil {
			plain, _ := io.ReadAll(z)
			body = string(plain)
		}
		if strings.Contains(body, realKey) || response.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, response.StatusCode, body)
		}
	}
	if kept != realKey {
		t.Error("the key did not arrive")
	}
	if response, body := get(t, l.client(t, false), request(t, "GET", "https://other.example/load", nil)); response.StatusCode != 200 || !strings.Contains(body, realKey) {
		t.Errorf("another host: got %d %s", response.StatusCode, body) // nothing of ours was ever sent there
	}
}

// Attack C1: the agent's own key as a field of a form, which some servers prefer to a header.
func TestAttackC1_AKeyInAForm(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	l := newLab(t, up.route("api.example", keyAuth()), up.route("open.example", nil), up.route("login.example", &policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"}),
		up.route("revoke.example", &policy.Auth{Scheme: policy.Basic, User: "client", Secret: "KEY", FormFields: []string{"token"}})) // RFC 7009
	post := func(host, kind, body string) int {
		r := request(t, "POST", "https://"+host+"/?where="+placeholder, strings.NewReader(body))
		if host != "login.example" {
			r.URL.RawQuery = ""
		}
		r.Header.Set("Content-Type", kind)
		response, _ := get(t, l.client(t, false), r)
		return response.StatusCode
	}
	const form = "application/x-www-form-urlencoded"
	for _, field := range []string{"access_token", "ACCESS%5ftoken", "api_key", "private_token", "token", "oauth_token", "access.token", "access_token[]"} {
		if got := post("api.example", form, "text=hello&"+field+"=evil&channel=x"); got != 403 {
			t.Errorf("%s: got %d", field, got)
		}
		if got := post("open.example", form, "text=hello&"+field+"=mine"); got != 200 {
			t.Errorf("%s on a route without a credential: got %d", field, got)
		}
	}
	for body, want := range map[string]int{"token=theirs": 200, "TOKEN=theirs&x=1": 200, "token[]=x": 200, "token=theirs&access_token=evil": 403} {
		if got := post("revoke.example", form, body); got != want {
			t.Errorf("%s where token is carried: got %d", body, got)
		}
	}
	if got := post("api.example", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"private_token\"\r\n\r\nevil\r\n--b--\r\n"); got != 403 {
		t.Errorf("multipart: got %d", got)
	}
	for _, body := range []string{"key=a/file&text=token", "page_token=x", "text=access_token"} {
		if got := post("api.example", form, body); got != 200 {
			t.Errorf("%s: got %d", body, got)
		}
	}
}

// Attack A1: a secret as labels of a name under an allowed wildcard: resolving the name, for a
// request or for a connection in bytes, carries it out.
func TestAttackA1_SecretsInAllowedNames(t *testing.T) {
	up := unreachable(t)
	resolved := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		t.Errorf("%s was resolved", host)
		return nil, errors.New("no")
	}
	web, raw := up.route("**.wild.example.com", nil), policy.Route{Host: "*.db.example.com", Port: 5432, Protocol: policy.TCP, Private: true}
	web.Address = ""
	plain := web
	plain.Protocol, plain.CA = policy.HTTP, ""
	l := newLabWith(t, func(s *Server) { s.guard.resolve = resolved }, web, plain, raw)
	label := strings.ToLower(strings.ReplaceAll(otherReal, "_", "-"))
	packed := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(otherReal)))
	for name, labels := range map[string]string{"as it is": label, "in two labels": label[:12] + "." + label[12:], "base32": packed[:min(63, len(packed))], "hex in two": hex.EncodeToString([]byte(otherReal[:12])) + "." + hex.EncodeToString([]byte(otherReal[12:]))} {
		for _, scheme := range []string{"https", "http"} {
			response, err := l.client(t, false).Get(scheme + "://" + labels + ".wild.example.com/")
			if err != nil {
				continue // the tunnel was refused
			}
			_ = response.Body.Close()
			if response.StatusCode != 403 {
				t.Errorf("%s, %s: got %d", name, scheme, response.StatusCode)
			}
		}
		if strings.Contains(labels, ".") {
			continue
		}
		if _, status := l.connect(t, labels+".db.example.com:5432"); status != 403 {
			t.Errorf("%s, tcp: got %d", name, status)
		}
	}
}

// Attack B5: a header that Connection takes off on the way, after all was decided by it: a
// form that names another method, or a key of the agent's own, goes in as JSON and arrives
// without a type, which some servers read as a form.
func TestAttackB5_AHeaderThatConnectionTakesOff(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("arrived: %v", r.Header) })
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, body := range []string{"_method=DELETE", "[method=DELETE", "access_token=evil", "api[key=evil"} {
		for _, options := range []string{"Content-Type", "close, content-type", "x,, CONTENT-TYPE ,y"} {
			r := request(t, "POST", "https://api.example/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Connection", options)
			if response, why := get(t, l.client(t, false), r); response.StatusCode != 403 {
				t.Errorf("%s, Connection: %s: got %d %s", body, options, response.StatusCode, why)
			}
		}
	}
}

// Attack C1: the agent's own key beside ours, in another spelling of the very header or
// parameter that the route uses, where its name is on no list.
func TestAttackC1_AnotherSpellingOfTheRoutesOwn(t *testing.T) {
	arrived := make(chan *http.Request, 1)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { arrived <- r })
	l := newLab(t, up.route("head.example", &policy.Auth{Scheme: policy.Header, Header: "X-Acme-Account", Secret: "KEY"}),
		up.route("query.example", &policy.Auth{Scheme: policy.Query, Parameter: "app_id", Secret: "KEY"}))
	for _, host := range []string{"head.example", "query.example"} {
		r := request(t, "GET", "https://"+host+"/?app.id=evil&app-id=evil&app+id=evil&APP_ID[]=evil&app_id%00x=evil&app[id=evil&x=1", nil)
		if host == "head.example" {
			r.URL.RawQuery = "x=1"
		}
		for _, name := range []string{"X_Acme_Account", "X-Acme_Account", "x_acme-account"} {
			if host == "head.example" {
				r.Header[name] = []string{"evil"}
			}
		}
		_, _ = get(t, l.client(t, false), r)
		got := <-arrived
		var all bytes.Buffer
		_ = got.Header.Write(&all)
		if seen := got.RequestURI + "\n" + all.String(); strings.Contains(seen, "evil") || !strings.Contains(seen, realKey) || !strings.Contains(seen, "x=1") {
			t.Errorf("%s: arrived: %s", host, seen)
		}
	}
}

// Attack B5: a form in a charset that has other bytes for the letters of a name; servlet
// containers and others go by it.
func TestAttackB5_AFormInAnotherCharset(t *testing.T) {
	l := newLab(t, unreachable(t).route("api.example", keyAuth()))
	ebcdic := "\x6d\x94\x85\xa3\x88\x96\x84\x7e\xc4\xc5\xd3\xc5\xe3\xc5" // _method=DELETE
	wide := strings.ReplaceAll("_method=DELETE", "", "\x00")
	for kind, body := range map[string]string{
		"application/x-www-form-urlencoded; charset=ibm037": ebcdic, "application/x-www-form-urlencoded;charset=\"UTF-16\"": wide,
		"multipart/form-data; boundary=b; charset=utf-7":                   "--b\r\nContent-Disposition: form-data; name=\"+AF8-method\"\r\n\r\nDELETE\r\n--b--\r\n",
		"application/x-www-form-urlencoded; charset=utf-8; charset=ibm037": ebcdic,
	} {
		r := request(t, "POST", "https://api.example/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		if response, why := get(t, l.client(t, false), r); response.StatusCode != 403 {
			t.Errorf("%s: got %d %s", kind, response.StatusCode, why)
		}
	}
}

// Attack B5: on a route that is bound to some paths of its host, a header that has the host
// fetch from, or write to, another path: a copy of somebody else's object into one's own.
func TestAttackB5_AnObjectOfAnotherPath(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {})
	bound, free := up.route("store.example", keyAuth()), up.route("free.example", keyAuth())
	bound.Paths = []string{"/ours/**"}
	pinned, denied := up.route("pinned.example", nil), up.route("denied.example", nil)
	pinned.Query = map[string]string{"bucket": "ours"}
	denied.Deny = []policy.Deny{{Paths: []string{"/theirs/**"}}}
	l := newLab(t, bound, free, pinned, denied)
	for _, name := range []string{"X-Amz-Copy-Source", "X-Goog-Copy-Source", "X-Ms-Copy-Source", "X-Copy-From", "Destination", "x_goog_copy_source", "X-Obs-Copy-Source", "X-Oss-Copy-Source"} {
		for host, want := range map[string]int{"store.example": 403, "free.example": 200, "pinned.example": 403, "denied.example": 403} {
			r := request(t, "PUT", "https://"+host+"/ours/a?bucket=ours", nil)
			r.Header[name] = []string{"/theirs/secret"}
			if response, why := get(t, l.client(t, false), r); response.StatusCode != want {
				t.Errorf("%s to %s: got %d %s", name, host, response.StatusCode, why)
			}
		}
	}
}

// Attack C7: a secret as a trailer, whose name is told before the body and whose value comes
// after all that was searched.
func TestAttackC7_TrailersDoNotLeave(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "trailers: %v %v", r.Trailer, r.Header["Trailer"])
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, h2 := range []bool{false, true} {
		r := request(t, "POST", "https://api.example/", io.NopCloser(strings.NewReader("data")))
		r.ContentLength = -1
		r.Trailer = http.Header{"X-" + otherReal: {"1"}, "X-Value": {otherReal}, "X-Api-Token": {"evil"}}
		if response, body := get(t, l.client(t, h2), r); response.StatusCode != 200 || body != "trailers: map[] []" {
			t.Errorf("h2=%t: got %d %s", h2, response.StatusCode, body)
		}
	}
}

// Attack B7, C3: the upstream invites the bottle to come by HTTP/3, around egress; the bottle
// asks for an answer in a coding that nobody here undoes.
func TestAttackB7_NoOtherWay(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3=":443"; ma=86400`)
		_, _ = io.WriteString(w, r.Header.Get("Accept-Encoding"))
	})
	l := newLab(t, up.route("api.example", keyAuth()), up.route("open.example", nil))
	for host, want := range map[string]string{"api.example": "identity", "open.example": "br, zstd"} {
		r := request(t, "GET", "https://"+host+"/", nil)
		r.Header.Set("Accept-Encoding", "br, zstd")
		if response, body := get(t, l.client(t, true), r); body != want || response.Header.Get("Alt-Svc") != "" {
			t.Errorf("%s: asked for %q, answered %v", host, body, response.Header)
		}
	}
}

// Attack C3: TRACE, whose answer is the request with our credential; and an echo from a host
// that a wildcard's credential goes to.
func TestAttackC3_TraceAndWildcards(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "TRACE" {
			t.Error("TRACE arrived")
		}
		_, _ = io.WriteString(w, "key: "+r.Header.Get("X-Api-Key"))
	})
	l := newLab(t, up.route("*.one.example", keyAuth()), up.route("**.any.example", keyAuth()))
	for _, host := range []string{"a.one.example", "a.b.any.example"} {
		if response, body := get(t, l.client(t, true), request(t, "GET", "https://"+host+"/", nil)); response.StatusCode != 200 || strings.Contains(body, realKey[:12]) {
			t.Errorf("%s: got %d %s", host, response.StatusCode, body)
		}
		if response, _ := get(t, l.client(t, false), request(t, "TRACE", "https://"+host+"/", nil)); response.StatusCode != 403 {
			t.Errorf("TRACE %s: got %d", host, response.StatusCode)
		}
	}
}
