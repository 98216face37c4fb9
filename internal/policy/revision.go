package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
)

// Revision names what a set says: sets that decide alike in every field of their policy
// have the same one, whatever was left to defaults.
func (s *Set) Revision() string { return s.revision }

// digest is of JSON, in which maps are sorted.
func digest(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // built of strings, numbers, maps and slices
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// GrantAccount is what a Meter knows the routes of a grant by.
func GrantAccount(id string) string { return "grant " + id }

// account is what a Meter knows a route by: all of it but its limits, deny rules, what is
// done about findings and what is logged, so that changing those is no refill. The routes
// of one grant are counted together.
func (r Route) account() string {
	if r.Grant != "" {
		return GrantAccount(r.Grant)
	}
	r.Limits, r.Deny, r.Scan, r.LogPath, r.Pipelock = nil, nil, nil, "", nil
	return digest(r)
}

// Revoked reports whether what s allowed must end under next: it is no longer allowed,
// or would go elsewhere, be trusted otherwise or carry another credential. r.Method is
// empty for a connection by itself: a tunnel, in which requests are decided one by one,
// or protocol TCP. A request comes with the body that it was decided with.
func (s *Set) Revoked(next *Set, r Request) bool {
	old, now := s.decideAny(r), next.decideAny(r)
	if !old.Allowed || !now.Allowed {
		return true
	}
	if r.Method == "" && now.Route.Protocol != TCP {
		return old.Route.Protocol != now.Route.Protocol
	}
	return !reflect.DeepEqual(old.Route.way(), now.Route.way())
}

func (s *Set) decideAny(r Request) Decision {
	if r.Method == "" {
		return s.Connect(r.Host, r.Port)
	}
	return s.Request(r)
}

// way is where and with what a route's traffic goes.
func (r *Route) way() Route {
	return Route{Protocol: r.Protocol, Auth: r.Auth, CA: r.CA, Address: r.Address, Private: r.Private}
}
