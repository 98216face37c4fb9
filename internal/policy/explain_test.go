package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func explained(t testing.TB) *Set {
	return newSet(t, Policy{
		Limits: &Limits{BytesUp: 1 << 30, Window: Span(24 * time.Hour)},
		Deny:   []Deny{{Host: "api.github.com", Methods: []string{"DELETE"}}, {Host: "gist.github.com"}},
		Routes: []Route{
			{Host: "api.anthropic.com", Auth: &Auth{Scheme: Header, Header: "x-api-key", Secret: "ANTHROPIC_API_KEY"}, Deny: []Deny{{Paths: []string{"/v1/files/**"}}}},
			{Host: "api.github.com", Methods: []string{"GET", "POST"}, Paths: []string{"/repos/acme/**"}, Auth: &Auth{Scheme: Bearer, Secret: "GH_TOKEN"}, Limits: &Limits{Requests: 100, Window: Span(time.Hour)}},
			{Host: "api.github.com", Paths: []string{"/graphql"}, Body: map[string]string{"variables.owner": "acme"}},
			{Host: "db.corp.example", Port: 5432, Protocol: TCP}, {Host: "plain.example", Protocol: HTTP}, {Host: "odd.example", Protocol: TCP, Port: 443},
		},
	})
}

func TestExplanationsAsText(t *testing.T) {
	set := explained(t)
	for _, c := range []struct{ method, url, want string }{
		{"GET", "https://api.github.com/repos/acme/w?x=1", `GET https://api.github.com/repos/acme/w?x=1
  deny 1             api.github.com DELETE: is about DELETE
  deny 2             gist.github.com: is for another host
  deny 1 of route 1  api.anthropic.com:443 /v1/files/**: is for another host
  route 1            https://api.anthropic.com:443 with ANTHROPIC_API_KEY: is for another host
* route 2            https://api.github.com:443 GET,POST /repos/acme/** with GH_TOKEN up to 100 requests in 1h: matches
  route 3            https://api.github.com:443 /graphql body variables.owner="acme": not looked at
  route 4            tcp://db.corp.example:5432: not looked at
  route 5            http://plain.example:80: not looked at
  route 6            tcp://odd.example:443: not looked at
allowed by route 2, with GH_TOKEN (bearer)
up to 100 requests in 1h for this route
up to 1 GiB up in 24h for the bottle
`},
	} {
		if diff := cmp.Diff(c.want, set.Explain(c.method, c.url, nil).String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestExplanations(t *testing.T) {
	set := explained(t)
	for _, c := range []struct {
		name, method, url string
		body              *Body
		verdict           Verb
		rule, credential  string
		reason            string // part of it
	}{
		{"a credential", "POST", "https://api.anthropic.com/v1/messages", nil, Allowed, "route 1", "ANTHROPIC_API_KEY", ""},
		{"the deny rule of a route", "POST", "https://api.anthropic.com/v1/files", nil, Refused, "deny 1 of route 1", "", "deny 1 of route 1 refuses it"},
		{"a deny rule", "DELETE", "https://api.github.com/repos/acme/w", nil, Refused, "deny 1", "", "deny 1 refuses it"},
		{"a host that is denied", "GET", "https://gist.github.com/", nil, Refused, "deny 2", "", "deny 2 refuses it"},
		{"a path that no route has", "GET", "https://api.github.com/gists", nil, Refused, "", "", "allows only the paths /graphql"},
		{"a host that no route has", "GET", "https://evil.example/", nil, Refused, "", "", "no route allows https://evil.example:443"},
		{"a port that no route has", "GET", "https://api.github.com:8443/", nil, Refused, "", "", "no route allows https://api.github.com:8443"},
		{"needs the body", "POST", "https://api.github.com/graphql", nil, NeedBody, "", "", "route 3 is about the body"},
		{"with the body", "POST", "https://api.github.com/graphql", jsonBody(`{"variables":{"owner":"acme"}}`), Allowed, "route 3", "", ""},
		{"with another body", "POST", "https://api.github.com/graphql", jsonBody(`{"variables":{"owner":"evil"}}`), Refused, "", "", "body field variables.owner is another"},
		{"bytes", "", "tcp://db.corp.example:5432", nil, Carried, "route 4", "", ""},
		{"another port for bytes", "", "tcp://db.corp.example:5433", nil, Refused, "", "", "no route allows port 5433"},
		{"bytes to a host of requests", "", "tcp://api.github.com:443", nil, Refused, "", "", "takes requests of protocol https"},
		{"requests that are carried as bytes", "GET", "https://odd.example/", nil, Carried, "route 6", "", ""},
		{"https to a plain port", "GET", "https://plain.example:80/", nil, Refused, "", "", "as protocol http"},
		{"plain", "GET", "http://plain.example/x", nil, Allowed, "route 5", "", ""},
		{"plain to https", "GET", "http://api.github.com:443/repos/acme/w", nil, Refused, "", "", "no route allows http://api.github.com:443"},
		{"ambiguous", "GET", "https://api.github.com/repos/acme/../evil", nil, Refused, "", "", "more than one way"},
		{"user", "GET", "https://api.github.com@evil.example/", nil, Refused, "", "", "holds a user"}, {"fragment", "GET", "https://api.github.com/#x", nil, Refused, "", "", "fragment"},
		{"address", "GET", "https://127.0.0.1/", nil, Refused, "", "", "addresses are not host names"}, {"no URL", "GET", "api.github.com/x", nil, Refused, "", "", "is not a URL"},
		{"another protocol", "GET", "ftp://api.github.com/", nil, Refused, "", "", "none of https, http, tcp"}, {"no port", "", "tcp://db.corp.example", nil, Refused, "", "", "names no port"},
		{"bad port", "GET", "https://api.github.com:99999/", nil, Refused, "", "", "not between 1 and 65535"}, {"method", "GE T", "https://api.github.com/", nil, Refused, "", "", "is not a word"},
		{"trailing dot", "GET", "https://api.github.com./", nil, Refused, "", "", "trailing dot"}, {"IPv6", "GET", "https://[::1]/", nil, Refused, "", "", "host"},
	} {
		got := set.Explain(c.method, c.url, c.body)
		if got.Verdict != c.verdict || got.Rule != c.rule || got.Credential != c.credential || !strings.Contains(got.Reason, c.reason) || (got.Reason == "") != (c.reason == "") {
			t.Errorf("%s: got %+v", c.name, got)
		}
		deciding := ""
		for _, s := range got.Steps {
			if s.Decides {
				deciding += s.Rule
			}
		}
		if deciding != c.rule || len(got.Steps) != 0 && len(got.Steps) != 9 {
			t.Errorf("%s: %q decides, of %d steps", c.name, deciding, len(got.Steps))
		}
	}
}

// Attack H1: a URL that somebody pastes draws on the terminal.
func TestAttackH1_ExplanationsAreSafeToPrint(t *testing.T) {
	set := explained(t)
	for _, raw := range []string{"https://a.example/\x1b[2J", "\x1b]0;x\a", "https://\u202eexample.com/", "https://a.example/\u009b2J", "https://a.example/\nallowed by route 1"} {
		for _, text := range []string{set.Explain("GET", raw, nil).String(), set.Explain(raw, "https://api.github.com/", nil).String()} {
			if strings.ContainsAny(text, "\x1b\a\u009b\u202e") || strings.Contains(text, "\nallowed") {
				t.Errorf("%q: got %q", raw, text)
			}
		}
	}
}

// The explanation of a URL, and the decision about the request that a client makes of it,
// are one.
func FuzzExplainIsWhatRequestDecides(f *testing.F) {
	for _, seed := range []string{"https://api.github.com/repos/acme/x", "http://plain.example/", "https://api.github.com/graphql", "https://api.anthropic.com/v1%2ffiles", "https://a@b/", "https://api.github.com:443/?a;b#"} {
		f.Add("GET", seed)
	}
	set := explained(f)
	f.Fuzz(func(t *testing.T, method, raw string) {
		e := set.Explain(method, raw, nil)
		if e.Verdict != Allowed && e.Verdict != NeedBody {
			if e.Verdict == Refused && e.Reason == "" {
				t.Fatalf("%q: refused without a reason", raw)
			}
			return
		}
		r, err := parseURL(method, raw)
		if err != nil {
			t.Fatal(err)
		}
		if d := set.Request(r); d.Allowed != (e.Verdict == Allowed) || d.Reason != e.Reason || e.Target != r.Target {
			t.Fatalf("%s %q: explained %+v, decided %+v", method, raw, e, d)
		}
	})
}
