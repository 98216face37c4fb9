package audit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

func refused(kind, host string, port int, method, path string) Event {
	return Event{Time: time.Unix(1, 0), Service: "egress", Kind: kind, Decision: Deny, Reason: "no route allows " + host, Host: host, Port: port, Method: method, Path: path}
}

func TestLessons(t *testing.T) {
	var l Lessons
	for _, e := range []Event{
		refused(Request, "registry.example", 443, "GET", "/left-pad"), refused(Request, "registry.example", 443, "GET", "/left-pad"), refused(Request, "registry.example", 443, "HEAD", "/b/…(40)"),
		refused(Lookup, "name.example", 0, "", ""), refused(Connect, "port.example", 8443, "", ""),
		{Service: "egress", Kind: Request, Decision: Deny, Reason: "the route to api.example allows only GET", Host: "api.example", Port: 80, Protocol: policy.HTTP, Method: "POST", Path: "/x"},
	} {
		l.Add(e)
	}
	at := time.Unix(1, 0)
	want := []Lesson{
		{Route: policy.Route{Host: "registry.example", Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET", "HEAD"}, Paths: []string{"/b/*", "/left-pad"}}, Times: 3, Last: at},
		{Route: policy.Route{Host: "api.example", Port: 80, Protocol: policy.HTTP, Methods: []string{"POST"}, Paths: []string{"/x"}}, Times: 1},
		{Route: policy.Route{Host: "name.example", Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET", "HEAD"}}, Times: 1, Last: at, Unsent: true},
		{Route: policy.Route{Host: "port.example", Port: 8443, Protocol: policy.HTTPS, Methods: []string{"GET", "HEAD"}}, Times: 1, Last: at, Unsent: true},
	}
	if diff := cmp.Diff(want, l.Proposals()); diff != "" {
		t.Error(diff)
	}
}

// Attack G2: what was refused on purpose, or is no place to go, is proposed because the agent
// tried it often enough.
func TestAttackG2_LearningProposesNothingThatWasMeant(t *testing.T) {
	var l Lessons
	for _, e := range []Event{
		{Service: "egress", Kind: Request, Decision: Deny, Reason: "deny rule 1 refuses bad.example", Host: "bad.example"},
		{Service: "egress", Kind: Request, Decision: Deny, Reason: "a secret was found", Host: "api.example", Findings: []Finding{{}}},
		{Service: "egress", Kind: Request, Decision: Deny, Reason: "the route to api.example does not match: org is another", Host: "api.example"},
		{Service: "git-gate", Kind: "push", Decision: Deny, Reason: "no route allows x.example", Host: "x.example"},
		{Service: "egress", Kind: Request, Decision: Allow, Reason: "no route allows x.example", Host: "x.example"},
		refused(Lookup, "169.254.169.254", 0, "", ""), refused(Request, "", 443, "GET", "/"), refused(Connect, "127.0.0.1", 443, "", ""), refused(Lookup, "*.example", 0, "", ""), refused(Lookup, "**.evil.example", 0, "", ""), refused(Lookup, "*.evil.example", 0, "", ""),
	} {
		for range 100 {
			l.Add(e)
		}
	}
	if got := l.Proposals(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// A bottle that tries everything fills neither memory nor a manifest.
func TestLessonsAreBounded(t *testing.T) {
	var l Lessons
	for i := range 10_000 {
		l.Add(refused(Lookup, fmt.Sprintf("h%d.example", i), 0, "", ""))
		l.Add(refused(Request, "h0.example", 443, fmt.Sprintf("M%d", i), fmt.Sprintf("/p%d/x", i)))
	}
	all := l.Proposals()
	if len(all) != mostPlaces || len(all[0].Route.Methods) > mostMethods || all[0].Route.Paths != nil || all[0].Times != 10_001 {
		t.Errorf("got %d, first %+v", len(all), all[0])
	}
}

func TestManyPathsBecomeFewer(t *testing.T) {
	many := func(format string) (paths []string) {
		for i := range mostPaths + 1 {
			paths = append(paths, fmt.Sprintf(format, i))
		}
		return paths
	}
	for name, c := range map[string]struct{ paths, want []string }{
		"few": {[]string{"/b", "/a"}, []string{"/a", "/b"}}, "one beginning": {many("/repos/acme/%d"), []string{"/repos/**"}},
		"two": {append(many("/repos/acme/%d"), "/user"), []string{"/repos/**", "/user/**"}}, "many beginnings": {many("/%d/x"), nil}, "anything": {many("/*/%d"), nil}, "none": {nil, nil},
	} {
		if got := fewer(c.paths); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
