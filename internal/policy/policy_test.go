package policy

import (
	"strings"
	"testing"
)

// ask decides about a request to an origin such as https://api.example.
func ask(set *Set, method, origin, target string) Decision {
	protocol, host, _ := strings.Cut(origin, "://")
	port := map[string]int{"https": 443, "http": 80}[protocol]
	return set.Request(Request{Protocol: Protocol(protocol), Host: host, Port: port, Method: method, Target: target})
}

func newSet(t testing.TB, p Policy) *Set {
	t.Helper()
	set, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// covers compares a glob with a path, as a route does.
func covers(t testing.TB, globText, path string) bool {
	t.Helper()
	g, err := parseGlob(globText)
	if err != nil {
		t.Fatal(err)
	}
	segments, err := parsePath(path)
	return err == nil && g.allows(segments)
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com": "example.com", "localhost": "localhost",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "a-b.c1.example": "a-b.c1.example",
	} {
		got, err := ParseHost(in)
		if err != nil || got != want {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

// Attack B1, B3, A11: the agent writes a name that we read as an allowed one and the
// resolver or the server as another: NUL bytes, user information, IP notations, dots,
// escapes, look-alike letters.
func TestAttackB3_AmbiguousHostsAreRefused(t *testing.T) {
	for _, in := range []string{
		"", ".", "..", "example.com..", ".example.com", "a..example.com", "evil.com\x00.example.com", "evil.com\n.example.com",
		"user@example.com", "example.com:443", "example.com/", "example.com#x", "ex%61mple.com", "exämple.com", "еxample.com",
		"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "1.2.3.4.", "[::1]", "::1", "::ffff:127.0.0.1",
		"-a.example", "a-.example", "a_b.example", "*.example.com", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example",
		"example.com.", "\u212aelvin.example", "example.com ", " example.com", "example.com\t", "example\u3002com", "10.0.0.0x1",
	} {
		if got, err := ParseHost(in); err == nil {
			t.Errorf("ParseHost(%q) = %q, want an error", in, got)
		}
	}
}

// Attack B3, B4: names that contain an allowed one, or stand beside or above a
// wildcard, are reached as if they were it.
func TestAttackB4_WildcardsMatchNoMoreThanTheySay(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"example.com", "example.com", true}, {"example.com", "www.example.com", false},
		{"example.com", "evil-example.com", false}, {"example.com", "example.com.evil.com", false},
		{"*.example.com", "a.example.com", true}, {"*.example.com", "a.b.example.com", false},
		{"*.example.com", "example.com", false}, {"*.example.com", "evilexample.com", false},
		{"**.example.com", "a.example.com", true}, {"**.example.com", "a.b.example.com", true},
		{"**.example.com", "example.com", false}, {"**.example.com", "evilexample.com", false},
	} {
		set, err := NewSet([]Route{{Host: c.pattern}})
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Connect(c.host, 443); got.Allowed != c.want {
			t.Errorf("%s against %s: got %v (%s), want %v", c.host, c.pattern, got.Allowed, got.Reason, c.want)
		}
	}
}

// Attack B5: a path that we match as allowed and the server walks out of.
func TestAttackB5_AmbiguousPathsAreRefused(t *testing.T) {
	set, err := NewSet([]Route{{Host: "api.example", Paths: []string{"/repos/acme/**", "/user"}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/repos/acme/x": true, "/repos/acme/a/b/c": true, "/user": true, "/repos/acme/caf%C3%A9": true, "/repos/acme/": true,
		"/repos/acme": true, "/user/": false, "/users": false, "/": false, "/repos/other/x": false, "/REPOS/acme/x": false,
		"/repos/acme/../other": false, "/repos/acme/..;/other": false, "/repos/acme/%2e%2e/other": false, "/repos/acme/..%2fother": false,
		"/repos/acme/%252e%252e/x": false, "/repos//acme/x": false, "/repos/acme\\..\\x": false, "/repos/acme/%5c..": false,
		"/repos/acme/.;/x": false, "/repos/acme/./x": false, "/repos/acme/%00": false, "/repos/acme/%0a": false, "/repos/acme/%ff": false,
		"repos/acme/x": false, "/repos/acme/x%": false, "/repos/acme/%3b": false, "/repos/acme/;x/y": false, "*": false, "": false,
	} {
		if got := ask(set, "GET", "https://api.example", path); got.Allowed != want {
			t.Errorf("%q: got %v (%s), want %v", path, got.Allowed, got.Reason, want)
		}
	}
}

func TestRequestDecidesByProtocolPortAndMethod(t *testing.T) {
	set, err := NewSet([]Route{
		{Host: "read.example", Methods: []string{"get", "HEAD"}},
		{Host: "plain.example", Protocol: HTTP},
		{Host: "db.example", Protocol: TCP, Port: 5432},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		protocol Protocol
		host     string
		port     int
		method   string
		want     bool
	}{
		{HTTPS, "read.example", 443, "GET", true}, {HTTPS, "read.example", 443, "POST", false}, {HTTPS, "read.example", 443, "get", false},
		{HTTPS, "read.example", 8443, "GET", false}, {HTTP, "read.example", 443, "GET", false}, {HTTP, "plain.example", 80, "PUT", true},
		{HTTPS, "db.example", 5432, "GET", false},
	} {
		if got := set.Request(Request{Protocol: c.protocol, Host: c.host, Port: c.port, Method: c.method, Target: "/"}); got.Allowed != c.want {
			t.Errorf("%+v: got %v (%s)", c, got.Allowed, got.Reason)
		} else if !got.Allowed && got.Reason == "" {
			t.Errorf("%+v: refused without a reason", c)
		}
	}
	if got := set.Ports(); len(got) != 3 {
		t.Errorf("got ports %v", got)
	}
}

func TestNormalizeRefuses(t *testing.T) {
	for name, r := range map[string]Route{
		"no host":            {},
		"address as host":    {Host: "10.0.0.1"},
		"wild tld":           {Host: "*.com"},
		"star inside":        {Host: "a.*.example.com"},
		"protocol":           {Host: "a.example", Protocol: "ftp"},
		"port":               {Host: "a.example", Port: 70000},
		"tcp without port":   {Host: "a.example", Protocol: TCP},
		"tcp with auth":      {Host: "a.example", Protocol: TCP, Port: 1, Auth: &Auth{Scheme: Bearer, Secret: "X"}},
		"method":             {Host: "a.example", Methods: []string{"GE T"}},
		"relative path":      {Host: "a.example", Paths: []string{"x"}},
		"dots in path":       {Host: "a.example", Paths: []string{"/a/../b"}},
		"half a double star": {Host: "a.example", Paths: []string{"/a**"}},
		"no secret":          {Host: "a.example", Auth: &Auth{Scheme: Bearer}},
		"no scheme":          {Host: "a.example", Auth: &Auth{Secret: "X"}},
		"host as header":     {Host: "a.example", Auth: &Auth{Scheme: Header, Header: "host", Secret: "X"}},
		"no header":          {Host: "a.example", Auth: &Auth{Scheme: Header, Secret: "X"}},
		"colon in user":      {Host: "a.example", Auth: &Auth{Scheme: Basic, User: "a:b", Secret: "X"}},
		"clear credential":   {Host: "a.example", Protocol: HTTP, Auth: &Auth{Scheme: Bearer, Secret: "X"}},
		"tcp with deny":      {Host: "a.example", Protocol: TCP, Port: 1, Deny: []Deny{{Paths: []string{"/"}}}},
		"tcp with query":     {Host: "a.example", Protocol: TCP, Port: 1, Query: map[string]string{"a": "b"}},
		"deny with a host":   {Host: "a.example", Deny: []Deny{{Host: "b.example", Paths: []string{"/"}}}},
		"deny of nothing":    {Host: "a.example", Deny: []Deny{{}}},
		"deny of a bad path": {Host: "a.example", Deny: []Deny{{Paths: []string{"x"}}}},
		"no limits":          {Host: "a.example", Limits: &Limits{}},
		"negative limit":     {Host: "a.example", Limits: &Limits{Requests: -1}},
		"short window":       {Host: "a.example", Limits: &Limits{Requests: 1, Window: 1}},
		"query name":         {Host: "a.example", Query: map[string]string{"a=b": "c"}},
		"body field":         {Host: "a.example", Body: map[string]string{".a": "c"}},
		"control in value":   {Host: "a.example", Query: map[string]string{"a": "b\n"}},
		"no field":           {Host: "a.example", Auth: &Auth{Scheme: Bearer, Secret: "X", FormFields: []string{"a", "b=c"}}},
		"no parameter":       {Host: "a.example", Auth: &Auth{Scheme: Query, Secret: "X"}},
		"parameter twice":    {Host: "a.example", Query: map[string]string{"Key": "b"}, Auth: &Auth{Scheme: Query, Parameter: "key", Secret: "X"}},
		"useless header":     {Host: "a.example", Auth: &Auth{Scheme: Placeholder, Header: "x", Secret: "X"}},
		"useless parameter":  {Host: "a.example", Auth: &Auth{Scheme: Bearer, Parameter: "x", Secret: "X"}},
		"user of a bearer":   {Host: "a.example", Auth: &Auth{Scheme: Bearer, User: "x", Secret: "X"}},
		"escaped star":       {Host: "a.example", Paths: []string{"/%2a"}},
		"question mark":      {Host: "a.example", Paths: []string{"/a?b"}},
		"semicolon in path":  {Host: "a.example", Paths: []string{"/a;b"}},
		"address":            {Host: "a.example", Address: "10.0.0.1"},
		"address port":       {Host: "a.example", Address: "10.0.0.1:0"},
	} {
		if got, err := r.Normalize(); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func TestPathGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, path string
		want       bool
	}{
		{"/", "/", true}, {"/", "/a", false}, {"/*", "/a", true}, {"/*", "/a/b", false}, {"/*", "/", true}, {"/**", "/", true}, {"/**", "/a/b/", true},
		{"/a/*/c", "/a/b/c", true}, {"/a/*/c", "/a/b/b/c", false}, {"/a/**/c", "/a/c", true}, {"/a/**/c", "/a/b/b/c", true}, {"/a/**/c", "/a/b/d", false},
		{"/**/x/**/y", "/x/a/x/y/b/y", true}, {"/**/x/**/y", "/x/a/x/y/b", false}, {"/v*/*.json", "/v1/a.json", true}, {"/v*/*.json", "/v1/a.jsonx", false},
		{"/a*b*c", "/abbc", true}, {"/a*b*c", "/abcb", false}, {"/repos/*/*/pulls", "/repos/a/b/pulls", true}, {"/repos/a/**", "/repos/ab", false},
	} {
		if got := covers(t, c.glob, c.path); got != c.want {
			t.Errorf("%s against %s: got %v", c.path, c.glob, got)
		}
	}
}

// Attack J4: a path of very many segments, against a rule with several "**", takes a
// backtracking matcher for ever.
func TestAttackJ4_LongPathsAreMatchedQuickly(t *testing.T) {
	set, err := NewSet([]Route{{Host: "api.example", Paths: []string{"/**/a/**/a/**/a/**/a/**/b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if ask(set, "GET", "https://api.example", strings.Repeat("/a", 20_000)).Allowed {
		t.Error("allowed")
	}
}

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"example.com", "a.b.c.", "127.0.0.1", "x\x00y", "EX.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := ParseHost(s)
		if err != nil {
			return
		}
		if again, err := ParseHost(host); err != nil || again != host {
			t.Fatalf("ParseHost(%q) = %q, but again %q, %v", s, host, again, err)
		}
	})
}

// What people write for a host is answered with what they are to write.
func TestAHostIsANameAlone(t *testing.T) {
	for _, s := range []string{"https://api.example.com", "api.example.com:8443", "api.example.com/v1"} {
		if _, err := ParseHost(s); err == nil || !strings.Contains(err.Error(), "write the name alone, without https://, a port or a path") {
			t.Errorf("%s: got %v", s, err)
		}
	}
}
