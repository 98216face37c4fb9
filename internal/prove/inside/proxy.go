package inside

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// controls show that what is allowed passes: otherwise all else would prove nothing.
func controls() []Attack {
	return []Attack{{"A0", "control", "what is allowed works, through the proxy", hasProxy, func(ctx context.Context, a *Arena) []Attempt {
		return []Attempt{
			works("GET /open/hello", expect(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed)), "hello")),
			works("GET of a name under the wildcard", expect(ask(ctx, a, "one."+a.Wild, "one."+a.Wild, request("GET", "/open/hello", "one."+a.Wild)), "hello")),
		}
	}}}
}

// parsers are what the proxy could be talked into.
func parsers() []Attack {
	return []Attack{
		{"B1", "NUL", "a NUL byte in a name does not hide another host", hasProxy, authorities("evil.example\x00.%s:443", "%s\x00.evil.example:443", "evil.example%%00.%s:443")},
		{"B2", "three names", "the name of the tunnel, of TLS and of the request are one, or nothing passes", hasProxy, threeNames},
		{"B3", "look-alikes", "a name that only looks like an allowed one is refused", hasProxy, authorities("%s.evil.example:443", "evil-%s:443", "%s@evil.example:443", "evil.example#.%s:443", "%s:22", "xn--%s:443", "%s\u3002evil.example:443", "evil.example\\@%s:443")},
		{"B4", "wildcards", "a wildcard stands for one label", hasProxy, wildcards},
		{"B5", "paths", "a path means the same to the rule and to the upstream, or is refused", hasProxy, paths},
		{"B7", "clear HTTP/2", "HTTP/2 without TLS, or asked for by an upgrade, is not a way around the rules", hasProxy, clearHTTP2},
		{"B8", "upgrades", "an upgrade is no tunnel", hasProxy, upgrades},
		{"B9", "second request", "each request on a connection is decided for itself", hasProxy, secondRequest},
		{"B11", "absolute form", "a request in absolute form is decided like any other", hasProxy, absoluteForm},
	}
}

// connect opens a tunnel and returns it behind the proxy's answer.
func connect(ctx context.Context, a *Arena, authority string) (net.Conn, error) {
	conn, err := proxy(ctx, a)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 1), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the proxy says %s", response.Status), conn.Close())
	}
	return conn, nil
}

func proxy(ctx context.Context, a *Arena) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", a.Proxy)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(10 * time.Second))
}

func refusedConnect(ctx context.Context, a *Arena, authority string) Attempt {
	conn, err := connect(ctx, a, authority)
	if err == nil {
		_ = conn.Close()
	}
	return refused(fmt.Sprintf("CONNECT %q", authority), err)
}

// authorities tries each, with the allowed host in the place of %s.
func authorities(forms ...string) func(context.Context, *Arena) []Attempt {
	return func(ctx context.Context, a *Arena) (all []Attempt) {
		for _, form := range forms {
			all = append(all, refusedConnect(ctx, a, fmt.Sprintf(form, a.Allowed)))
		}
		return all
	}
}

// request is one by hand, for a connection that closes after it.
func request(method, target, host string, more ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + strings.Join(more, "") + "\r\n"
}

// answer is what came back.
type answer struct {
	status int
	body   string
	err    error
}

func (a answer) String() string { return fmt.Sprintf("%d %s %v", a.status, a.body, a.err) }

// ask opens a tunnel to host:443, names sni in TLS, and sends raw.
func ask(ctx context.Context, a *Arena, host, sni, raw string) answer {
	conn, err := tunnel(ctx, a, host, sni)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, raw); err != nil {
		return answer{err: err}
	}
	return read(bufio.NewReader(conn))
}

func tunnel(ctx context.Context, a *Arena, host, sni string) (net.Conn, error) {
	conn, err := connect(ctx, a, host+":443")
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, &tls.Config{ServerName: sni, NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

func read(from *bufio.Reader) answer {
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	return answer{response.StatusCode, string(body), err}
}

// expect is nil for an answer that holds want.
func expect(got answer, want string) error {
	switch {
	case got.err != nil:
		return got.err
	case got.status != http.StatusOK || !strings.Contains(got.body, want):
		return fmt.Errorf("status %d: %s", got.status, got.body)
	}
	return nil
}

// notFromUpstream is nil for an answer that only the upstream could give: those who attack
// want it. What the proxy refuses is an error.
func notFromUpstream(got answer) error {
	switch {
	case got.err != nil:
		return got.err
	case got.status >= 400:
		return fmt.Errorf("status %d: %s", got.status, got.body)
	}
	return nil
}

func threeNames(ctx context.Context, a *Arena) []Attempt {
	return []Attempt{
		refused("tunnel to "+a.Allowed+", TLS for "+a.Refused, notFromUpstream(ask(ctx, a, a.Allowed, a.Refused, request("GET", "/open/hello", a.Refused)))),
		refused("tunnel and TLS for "+a.Allowed+", Host "+a.Refused, notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Refused)))),
		refused("two Host fields", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed, "Host: "+a.Refused+"\r\n")))),
		refused("absolute target of another host in the tunnel", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "https://"+a.Refused+"/open/hello", a.Allowed)))),
		refused("the proxy's own name as Host", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/.bot-bottle/v1/ports", "egress.bot-bottle")))),
		refusedConnect(ctx, a, a.Refused+":443"),
	}
}

func wildcards(ctx context.Context, a *Arena) []Attempt {
	return []Attempt{refusedConnect(ctx, a, a.Wild+":443"), refusedConnect(ctx, a, "a.b."+a.Wild+":443"), refusedConnect(ctx, a, "."+a.Wild+":443"), refusedConnect(ctx, a, "evil"+a.Wild+":443")}
}

func paths(ctx context.Context, a *Arena) (all []Attempt) {
	for _, target := range []string{
		"/closed", "/open/../closed", "/open/%2e%2e/closed", "/open/..%2fclosed", "/open/%252e%252e/closed", "/open/..;/closed", "/open/.;/../closed", "//closed", "/open//../closed",
		`/open/..\closed`, "/open/%5c..%5cclosed", "/Open/hello", "/open/x%00/../../closed", "/open/\x01", "/open/%c0%ae%c0%ae/closed", "closed", "*",
	} {
		all = append(all, refused(fmt.Sprintf("GET %q", target), notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", target, a.Allowed)))))
	}
	return append(all,
		refused("DELETE /open/hello", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("DELETE", "/open/hello", a.Allowed)))),
		refused("GET that says it is a DELETE", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed, "X-HTTP-Method-Override: DELETE\r\n")))),
		refused("two Content-Lengths", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, request("POST", "/open/post", a.Allowed, "Content-Length: 3\r\nContent-Length: 44\r\n")+"abc"))),
		refused("a request hidden behind one with Transfer-Encoding and Content-Length", smuggled(ctx, a)),
	)
}

// smuggled has a second request where one reading of the first ends, and another goes on
// (RFC 9112 §6.1).
func smuggled(ctx context.Context, a *Arena) error {
	conn, err := tunnel(ctx, a, a.Allowed, a.Allowed)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /open/post HTTP/1.1\r\nHost: "+a.Allowed+"\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+request("GET", "/closed", a.Allowed))
	if err != nil {
		return err
	}
	from := bufio.NewReader(conn)
	if first := read(from); first.err != nil || first.status >= 400 {
		return notFromUpstream(first)
	}
	return notFromUpstream(read(from))
}

// preface opens HTTP/2 (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func clearHTTP2(ctx context.Context, a *Arena) []Attempt {
	first := func(conn net.Conn, err error, raw string) error {
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, raw); err != nil {
			return err
		}
		head := make([]byte, 9)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		if head[3] == 4 && head[0] == 0 { // a SETTINGS frame: it speaks HTTP/2
			return nil
		}
		return fmt.Errorf("it says %q", head)
	}
	plain, err := proxy(ctx, a)
	onProxy := first(plain, err, preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	inTunnel, err := connect(ctx, a, a.Allowed+":443")
	inside := first(inTunnel, err, preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	upgraded := ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed, "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"))
	var switched error = errors.New("no protocol was switched: " + upgraded.String())
	if upgraded.status == http.StatusSwitchingProtocols {
		switched = nil
	}
	return []Attempt{refused("HTTP/2 to the proxy in clear", onProxy), refused("HTTP/2 in a tunnel without TLS", inside), refused("an upgrade to h2c", switched)}
}

func upgrades(ctx context.Context, a *Arena) (all []Attempt) {
	for _, protocol := range []string{"websocket", "tcp", "TLS/1.0", "connect-udp"} {
		got := ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed, "Upgrade: "+protocol+"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
		var switched error = errors.New("no protocol was switched: " + got.String())
		if got.status == http.StatusSwitchingProtocols {
			switched = nil
		}
		all = append(all, refused("an upgrade to "+protocol+" that the upstream did not offer", switched))
	}
	return append(all, refused("CONNECT within the tunnel", notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, "CONNECT "+a.Refused+":443 HTTP/1.1\r\nHost: "+a.Refused+"\r\n\r\n"))))
}

// secondRequest has an allowed one before it on the same connection.
func secondRequest(ctx context.Context, a *Arena) (all []Attempt) {
	for what, second := range map[string]string{"another path": request("GET", "/closed", a.Allowed), "another host": request("GET", "/open/hello", a.Refused)} {
		conn, err := tunnel(ctx, a, a.Allowed, a.Allowed)
		if err == nil {
			from := bufio.NewReader(conn)
			_, err = io.WriteString(conn, "GET /open/hello HTTP/1.1\r\nHost: "+a.Allowed+"\r\n\r\n"+second)
			if err == nil {
				all = append(all, works("the first, before "+what, expect(read(from), "hello")))
				err = notFromUpstream(read(from))
			}
			_ = conn.Close()
		}
		all = append(all, refused("the second, to "+what, err))
	}
	return all
}

func absoluteForm(ctx context.Context, a *Arena) (all []Attempt) {
	for _, raw := range []string{
		request("GET", "http://"+a.Refused+"/", a.Refused), request("GET", "https://"+a.Refused+"/", a.Refused), request("GET", "http://"+a.Refused+"/", a.Allowed),
		request("GET", "http://169.254.169.254/latest/meta-data/", "169.254.169.254"), request("GET", "file:///etc/passwd", a.Allowed), request("GET", "ftp://"+a.Refused+"/", a.Refused),
	} {
		conn, err := proxy(ctx, a)
		if err == nil {
			if _, err = io.WriteString(conn, raw); err == nil {
				err = notFromUpstream(read(bufio.NewReader(conn)))
			}
			_ = conn.Close()
		}
		line, _, _ := strings.Cut(raw, " HTTP/1.1")
		all = append(all, refused(line, err))
	}
	return all
}
