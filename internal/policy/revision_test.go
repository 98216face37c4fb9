package policy

import "testing"

func TestRevision(t *testing.T) {
	base := Policy{Routes: []Route{{Host: "a.example", Query: map[string]string{"x": "1", "y": "2"}}, {Host: "b.example"}}}
	same := Policy{Routes: []Route{{Host: "A.Example", Port: 443, Protocol: HTTPS, Query: map[string]string{"y": "2", "x": "1"}}, {Host: "b.example"}}}
	if newSet(t, base).Revision() != newSet(t, same).Revision() {
		t.Error("defaults that are written out make another revision")
	}
	for name, p := range map[string]Policy{
		"order":  {Routes: []Route{base.Routes[1], base.Routes[0]}},
		"deny":   {Routes: base.Routes, Deny: []Deny{{Host: "c.example"}}},
		"limits": {Routes: base.Routes, Limits: &Limits{Requests: 1}},
		"query":  {Routes: []Route{{Host: "a.example", Query: map[string]string{"x": "1", "y": "3"}}, {Host: "b.example"}}},
		"fewer":  {Routes: base.Routes[:1]},
		"none":   {},
	} {
		if newSet(t, p).Revision() == newSet(t, base).Revision() {
			t.Errorf("%s: the revision is the same", name)
		}
	}
}

// Attack G13: a grant ends, and what was opened under it goes on.
func TestAttackG13_WhatIsOpenIsRevoked(t *testing.T) {
	key := func(secret string) *Auth { return &Auth{Scheme: Bearer, Secret: secret} }
	old := newSet(t, Policy{Routes: []Route{
		{Host: "a.example", Auth: key("K")}, {Host: "db.example", Port: 5432, Protocol: TCP}, {Host: "body.example", Body: map[string]string{"x": "y"}}, {Host: "b.example"},
	}})
	get := func(host string) Request {
		return Request{Protocol: HTTPS, Host: host, Port: 443, Method: "GET", Target: "/x"}
	}
	post := get("body.example")
	post.Method, post.Body = "POST", jsonBody(`{"x":"y"}`)
	tcp, tunnel := Request{Host: "db.example", Port: 5432}, Request{Host: "a.example", Port: 443}
	for _, c := range []struct {
		name   string
		next   []Route
		deny   []Deny
		r      Request
		revoke bool
	}{
		{"the same", old.policy.Routes, nil, get("a.example"), false}, {"the same tcp", old.policy.Routes, nil, tcp, false}, {"the same tunnel", old.policy.Routes, nil, tunnel, false}, {"the same with a body", old.policy.Routes, nil, post, false},
		{"gone", nil, nil, get("a.example"), true}, {"gone tcp", nil, nil, tcp, true}, {"gone tunnel", nil, nil, tunnel, true}, {"in another place", []Route{{Host: "z.example"}, {Host: "a.example", Auth: key("K")}}, nil, get("a.example"), false},
		{"another credential", []Route{{Host: "a.example", Auth: key("OTHER")}}, nil, get("a.example"), true}, {"no credential", []Route{{Host: "a.example"}}, nil, get("a.example"), true}, {"a credential more", []Route{{Host: "b.example", Auth: key("K")}}, nil, get("b.example"), true},
		{"another path", []Route{{Host: "a.example", Auth: key("K"), Paths: []string{"/y"}}}, nil, get("a.example"), true}, {"the same path", []Route{{Host: "a.example", Auth: key("K"), Paths: []string{"/x"}}}, nil, get("a.example"), false},
		{"tunnel of which requests are decided again", []Route{{Host: "a.example", Paths: []string{"/y"}}}, nil, tunnel, false}, {"tunnel that would be bytes", []Route{{Host: "a.example", Port: 443, Protocol: TCP}}, nil, tunnel, true},
		{"another address", []Route{{Host: "db.example", Port: 5432, Protocol: TCP, Address: "10.0.0.1:5432"}}, nil, tcp, true}, {"denied", old.policy.Routes, []Deny{{Host: "db.example"}}, tcp, true}, {"denied path", old.policy.Routes, []Deny{{Host: "a.example", Paths: []string{"/x"}}}, get("a.example"), true},
		{"denied body", old.policy.Routes, []Deny{{Host: "body.example", Body: map[string]string{"x": "y"}}}, post, true}, {"never allowed", old.policy.Routes, nil, get("evil.example"), true},
	} {
		if got := old.Revoked(newSet(t, Policy{Routes: c.next, Deny: c.deny}), c.r); got != c.revoke {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
