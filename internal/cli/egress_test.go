package cli

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// What deny leaves must not let the host through, whatever let it through before; allow
// opens it again.
func TestGrantAndRevoke(t *testing.T) {
	before := policy.Policy{Routes: []policy.Route{
		{Host: "api.example"}, {Host: "api.example", Port: 8443}, {Host: "*.wide.example"}, {Host: "db.example", Port: 5432, Protocol: policy.TCP},
	}}
	for name, c := range map[string]struct {
		host string
		port int
		want policy.Policy
		none bool
	}{
		"exact":               {"api.example", 0, policy.Policy{Routes: before.Routes[2:]}, false},
		"one port":            {"API.example", 443, policy.Policy{Routes: before.Routes[1:]}, false},
		"the pattern itself":  {"*.wide.example", 0, policy.Policy{Routes: append(before.Routes[:2:2], before.Routes[3])}, false},
		"below a pattern":     {"a.wide.example", 0, policy.Policy{Routes: before.Routes, Deny: []policy.Deny{{Host: "a.wide.example"}}}, false},
		"a port below one":    {"a.wide.example", 443, policy.Policy{Routes: before.Routes, Deny: []policy.Deny{{Host: "a.wide.example", Port: 443}}}, false},
		"a port that is none": {"a.wide.example", 444, policy.Policy{}, true},
		"tcp":                 {"db.example", 0, policy.Policy{Routes: before.Routes[:3]}, false},
		"nobody's":            {"nobody.example", 0, policy.Policy{}, true},
	} {
		got, err := revoke(before, c.host, c.port)
		if none := (*noRoute)(nil); errors.As(err, &none) != c.none {
			t.Errorf("%s: got %v", name, err)
		} else if diff := cmp.Diff(c.want, got); !c.none && diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if c.none {
			continue
		}
		port := max(c.port, 443)
		if set, err := policy.New(got); err != nil || c.host != "*.wide.example" && set.Connect(c.host, port).Allowed {
			t.Errorf("%s: it is still open, %v", name, err)
		}
	}
	closed, err := revoke(before, "a.wide.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	route, err := policy.Route{Host: "a.wide.example", Methods: []string{"GET"}}.Normalize()
	if err != nil {
		t.Fatal(err)
	}
	if set, err := policy.New(grant(closed, route)); err != nil || !set.Connect("a.wide.example", 443).Allowed {
		t.Errorf("it did not open again, %v", err)
	}
	keep := policy.Policy{Deny: []policy.Deny{{Host: "a.wide.example", Methods: []string{"DELETE"}}}}
	if got := grant(keep, route); len(got.Deny) != 1 {
		t.Errorf("a deny rule of the manifest is gone: %v", got)
	}
	other := route
	other.Paths = []string{"/x"}
	if got := grant(grant(grant(policy.Policy{}, route), other), route); !reflect.DeepEqual(got.Routes, []policy.Route{route, other}) {
		t.Errorf("allowed twice: %v", got.Routes)
	}
}

func TestEgressArguments(t *testing.T) {
	for _, good := range [][]string{{"id"}, {"id", "show"}, {"id", "allow", "h"}, {"id", "deny", "h:1"}, {"id", "refresh"}, {"id", "refresh", "A", "B"}, {"id", "explain", "u"}, {"id", "explain", "GET", "u"}} {
		if err := egressArgs(nil, good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range [][]string{{}, {"id", "frob"}, {"id", "show", "x"}, {"id", "allow"}, {"id", "deny", "a", "b"}, {"id", "explain"}, {"id", "explain", "a", "b", "c"}} {
		if egressArgs(nil, bad) == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
	for _, bad := range []string{"a:b", "a:0", "a:65536", "a:1:2", ":1x"} {
		if _, _, err := hostPort(bad); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

// What is left of a limit stands below the rule whose limit it is.
func TestRulesAreShownWithWhatIsLeft(t *testing.T) {
	limits := &policy.Limits{Requests: 10, Window: policy.Span(time.Hour)}
	routes := []policy.Route{{Host: "a.example", Port: 443, Protocol: policy.HTTPS, Limits: limits}, {Host: "b.example"}}
	granted := policy.Route{Host: "c.example", Port: 443, Protocol: policy.HTTPS}
	part := func(n int64) []policy.Part {
		return []policy.Part{{What: "requests", Limit: 10, Used: 10 - n, Left: n}}
	}
	got := routeTable(control.Policy{
		Policy: policy.Policy{Routes: routes, Limits: &policy.Limits{Requests: 10}},
		Grants: []requests.Request{{ID: "k-1", Routes: []policy.Route{granted}, Grant: &requests.Grant{Scope: requests.Scope{Uses: 10}}}},
		Left:   []policy.Left{{Parts: part(4)}, {Of: routes[0].Name(), Window: policy.Span(time.Hour), Parts: part(7)}, {Of: granted.Name(), Grant: "k-1", Parts: part(1)}},
	}).rows
	want := [][]string{
		{"allow", "https://a.example:443 up to 10 requests in 1h"}, {"  left", "7 of 10 requests left in 1h"}, {"allow", "https://b.example:443"},
		{"granted", "https://c.example:443 (k-1, 10 uses)"}, {"  left", "1 of 10 requests left"},
		{"at most", "10 requests in all"}, {"  left", "4 of 10 requests left"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
