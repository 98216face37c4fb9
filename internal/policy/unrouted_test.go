package policy

import "testing"

// What learning may propose is decided by a reason's words: each kind of refusal, as it is
// really given.
func TestUnrouted(t *testing.T) {
	set, err := New(Policy{
		Routes: []Route{
			{Host: "api.example", Methods: []string{"GET"}, Paths: []string{"/open/**"}},
			{Host: "pinned.example", Query: map[string]string{"org": "acme"}},
			{Host: "body.example", Body: map[string]string{"org": "acme"}},
		},
		Deny: []Deny{{Host: "bad.example"}, {Host: "api.example", Paths: []string{"/open/secret"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, host, target string) Decision {
		return set.Request(Request{Protocol: HTTPS, Host: host, Port: 443, Method: method, Target: target, Body: &Body{Type: []string{"application/json"}, Data: []byte(`{"org":"evil"}`)}})
	}
	for name, c := range map[string]struct {
		d    Decision
		want bool
	}{
		"another host":         {ask("GET", "new.example", "/"), true},
		"another method":       {ask("POST", "api.example", "/open/x"), true},
		"another path":         {ask("GET", "api.example", "/closed"), true},
		"a name":               {set.Lookup("new.example"), true},
		"a port":               {set.Connect("api.example", 8443), true},
		"a connection":         {set.Connect("new.example", 443), true},
		"denied":               {ask("GET", "bad.example", "/"), false},
		"a denied path":        {ask("GET", "api.example", "/open/secret"), false},
		"a denied name":        {set.Lookup("bad.example"), false},
		"an ambiguous path":    {ask("GET", "api.example", "/open/%2e%2e/x"), false},
		"an address":           {ask("GET", "127.0.0.1", "/"), false},
		"another organisation": {ask("GET", "pinned.example", "/?org=evil"), false},
		"another one's body":   {ask("POST", "body.example", "/"), false},
	} {
		if c.d.Allowed || Unrouted(c.d.Reason) != c.want {
			t.Errorf("%s: got %+v; want %v", name, c.d, c.want)
		}
	}
}
