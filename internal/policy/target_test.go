package policy

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Attack B5: a target that we read one way and a server another. It is refused on every
// route, also on one that names no paths.
func TestAttackB5_AmbiguousTargetsAreRefusedOnEveryRoute(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{{Host: "any.example"}, {Host: "paths.example", Paths: []string{"/**"}}}})
	for name, target := range map[string]string{
		"dot segment": "/a/../b", "two dots at the end": "/a/..", "one dot": "/./a", "encoded dots": "/%2e%2e/a", "half encoded dots": "/.%2E/a",
		"encoded dot in a name": "/a%2ejson", "path parameter on dots": "/a/..;/b", "path parameter on a dot": "/a/.;x=1/b", "empty path parameter": "/a;/b",
		"path parameter": "/admin;x=1", "encoded semicolon": "/admin%3bx", "encoded dots and slash": "/a/..%2fb", "slash and encoded dots": "/a%2f%2e%2e%2fb",
		"dots between encoded slashes": "/a%2F..%2Fb", "double encoded dots": "/a/%252e%252e/b", "double encoded slash": "/a%252fb", "triple encoded": "/a%25252fb",
		"pieced double encoding": "/a%25%32%65", "double slash": "/a//b", "double slash at the start": "//evil.example/a", "backslash": `/a\b`,
		"encoded backslash": "/a%5c..%5cb", "NUL": "/a%00", "line feed": "/a%0d%0aX: y", "tab": "/a%09", "delete": "/a%7f", "C1 control": "/a%c2%85",
		"raw control": "/a\nb", "raw space": "/a b", "not UTF-8": "/a%ff", "overlong dot": "/%c0%ae%c0%ae/", "overlong slash": "/a%c0%afb", "surrogate": "/%ed%a0%80",
		"raw non-ASCII": "/é", "wide dots": "/%ef%bc%8e%ef%bc%8e/a", "wide slash": "/a%ef%bc%8fb", "two dot leader": "/%e2%80%a5/a", "division slash": "/a%e2%88%95b",
		"IIS escape": "/%u002e%u002e/", "bad escape": "/a%zz", "half an escape": "/a%2", "percent alone": "/a%", "dots and space": "/..%20/a", "three dots": "/.../a",
		"relative": "a/b", "empty": "", "asterisk": "*", "absolute form": "http://evil.example/", "userinfo": "http://any.example@evil.example/", "fragment": "/a#b",
		"brace": "/{a}", "quote": `/a"b`, "query with a space": "/?a b", "query with a line end": "/?a\r\nX: y", "query with a NUL": "/?\x00", "query not ASCII": "/?é", "query with #": "/?a#b",
	} {
		for _, origin := range []string{"https://any.example", "https://paths.example"} {
			got := ask(set, "GET", origin, target)
			if got.Allowed || got.Reason == "" {
				t.Errorf("%s: %s%s: got %+v", name, origin, target, got)
			}
		}
	}
}

// What real services use is carried as it is: npm's scopes, GitLab's project names, URLs
// in paths, percent signs, other scripts, parameters on names.
func TestOrdinaryTargetsAreCarried(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{{Host: "any.example"}}})
	for _, target := range []string{
		"/", "/a/", "/@scope%2fname", "/@scope%2Fname/-/name-1.0.0.tgz", "/api/v4/projects/group%2Fsub%2Fproject/issues?per_page=100", "/proxy/https%3A%2F%2Fa.example%2Fb",
		"/caf%C3%A9", "/100%25", "/a%20b", "/~user/.git/x..y/...z", "/a,b=c&d+e!$'()*[0]", "/v1/x:batch", "/?a=b;c&d=%zz&a=c", "/?q=a+b&x=%2e%2e%2f", "/.well-known/x", "/?", "/?url=https://x.example/?y",
	} {
		if got := ask(set, "GET", "https://any.example", target); !got.Allowed {
			t.Errorf("%s: %s", target, got.Reason)
		}
	}
}

// An escaped slash may divide or not. A route with paths covers one only where its glob
// has one as well.
func TestEscapedSlashes(t *testing.T) {
	for _, c := range []struct {
		glob, path string
		want       bool
	}{
		{"/@scope%2fname", "/@scope%2fname", true}, {"/@scope%2fname", "/@scope%2Fname", true}, {"/@scope%2Fname", "/@scope/name", false}, {"/@scope/name", "/@scope%2fname", false},
		{"/@scope%2F*", "/@scope%2fname", true}, {"/@scope%2F*", "/@scope%2fname%2fmore", false}, {"/@scope%2F*", "/@scope%2fname/more", false}, {"/@scope%2F*/**", "/@scope%2fname/-/x.tgz", true}, {"/@scope%2F*/**", "/@scope%2fname/a%2fb", false},
		{"/*", "/@scope%2fname", false}, {"/**", "/@scope%2fname", false}, {"/repos/acme/**", "/repos/acme/a%2Fb", false}, {"/repos/acme/**", "/repos/acme%2Fb", false},
		{"/repos/acme/*", "/repos/acme/a%2Fb", false}, {"/repos/**", "/repos%2Fx", false}, {"/**/raw", "/a%2Fb/raw", false}, {"/**/*%2F*/raw", "/x/y/a%2Fb/raw", true}, {"/**/raw", "/a%2Fraw", false}, {"/a*c", "/ab%2Fc", false},
		{"/projects/group%2Fproject/**", "/projects/group%2Fproject/issues", true}, {"/projects/group%2Fproject/**", "/projects/group%2Fother/issues", false},
		{"/projects/group%2Fproject/**", "/projects/group%2Fproject%2Fother/issues", false}, {"/café/*", "/caf%C3%A9/x", true}, {"/caf%C3%A9/*", "/caf%c3%a9/x", true}, {"/a%20b", "/a%20b", true}, {"/a+b", "/a%2Bb", true},
	} {
		if got := covers(t, c.glob, c.path); got != c.want {
			t.Errorf("%s against %s: got %v", c.path, c.glob, got)
		}
	}
}

// The host is decided on as strictly (B3, B5); here beside the target.
func TestAttackB3_RequestsToAmbiguousHostsAreRefused(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{{Host: "api.example"}, {Host: "**.corp.example"}}})
	for name, host := range map[string]string{
		"trailing dot": "api.example.", "longer": "api.example.evil.example", "prefixed": "evil-api.example", "userinfo": "api.example@evil.example", "address": "127.0.0.1", "IPv6": "[::1]",
		"punycode": "xn--pi-7cb.example", "non-ASCII": "аpi.example", "kelvin sign": "\u212a.corp.example", "NUL": "evil.example\x00.api.example", "port": "api.example:443", "apex": "corp.example",
		"escape": "api%2eexample", "wide dot": "api\uff0eexample", "empty label": "a..corp.example", "wildcard itself": "**.corp.example", "space": " api.example",
	} {
		if got := ask(set, "GET", "https://"+host, "/"); got.Allowed {
			t.Errorf("%s: %q is allowed", name, host)
		}
		if got := set.Connect(host, 443); got.Allowed {
			t.Errorf("%s: %q may be connected to", name, host)
		}
	}
	if got := ask(set, "GET", "https://API.Example", "/"); !got.Allowed || got.Host != "api.example" {
		t.Errorf("case: got %+v", got)
	}
}

// sent is the target that net/http writes for a request that came in with another.
func sent(raw string) (asked, written string, ok bool) {
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + raw + " HTTP/1.1\r\nHost: a.example\r\n\r\n")))
	if err != nil || in.URL.IsAbs() {
		return "", "", false
	}
	out := in.Clone(in.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "https", "a.example", ""
	asked = out.URL.RequestURI()
	var wire bytes.Buffer
	if err := out.Write(&wire); err != nil {
		return "", "", false
	}
	line, err := bufio.NewReader(&wire).ReadString('\n')
	if err != nil {
		return "", "", false
	}
	return asked, strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1\r\n"), true
}

// Attack B5: what is matched is not what is sent. The target that was decided on is, byte
// for byte, the one on the wire, and a server that reads it finds the same path.
func FuzzTargetIsSentAsItWasMatched(f *testing.F) {
	for _, seed := range []string{"/a/b?x=y", "/@s%2fn", "/a%20b", "//x/y", "/..", "/a;b", "/%2e", "/?a;b&%zz", "/%ef%bc%8e", "/100%25", "/a[b]", "/?", "/é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		asked, written, ok := sent(raw)
		if !ok {
			return
		}
		got, err := parseTarget(asked)
		if err != nil {
			if !errors.As(err, new(ambiguous)) {
				t.Fatalf("%q: %v", asked, err)
			}
			return
		}
		if asked != written {
			t.Fatalf("%q was matched, %q is sent", asked, written)
		}
		u, err := url.ParseRequestURI(asked)
		if err != nil || u.RawQuery != got.query || u.Path != strings.ReplaceAll(strings.Join(got.segments, "/"), escapedSlash, "/") {
			t.Fatalf("%q: a server reads %+v, %v; we read %q", asked, u, err, got)
		}
	})
}

// reescape writes segments as another client would.
func reescape(segments []string) string {
	out := make([]string, len(segments))
	for i, s := range segments {
		pieces := strings.Split(s, escapedSlash)
		for j := range pieces {
			pieces[j] = url.PathEscape(pieces[j])
		}
		out[i] = strings.Join(pieces, "%2F")
	}
	return strings.Join(out, "/")
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/a/b", "/a/%20b", "/..", "/a;b", "/%2e", "/a%2fb", "/%25", "/%2525"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		segments, err := parsePath(s)
		if err != nil {
			return
		}
		for _, plain := range []string{strings.Join(segments, "/"), strings.ReplaceAll(strings.Join(segments, "/"), escapedSlash, "/")} {
			unescaped, err := url.PathUnescape(plain) // a server that unescapes once more
			for _, read := range []string{plain, unescaped} {
				if strings.Contains(read+"/", "/../") || strings.Contains(read+"/", "/./") || strings.ContainsAny(read, `\;`) {
					t.Fatalf("%q is read as %q, %v", s, read, err)
				}
			}
		}
		again, err := parsePath(reescape(segments))
		if err != nil || strings.Join(again, "/") != strings.Join(segments, "/") {
			t.Fatalf("%q is %q, but again %q, %v", s, segments, again, err)
		}
	})
}

// A route to /p/** covers nothing that any reading of the path puts outside of /p.
func FuzzGlobStaysInside(f *testing.F) {
	for _, seed := range []string{"/p/a", "/p/../q", "/p%2f..%2fq", "/p;/q", "/p/%2e%2e/q", "/p", "/P/a", "/p%2Fq"} {
		f.Add(seed)
	}
	inside, err := parseGlob("/p/**")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		segments, err := parsePath(s)
		if err != nil || !inside.allows(segments) {
			return
		}
		for _, read := range []string{s, strings.NewReplacer("%2f", "/", "%2F", "/").Replace(s)} {
			u, err := url.Parse("http://h" + read)
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if walked := u.JoinPath().Path; walked != "/p" && !strings.HasPrefix(walked, "/p/") {
				t.Fatalf("%q is allowed and leads to %q", s, walked)
			}
		}
	})
}
