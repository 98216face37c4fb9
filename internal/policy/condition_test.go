package policy

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func jsonBody(data string) *Body {
	return &Body{Type: []string{"application/json"}, Data: []byte(data)}
}

// Attack I2, I4, C4: an allowed, shared host is used for another organisation's repository
// or bucket: the parameter that pins it is doubled, spelt otherwise, escaped, made a list,
// or hidden where only the server looks.
func TestAttackI4_QueryConditions(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{{Host: "api.example", Query: map[string]string{"org": "acme"}}, {Host: "glob.example", Query: map[string]string{"path": "acme/*", "q": "repo:acme/*"}}, {Host: "plus.example", Query: map[string]string{"name": "a b"}}}})
	for target, want := range map[string]bool{"/?name=a%20b": true, "/?name=a+b": false, "/?name=a%2bb": false} { // "+" may be a space or itself
		if got := ask(set, "GET", "https://plus.example", target); got.Allowed != want {
			t.Errorf("%s: got %v (%s)", target, got.Allowed, got.Reason)
		}
	}
	for _, c := range []struct {
		name, target string
		want         bool
	}{
		{"as it must be", "/?org=acme", true}, {"beside others", "/x?a=b&org=acme&c", true}, {"escaped", "/?%6frg=ac%6De", true},
		{"missing", "/", false}, {"empty query", "/?", false}, {"no value", "/?org", false}, {"another", "/?org=evil", false}, {"another case of the value", "/?org=ACME", false},
		{"longer", "/?org=acme2", false}, {"doubled", "/?org=acme&org=evil", false}, {"doubled the same", "/?org=acme&org=acme", false}, {"doubled escaped", "/?org=acme&%6frg=evil", false},
		{"another case", "/?Org=acme", false}, {"another case beside", "/?org=acme&ORG=evil", false}, {"a longer name beside", "/?org=acme&xorg=x", true}, {"a list beside", "/?org=acme&org[]=evil", false},
		{"an escaped list beside", "/?org=acme&org%5B%5D=evil", false}, {"a map beside", "/?org=acme&org[x]=evil", false}, {"space before the name", "/?org=acme&+org=evil", false}, {"space after the name", "/?org=acme&org%20=evil", false},
		{"semicolon", "/?x=1;org=evil&org=acme", false}, {"semicolon in the value", "/?org=acme;x=1", false}, {"bad escape in a name", "/?org=acme&%zz=1", false}, {"bad escape in the value", "/?org=acme%zz", false},
		{"half an escape", "/?org=acme%2", false}, {"NUL in a name", "/?org=acme&org%00x=evil", false}, {"NUL in the value", "/?org=acme%00", false}, {"twice escaped name", "/?org=acme&%256frg=evil", false},
		{"not UTF-8", "/?org=acme%ff", false}, {"in the path", "/org=acme", false}, {"as a value", "/?x=org=acme", false}, {"after a second ?", "/?x?org=acme", false}, {"line end in the value", "/?org=acme%0a", false},
	} {
		if got := ask(set, "GET", "https://api.example", c.target); got.Allowed != c.want {
			t.Errorf("%s: %s: got %v (%s)", c.name, c.target, got.Allowed, got.Reason)
		}
	}
	for _, c := range []struct {
		name, target string
		want         bool
	}{
		{"glob", "/?path=acme/x&q=repo:acme/x+bug", true}, {"escaped space", "/?path=acme%2Fx&q=repo:acme/x%20bug", true}, {"plus that may be a space or not", "/?path=acme/a+b&q=repo:acme/x", true},
		{"outside", "/?path=evil/x&q=repo:acme/x+bug", false}, {"dots", "/?path=acme/../evil&q=repo:acme/x+b", false}, {"escaped dots", "/?path=acme/%2e%2e/evil&q=repo:acme/x+b", false},
		{"twice escaped dots", "/?path=acme/%252e%252e%252fevil&q=repo:acme/x+b", false}, {"backslash", `/?path=acme/..\evil&q=repo:acme/x+b`, false}, {"second condition missing", "/?path=acme/x", false},
	} {
		if got := ask(set, "GET", "https://glob.example", c.target); got.Allowed != c.want {
			t.Errorf("%s: %s: got %v (%s)", c.name, c.target, got.Allowed, got.Reason)
		}
	}
}

// PHP, and what reads like it, takes other names for the same.
func TestParametersThatAreRivals(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"org", "org", true}, {"org", "orgs", false}, {"a.b", "a_b", true}, {"a b", "a_b", true}, {"a_b", "a[b", true}, {"filter[org]", "filter[x]", false}, {"filter[org]", "filter", true},
		{"filter[org]", "filter[org][]", true}, {"k", "\u212a", true}, {"a", "", false}, {"a", " A ", true},
	} {
		if rivals(c.a, c.b) != c.want || rivals(c.b, c.a) != c.want {
			t.Errorf("%q and %q: want %v", c.a, c.b, c.want)
		}
	}
}

// Attack I2: the same, in a JSON body: doubled fields, other case, other encodings, another
// document behind the first.
func TestAttackI2_BodyConditions(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{
		{Host: "api.example", Body: map[string]string{"repository.owner": "acme"}}, {Host: "glob.example", Body: map[string]string{"model": "small-*"}},
		{Host: "flag.example", Body: map[string]string{"private": "true"}}, {Host: "number.example", Body: map[string]string{"project_id": "123"}},
	}})
	for _, c := range []struct {
		name, host, data string
		want             bool
	}{
		{"as it must be", "api", `{"repository":{"owner":"acme"}}`, true}, {"beside others", "api", ` {"x":[1,{"owner":"evil"}],"repository":{"name":"w","owner":"acme"},"Owner":"evil"} `, true},
		{"escaped", "api", `{"r\u0065pository":{"owner":"\u0061cme"}}`, true}, {"another", "api", `{"repository":{"owner":"evil"}}`, false}, {"another case of the value", "api", `{"repository":{"owner":"Acme"}}`, false},
		{"missing", "api", `{"repository":{}}`, false}, {"missing object", "api", `{}`, false}, {"empty", "api", ``, false}, {"doubled", "api", `{"repository":{"owner":"acme","owner":"evil"}}`, false},
		{"doubled the same", "api", `{"repository":{"owner":"acme","owner":"acme"}}`, false}, {"doubled escaped", "api", `{"repository":{"owner":"acme","\u006fwner":"evil"}}`, false},
		{"another case", "api", `{"repository":{"Owner":"acme"}}`, false}, {"another case beside", "api", `{"repository":{"owner":"acme","OWNER":"evil"}}`, false},
		{"doubled parent", "api", `{"repository":{"owner":"acme"},"repository":{"owner":"evil"}}`, false}, {"parent of another case", "api", `{"repository":{"owner":"acme"},"Repository":{"owner":"evil"}}`, false},
		{"space in the name", "api", `{"repository":{"owner":"acme","owner ":"evil"}}`, false}, {"NUL in the name", "api", `{"repository":{"owner":"acme","owner\u0000x":"evil"}}`, false},
		{"lone surrogate in a name", "api", `{"repository":{"owner":"acme","owner\ud800":"evil"}}`, false}, {"lone surrogate in the value", "api", `{"repository":{"owner":"acme\ud800"}}`, false},
		{"not UTF-8", "api", "{\"repository\":{\"owner\":\"acme\"},\"x\":\"\xff\"}", false}, {"two documents", "api", `{"repository":{"owner":"acme"}}{"repository":{"owner":"evil"}}`, false},
		{"text behind", "api", `{"repository":{"owner":"acme"}} x`, false}, {"byte order mark", "api", "\ufeff" + `{"repository":{"owner":"acme"}}`, false}, {"comment", "api", `{/**/"repository":{"owner":"acme"}}`, false},
		{"trailing comma", "api", `{"repository":{"owner":"acme",}}`, false}, {"single quotes", "api", `{'repository':{'owner':'acme'}}`, false}, {"list", "api", `[{"repository":{"owner":"acme"}}]`, false},
		{"list inside", "api", `{"repository":[{"owner":"acme"}]}`, false}, {"text for an object", "api", `{"repository":"owner"}`, false}, {"list for the value", "api", `{"repository":{"owner":["acme"]}}`, false},
		{"object for the value", "api", `{"repository":{"owner":{"acme":1}}}`, false}, {"null", "api", `{"repository":{"owner":null}}`, false}, {"dotted name", "api", `{"repository.owner":"acme"}`, false},
		{"NUL in the value", "api", `{"repository":{"owner":"acme\u0000"}}`, false}, {"deep", "api", `{"x":` + strings.Repeat("[", 20_000), false}, {"too long", "api", `{"repository":{"owner":"acme"},"x":"` + strings.Repeat("x", MaxBody) + `"}`, false},
		{"glob", "glob", `{"model":"small-1"}`, true}, {"outside the glob", "glob", `{"model":"large-1"}`, false}, {"dots under a glob", "glob", `{"model":"small-/../large"}`, false}, {"escaped dots under a glob", "glob", `{"model":"small-/%2e%2e/large"}`, false},
		{"number for a glob", "glob", `{"model":1}`, false}, {"true", "flag", `{"private":true}`, true}, {"false", "flag", `{"private":false}`, false}, {"true as text", "flag", `{"private":"true"}`, false},
		{"number", "number", `{"project_id":123}`, true}, {"number as text", "number", `{"project_id":"123"}`, true}, {"another number", "number", `{"project_id":124}`, false}, {"fraction", "number", `{"project_id":123.0}`, false},
		{"exponent", "number", `{"project_id":123e0}`, false}, {"true for a number", "number", `{"project_id":true}`, false},
	} {
		r := Request{Protocol: HTTPS, Host: c.host + ".example", Port: 443, Method: "POST", Target: "/"}
		if got := set.Request(r); got.Allowed || got.NeedBody != MaxBody || got.Reason == "" {
			t.Fatalf("%s: without the body: got %+v", c.name, got)
		}
		r.Body = jsonBody(c.data)
		if got := set.Request(r); got.Allowed != c.want || got.NeedBody != 0 {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

// A body that says that it is something else is read as something else.
func TestBodiesOfOtherTypes(t *testing.T) {
	set := newSet(t, Policy{Routes: []Route{{Host: "api.example", Body: map[string]string{"a": "b"}}}})
	for name, c := range map[string]struct {
		types, encodings []string
		want             bool
	}{
		"json": {[]string{"application/json"}, nil, true}, "utf-8": {[]string{"Application/JSON; charset=UTF-8"}, nil, true}, "identity": {[]string{"application/json"}, []string{"identity"}, true},
		"none": {nil, nil, false}, "two": {[]string{"application/json", "application/json"}, nil, false}, "form": {[]string{"application/x-www-form-urlencoded"}, nil, false}, "text": {[]string{"text/plain"}, nil, false},
		"utf-16": {[]string{"application/json; charset=utf-16"}, nil, false}, "utf-7": {[]string{"application/json;charset=utf-7"}, nil, false}, "odd parameter": {[]string{"application/json; boundary=x"}, nil, false},
		"two charsets": {[]string{"application/json; charset=utf-8; charset=utf-16"}, nil, false}, "list in one line": {[]string{"application/json, text/plain"}, nil, false}, "suffix": {[]string{"application/vnd.x+json"}, nil, false},
		"gzip": {[]string{"application/json"}, []string{"gzip"}, false}, "two encodings": {[]string{"application/json"}, []string{"identity", "gzip"}, false}, "empty encoding": {[]string{"application/json"}, []string{""}, false},
	} {
		r := Request{Protocol: HTTPS, Host: "api.example", Port: 443, Method: "POST", Target: "/", Body: &Body{Type: c.types, Encoding: c.encodings, Data: []byte(`{"a":"b"}`)}}
		if got := set.Request(r); got.Allowed != c.want {
			t.Errorf("%s: got %v (%s)", name, got.Allowed, got.Reason)
		}
	}
}

// Attack I1, I2: what a deny rule names is asked for in other words: another case, a
// slash more, escapes, a doubled parameter, a field spelt otherwise, another body type.
func TestAttackI1_DenyRulesWin(t *testing.T) {
	set := newSet(t, Policy{
		Deny: []Deny{
			{Host: "gist.example"}, {Host: "**.corp.example", Methods: []string{"DELETE"}}, {Host: "q.example", Query: map[string]string{"action": "delete*"}},
			{Host: "b.example", Methods: []string{"POST"}, Paths: []string{"/graphql"}, Body: map[string]string{"query": "*mutation*"}}, {Host: "db.example", Port: 5433},
		},
		Routes: []Route{
			{Host: "api.example", Paths: []string{"/**", "/**/*%2F*", "/*%2F*/**", "/*%2F*"}, Deny: []Deny{{Paths: []string{"/v1/files/**", "/admin", "/v2/*"}}}},
			{Host: "gist.example"}, {Host: "q.example"}, {Host: "b.example"}, {Host: "corp.example"}, {Host: "**.corp.example"}, {Host: "api.example"}, {Host: "db.example", Protocol: TCP, Port: 5433}, {Host: "db.example", Protocol: TCP, Port: 5432},
		},
	})
	for _, c := range []struct {
		name, method, origin, target string
		want                         bool
	}{
		{"beside", "GET", "https://api.example", "/v1/messages", true}, {"denied", "GET", "https://api.example", "/v1/files", false}, {"below", "POST", "https://api.example", "/v1/files/x/y", false},
		{"another case", "GET", "https://api.example", "/V1/Files/x", false}, {"slash behind", "GET", "https://api.example", "/v1/files/", false}, {"escaped letters", "GET", "https://api.example", "/v1/%66iles", false},
		{"escaped slash", "GET", "https://api.example", "/v1%2ffiles", false}, {"escaped slash below", "GET", "https://api.example", "/v1/files%2fx", false}, {"two escaped slashes", "GET", "https://api.example", "/v1%2f%2Ffiles", false},
		{"escaped slash behind", "GET", "https://api.example", "/admin%2F", false}, {"dot behind", "GET", "https://api.example", "/admin.", false}, {"space behind", "GET", "https://api.example", "/admin%20", false},
		{"kelvin sign", "GET", "https://api.example", "/v1/file%C5%BF", false}, {"parameter", "GET", "https://api.example", "/admin;x", false}, {"longer", "GET", "https://api.example", "/admins", true}, {"nothing below", "GET", "https://api.example", "/v2/", false},
		{"a later route does not help", "GET", "https://api.example", "/admin", false}, {"whole host", "GET", "https://gist.example", "/", false}, {"method", "DELETE", "https://x.corp.example", "/", false},
		{"method of another case", "delete", "https://x.corp.example", "/", false}, {"another method", "GET", "https://x.corp.example", "/", true}, {"apex is not meant", "DELETE", "https://corp.example", "/", true},
		{"no parameter", "GET", "https://q.example", "/?a=b", true}, {"parameter", "GET", "https://q.example", "/?action=delete", false}, {"glob", "GET", "https://q.example", "/?action=delete_all", false},
		{"another case of the value", "GET", "https://q.example", "/?action=DELETE", false}, {"another value", "GET", "https://q.example", "/?action=list", true}, {"doubled", "GET", "https://q.example", "/?action=list&action=delete", false},
		{"another case of the name", "GET", "https://q.example", "/?Action=list", false}, {"list", "GET", "https://q.example", "/?action[]=delete", false}, {"semicolon", "GET", "https://q.example", "/?x=1;action=delete", false},
		{"bad escape", "GET", "https://q.example", "/?%zz=1", false}, {"another path needs no body", "POST", "https://b.example", "/x", true}, {"another method needs no body", "GET", "https://b.example", "/graphql", true},
	} {
		if got := ask(set, c.method, c.origin, c.target); got.Allowed != c.want || !got.Allowed && got.Reason == "" {
			t.Errorf("%s: %s %s%s: got %v (%s)", c.name, c.method, c.origin, c.target, got.Allowed, got.Reason)
		}
	}
	for _, c := range []struct {
		name string
		body *Body
		want bool
	}{
		{"harmless", jsonBody(`{"query":"query { x }"}`), true}, {"denied", jsonBody(`{"query":"mutation { x }"}`), false}, {"another case", jsonBody(`{"query":"MUTATION { x }"}`), false}, {"escaped", jsonBody(`{"query":"\u006dutation"}`), false},
		{"doubled", jsonBody(`{"query":"query","query":"mutation"}`), false}, {"another case of the field", jsonBody(`{"Query":"mutation"}`), false}, {"list", jsonBody(`[{"query":"mutation"}]`), false}, {"list of values", jsonBody(`{"query":["mutation"]}`), false},
		{"another type", &Body{Type: []string{"text/plain"}, Data: []byte(`{"query":"mutation"}`)}, false}, {"gzip", &Body{Type: []string{"application/json"}, Encoding: []string{"gzip"}, Data: []byte("x")}, false}, {"no body", &Body{}, true},
		{"no such field", jsonBody(`{"x":"mutation"}`), true}, {"true", jsonBody(`{"query":true}`), false},
	} {
		r := Request{Protocol: HTTPS, Host: "b.example", Port: 443, Method: "POST", Target: "/GraphQL/"}
		if got := set.Request(r); got.NeedBody == 0 || got.Allowed {
			t.Fatalf("without the body: got %+v", got)
		}
		r.Body = c.body
		if got := set.Request(r); got.Allowed != c.want {
			t.Errorf("%s: got %v (%s)", c.name, got.Allowed, got.Reason)
		}
	}
	if set.Lookup("gist.example").Allowed || set.Connect("gist.example", 443).Allowed || set.Connect("db.example", 5433).Allowed {
		t.Error("a host that is denied can be reached")
	}
	if !set.Lookup("db.example").Allowed || !set.Connect("db.example", 5432).Allowed || !set.Connect("x.corp.example", 443).Allowed {
		t.Error("a rule denies more than it says")
	}
}

// A body is asked for only where it decides: a body that is held back costs memory.
func TestBodiesAreReadOnlyWhereTheyDecide(t *testing.T) {
	set := newSet(t, Policy{
		Deny:   []Deny{{Host: "a.example", Body: map[string]string{"x": "y"}}},
		Routes: []Route{{Host: "a.example", Methods: []string{"GET"}}, {Host: "b.example", Paths: []string{"/open"}}, {Host: "b.example", Body: map[string]string{"x": "y"}}},
	})
	for _, c := range []struct {
		method, origin, target string
		want                   int64
	}{
		{"GET", "https://a.example", "/", MaxBody}, {"POST", "https://a.example", "/", 0}, {"GET", "https://b.example", "/open", 0}, {"GET", "https://b.example", "/else", MaxBody}, {"GET", "https://c.example", "/", 0},
	} {
		if got := ask(set, c.method, c.origin, c.target); got.NeedBody != c.want {
			t.Errorf("%s %s%s: got %+v", c.method, c.origin, c.target, got)
		}
	}
}

// What satisfies a condition is what net/url finds, once and nothing like it.
func FuzzQueryCondition(f *testing.F) {
	for _, seed := range []string{"org=acme", "org=acme&org=x", "Org=acme", "org[]=x", "org=a;c", "o%72g=acme", "org=acme+", "&&=&org=acme"} {
		f.Add(seed)
	}
	c := condition{"org", "acme"}
	f.Fuzz(func(t *testing.T, raw string) {
		if a, _ := c.query(raw, false); a != yes {
			return
		}
		values, err := url.ParseQuery(raw)
		if err != nil || len(values["org"]) != 1 || values["org"][0] != "acme" {
			t.Fatalf("%q: a server finds %v, %v", raw, values, err)
		}
		for name := range values {
			if name != "org" && strings.EqualFold(strings.TrimSpace(name), "org") {
				t.Fatalf("%q: %q stands beside", raw, name)
			}
		}
		if a, _ := c.query(values.Encode(), false); a != yes {
			t.Fatalf("%q: but not as %q", raw, values.Encode())
		}
	})
}

// What satisfies a condition is what encoding/json finds, also without regard to case, and
// again when it is written anew.
func FuzzBodyCondition(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":"acme"}}`, `{"a":{"b":"acme","B":"x"}}`, `{"a":{"b":"acme"},"A":1}`, `{"a":{"b":"acme"}}{}`, `{"\u0061":{"b":"acme"}}`} {
		f.Add(seed)
	}
	set := newSet(f, Policy{Routes: []Route{{Host: "api.example", Body: map[string]string{"a.b": "acme"}}}})
	allowed := func(data []byte) bool {
		return set.Request(Request{Protocol: HTTPS, Host: "api.example", Port: 443, Method: "POST", Target: "/", Body: &Body{Type: []string{"application/json"}, Data: data}}).Allowed
	}
	f.Fuzz(func(t *testing.T, data string) {
		if !allowed([]byte(data)) {
			return
		}
		var folded struct {
			A struct{ B string }
		}
		if err := json.Unmarshal([]byte(data), &folded); err != nil || folded.A.B != "acme" || !utf8.ValidString(data) {
			t.Fatalf("%q: another reads %+v, %v", data, folded, err)
		}
		var exact map[string]any
		if err := json.Unmarshal([]byte(data), &exact); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(exact)
		if err != nil || !allowed(again) {
			t.Fatalf("%q: but not as %q, %v", data, again, err)
		}
	})
}

// A rule binds a request to a part of its host by path or query; one by method or body does not,
// nor one about another host.
func TestBound(t *testing.T) {
	set := newSet(t, Policy{
		Deny: []Deny{{Host: "denied.example", Query: map[string]string{"a": "b"}}, {Host: "methods.example", Methods: []string{"DELETE"}}},
		Routes: []Route{
			{Host: "paths.example", Paths: []string{"/ours/**"}}, {Host: "query.example", Query: map[string]string{"bucket": "ours"}}, {Host: "free.example"}, {Host: "denied.example"},
			{Host: "methods.example", Methods: []string{"GET"}}, {Host: "inner.example", Deny: []Deny{{Paths: []string{"/theirs/**"}}}},
		},
	})
	for host, want := range map[string]string{"paths": "route 1", "query": "route 2", "free": "", "denied": "deny 1", "methods": "", "inner": "deny 1 of route 6"} {
		r := Request{Protocol: HTTPS, Host: host + ".example", Port: 443, Method: "GET", Target: "/ours/a?bucket=ours"}
		if d := set.Request(r); !d.Allowed || set.Bound(r, d) != want {
			t.Errorf("%s: got %q, %+v", host, set.Bound(r, d), d)
		}
	}
}
