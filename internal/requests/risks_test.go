package requests

import (
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack G10: a dangerous ask looks harmless. These are the very words that the operator reads.
func TestAttackG10_RisksInTheirWords(t *testing.T) {
	readOnly := policy.Policy{Routes: []policy.Route{
		{Host: "api.github.com", Methods: []string{"GET"}},
		{Host: "docs.example", Methods: []string{"GET", "HEAD"}},
	}}
	bearer := &policy.Auth{Scheme: policy.Bearer, Secret: "DEPLOY_TOKEN"}
	get := []string{"GET"}
	for name, test := range map[string]struct {
		route policy.Route
		want  []string
	}{
		"a gist":               {policy.Route{Host: "gist.github.com", Methods: get}, []string{"gist.github.com: anybody can read or write there what they like (snippets)"}},
		"a gist's content":     {policy.Route{Host: "gist.githubusercontent.com", Methods: get}, []string{"gist.githubusercontent.com: anybody can read or write there what they like (snippets)"}},
		"raw content":          {policy.Route{Host: "raw.githubusercontent.com", Methods: get}, []string{"raw.githubusercontent.com: anybody can read or write there what they like (files of any repository)"}},
		"a CDN of it":          {policy.Route{Host: "cdn.jsdelivr.net", Methods: get}, []string{"cdn.jsdelivr.net: anybody can read or write there what they like (files of any repository)"}},
		"all of raw content":   {policy.Route{Host: "**.githubusercontent.com", Methods: get}, []string{"**.githubusercontent.com: anybody can read or write there what they like (snippets)", "**.githubusercontent.com is a wildcard: every host below githubusercontent.com"}},
		"all that is GitHub's": {policy.Route{Host: "*.github.com", Methods: get}, []string{"*.github.com: anybody can read or write there what they like (snippets)", "*.github.com is a wildcard: every host below github.com"}},
		"a pastebin":           {policy.Route{Host: "pastebin.com", Methods: get}, []string{"pastebin.com: anybody can read or write there what they like (a pastebin)"}},
		"a name of any IP":     {policy.Route{Host: "10.0.0.1.nip.io", Methods: get}, []string{"10.0.0.1.nip.io: anybody can read or write there what they like (a name for any address)"}},
		"IDN":                  {policy.Route{Host: "xn--bcher-kva.example", Methods: get}, []string{`xn--bcher-kva.example is a name in another script: it shows as "bücher.example"`}},
		"IDN look-alike": {policy.Route{Host: "api.xn--gthub-n4a.com", Methods: get}, []string{
			"api.xn--gthub-n4a.com looks like api.github.com, which is allowed, and is another host", `api.xn--gthub-n4a.com is a name in another script: it shows as "api.gıthub.com"`}},
		"look-alike":           {policy.Route{Host: "api.githud.com", Methods: get}, []string{"api.githud.com looks like api.github.com, which is allowed, and is another host"}},
		"write on read-only":   {policy.Route{Host: "docs.example", Methods: []string{"GET", "POST"}}, []string{"POST can change things at docs.example, where the bottle could only read so far"}},
		"write anywhere":       {policy.Route{Host: "new.example", Methods: []string{"POST"}}, []string{"POST can change things at new.example: a way out for data"}},
		"any method":           {policy.Route{Host: "new.example"}, []string{"any method, also those that write, at new.example: a way out for data"}},
		"new host, credential": {policy.Route{Host: "new.example", Methods: get, Auth: bearer}, []string{"DEPLOY_TOKEN would be sent to new.example, where it has not gone before"}},
		"wildcard":             {policy.Route{Host: "*.new.example", Methods: get}, []string{"*.new.example is a wildcard: every host below new.example"}},
		"private":              {policy.Route{Host: "new.example", Methods: get, Private: true}, []string{"new.example may be at a private address"}},
		"internal":             {policy.Route{Host: "db.corp.internal", Methods: get}, []string{"db.corp.internal is a name for an internal network"}},
		"harmless":             {policy.Route{Host: "new.example", Methods: get}, nil},
	} {
		route, err := test.route.Normalize()
		if err != nil {
			t.Fatal(name, err)
		}
		if got := risks([]policy.Route{route}, readOnly); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// Attack G10: a path is in letters of another script that look like those of a repository that the
// operator knows. It is said what is sent for it.
func TestAttackG10_APathInAnotherScript(t *testing.T) {
	for path, want := range map[string]string{"/repos/\u0430cme/**": "/repos/\u0430cme/** is not in plain letters: it stands for /repos/%D0%B0cme/**", "/repos/acme/**": ""} {
		l := New("k")
		r, err := l.Ask(t0, policy.Policy{}, egress("api.example", []string{"GET"}, []string{path}))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(l.Show(r, policy.Policy{}).Risks, "\n"); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
