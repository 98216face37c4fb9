package policy

import (
	"strings"
	"testing"
)

func TestProxyEndpoint(t *testing.T) {
	for url, want := range map[string]string{
		"http://proxy.corp.internal:3128": "proxy.corp.internal:3128", "http://proxy": "proxy:80", "https://Proxy.Example/": "proxy.example:443",
		"http://10.0.0.1:8080": "10.0.0.1:8080", "http://[fd00::1]:8080": "[fd00::1]:8080", "http://[::ffff:10.0.0.1]:8080": "10.0.0.1:8080",
		"proxy:3128": "", "socks5://proxy:1080": "", "": "", "http://": "", "http://:3128": "", "http://proxy:": "", "http://proxy:0": "", "http://proxy:70000": "",
		"http://proxy:3128/path": "", "http://proxy:3128?x": "", "http://proxy:3128?": "", "http://proxy:3128#x": "", "http://proxy:3128#": "", "http:proxy": "",
		"http://a:secret@proxy:3128": "", "http://a@proxy:3128": "", "http://pro xy:3128": "", "http://proxy\r\nX: y:3128": "", "http://pro_xy:1": "", "http://127.1:3128": "",
	} {
		e, err := (&Proxy{URL: url}).Endpoint()
		if got := e.String(); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: got %q, %v, want %q", url, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "a:secret") {
			t.Errorf("%q: the error repeats the password: %v", url, err)
		}
	}
}

func TestProxyCheck(t *testing.T) {
	sound := Proxy{URL: "https://proxy:3128", Auth: &ProxyAuth{"bob", "K"}, CA: "PEM", NoProxy: []string{"a.example", "*.a.example", "**.internal", "host", "10.0.0.0/8", "fd00::/8", "192.168.1.1", "::1"}}
	if wrong := sound.Check(); len(wrong) > 0 {
		t.Error(wrong)
	}
	for field, p := range map[string]Proxy{
		"url": {URL: "proxy"}, "auth": {URL: "http://proxy", Auth: &ProxyAuth{"a\nb", "K"}}, "ca": {URL: "http://proxy", CA: "PEM"},
	} {
		if wrong := p.Check(); len(wrong) != 1 || wrong[0].Field != field {
			t.Errorf("%s: got %v", field, wrong)
		}
	}
	for _, entry := range []string{"", "*", "**", ".corp.internal", "a.example:443", "http://a.example", "a.*", "*a.example", "10.0.0.0/33", "::ffff:10.0.0.0/104", "10.0.0", "a_b", "a b", "кор.example"} {
		if wrong := (&Proxy{URL: "http://proxy", NoProxy: []string{"ok.example", entry}}).Check(); len(wrong) != 1 || wrong[0].Field != "no_proxy" {
			t.Errorf("%q: got %v", entry, wrong)
		}
	}
}

// What goes through the proxy, by the route's host and the address where it is dialled.
func TestProxyCarries(t *testing.T) {
	p := &Proxy{URL: "http://proxy:3128", NoProxy: []string{"direct.example", "*.one.example", "**.any.example", "10.0.0.0/8", "192.0.2.7", "fd00::/8"}}
	for _, c := range []struct {
		host, address string
		want          bool
	}{
		{"a.example", "", true}, {"direct.example", "", false}, {"x.direct.example", "", true}, {"direct.example.evil.example", "", true}, {"evil-direct.example", "", true},
		{"x.one.example", "", false}, {"one.example", "", true}, {"x.y.one.example", "", true}, {"x.y.any.example", "", false}, {"any.example", "", true},
		{"a.example", "10.9.9.9:443", false}, {"a.example", "11.0.0.1:443", true}, {"a.example", "192.0.2.7:443", false}, {"a.example", "192.0.2.8:443", true},
		{"a.example", "[::ffff:10.1.1.1]:443", false}, {"a.example", "[fd00::1]:443", false}, {"a.example", "Direct.Example:443", false}, {"direct.example", "11.0.0.1:443", false},
		{"a.example", "127.0.0.1:443", false}, {"a.example", "[::1]:443", false}, {"a.example", "169.254.169.254:443", false}, {"a.example", "0.0.0.0:443", false},
		{"localhost", "", false}, {"x.localhost", "", false}, {"a.example", "localhost:443", false}, {"notlocalhost", "", true}, {"10.0.0.0", "", false},
	} {
		if got := p.Carries(&Route{Host: c.host, Address: c.address}, c.host); got != c.want {
			t.Errorf("%s at %q: got %t", c.host, c.address, got)
		}
	}
	if (*Proxy)(nil).Carries(&Route{}, "a.example") {
		t.Error("no proxy carries")
	}
}
