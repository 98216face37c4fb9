package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// added are routes as an approval brings them.
func added() []policy.Route {
	return []policy.Route{
		{Host: "docs.example", Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET"}, Paths: []string{"/v1/**"}},
		{Host: "**.db.example", Port: 5432, Protocol: policy.TCP, Address: "10.0.0.7:5432", Private: true},
	}
}

const lines = `{host: docs.example, methods: [GET], paths: ["/v1/**"]}  # approved
- {host: "**.db.example", protocol: tcp, port: 5432, address: "10.0.0.7:5432", private: true}  # approved
`

// indented are the lines that are expected, with so many spaces before.
func indented(n int) string {
	space := strings.Repeat(" ", n)
	return space + "- " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n"+space) + "\n"
}

func TestAddRoutes(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"a list": {
			"---\n# why\nsecrets: {A: {env: A}} # names\negress:\n  limits: {requests: 10}\n  routes: # of ours\n    - host: a.example   # first\n      paths: [\"/a\"]\n\n    # the other\n    - {host: b.example}\n    # end\n\n  deny: [{host: c.example}]\n---\nProse.\n",
			"---\n# why\nsecrets: {A: {env: A}} # names\negress:\n  limits: {requests: 10}\n  routes: # of ours\n    - host: a.example   # first\n      paths: [\"/a\"]\n\n    # the other\n    - {host: b.example}\n" + indented(4) + "    # end\n\n  deny: [{host: c.example}]\n---\nProse.\n",
		},
		"not indented": {
			"---\negress:\n  routes:\n  - host: a.example\nsupervise: true\n---\n",
			"---\negress:\n  routes:\n  - host: a.example\n" + indented(2) + "supervise: true\n---\n",
		},
		"no routes": {
			"---\negress:\n   limits: {requests: 1}\n---\n",
			"---\negress:\n   routes:\n" + indented(5) + "   limits: {requests: 1}\n---\n",
		},
		"no egress": {
			"---\nextends: base\n---\n---\n",
			"---\nextends: base\negress:\n  routes:\n" + indented(4) + "---\n---\n",
		},
		"nothing": {"---\n---\n", "---\negress:\n  routes:\n" + indented(4) + "---\n"},
		"Windows": {"---\r\negress:\r\n  routes:\r\n    - host: a.example\r\n---\r\n", "---\r\negress:\r\n  routes:\r\n    - host: a.example\r\n" + indented(4) + "---\r\n"},
	} {
		got, err := AddRoutes("dev.md", []byte(c.before), added(), "approved")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.after, string(got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAddRoutesByHand(t *testing.T) {
	for name, before := range map[string]string{
		"in one line": "---\negress: {routes: [{host: a.example}]}\n---\n",
		"a flow list": "---\negress:\n  routes: [{host: a.example}]\n---\n",
		"an empty":    "---\negress:\n  routes:\n---\n",
		"broken":      "---\negress: [\n---\n",
		"no matter":   "egress:\n",
	} {
		if got, err := AddRoutes("dev.md", []byte(before), added(), "approved"); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if _, err := AddRoutes("dev.md", []byte("---\n---\n"), []policy.Route{{Host: "a.example", CA: "pem"}}, "x"); err == nil {
		t.Error("a certificate was written somewhere")
	}
}

// What is added reads back as what was granted, whatever its fields hold.
func TestAddedRoutesReadBack(t *testing.T) {
	for _, r := range []policy.Route{
		{Host: "docs.example", Protocol: policy.HTTP, Port: 8080, Methods: []string{"GET", "NO"}, Paths: []string{"/a:b", "/x,y", "/*", "/é"}, Private: true},
		{Host: "123.example", Query: map[string]string{"q": "a\"b", "x": "yes"}, Body: map[string]string{"a.b": "*"}},
		{Host: "cafe.example", Auth: &policy.Auth{Scheme: policy.Basic, User: "0x10", Secret: "KEY", FormFields: []string{"token", "null"}}},
		{Host: "e5.example", Auth: &policy.Auth{Scheme: policy.Query, Parameter: "null", Secret: "KEY"}},
	} {
		want, err := r.Normalize()
		if err != nil {
			t.Fatal(err)
		}
		data, err := AddRoutes("dev.md", []byte("---\nsecrets: {KEY: {env: KEY}}\n---\n"), []policy.Route{want}, "approved")
		if err != nil {
			t.Fatal(err)
		}
		root, err := parseFile("dev.md", data)
		if err != nil {
			t.Fatal(err)
		}
		l := &loader{m: &Manifest{}}
		got := l.routes(root.get("egress").get("routes"), root.get("secrets"))
		if len(l.problems) > 0 || len(got) != 1 {
			t.Fatalf("%s: %v", data, l.problems)
		}
		normal, err := got[0].Normalize()
		if diff := cmp.Diff(want, normal); err != nil || diff != "" {
			t.Errorf("%s: %v %s", data, err, diff)
		}
	}
}

func FuzzAddRoutes(f *testing.F) {
	f.Add("---\negress:\n  routes:\n    - host: a.example\n---\n")
	f.Add("---\negress:\n  # x\n  limits: {requests: 1}\n---\nbody\n---\n")
	f.Fuzz(func(t *testing.T, before string) {
		after, err := AddRoutes("dev.md", []byte(before), added(), "approved")
		if err == nil && !strings.Contains(string(after), "docs.example") {
			t.Errorf("%q: got %q", before, after)
		}
	})
}
