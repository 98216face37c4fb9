package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Set is a bottle's routes, ready to decide. It is immutable and may be used
// concurrently.
type Set struct{ routes []Route }

// NewSet normalises routes; their order is kept, and the first that matches decides.
func NewSet(routes []Route) (*Set, error) {
	s := &Set{}
	for _, r := range routes {
		normal, err := r.Normalize()
		if err != nil {
			return nil, err
		}
		s.routes = append(s.routes, normal)
	}
	return s, nil
}

// Decision is an answer, and why.
type Decision struct {
	Allowed bool
	Host    string // normalised, "" if it could not be
	Rule    int    // index of the route that decided, -1 for none
	Route   *Route // that route; nil when refused. Do not change it.
	Reason  string // for people; never empty when refused
}

func deny(host, format string, args ...any) Decision {
	return Decision{Host: host, Rule: -1, Reason: fmt.Sprintf(format, args...)}
}

// Lookup decides whether a name exists for the bottle.
func (s *Set) Lookup(name string) Decision {
	host, err := ParseHost(name)
	if err != nil {
		return deny("", "%v", err)
	}
	for i := range s.routes {
		if pattern(s.routes[i].Host).matches(host) {
			return Decision{Allowed: true, Host: host, Rule: i, Route: &s.routes[i]}
		}
	}
	return deny(host, "no route allows %s", host)
}

// Connect decides whether a connection to a port may be opened. What is then said on
// it is decided again, request by request, unless the route's protocol is TCP.
func (s *Set) Connect(name string, port int) Decision {
	host, err := ParseHost(name)
	if err != nil {
		return deny("", "%v", err)
	}
	for i := range s.routes {
		if s.routes[i].Port == port && pattern(s.routes[i].Host).matches(host) {
			return Decision{Allowed: true, Host: host, Rule: i, Route: &s.routes[i]}
		}
	}
	if s.Lookup(host).Allowed {
		return deny(host, "no route allows port %d of %s", port, host)
	}
	return deny(host, "no route allows %s", host)
}

// Request decides about one HTTP request of a protocol (HTTPS or HTTP). rawPath is
// the path as sent, escapes and all, without the query.
func (s *Set) Request(protocol Protocol, name string, port int, method, rawPath string) Decision {
	host, err := ParseHost(name)
	if err != nil {
		return deny("", "%v", err)
	}
	reason := fmt.Sprintf("no route allows %s://%s:%d", protocol, host, port)
	for i := range s.routes {
		r := &s.routes[i]
		if r.Protocol != protocol || r.Port != port || !pattern(r.Host).matches(host) {
			continue
		}
		if why := r.refuses(method, rawPath); why != "" {
			reason = why
			continue
		}
		return Decision{Allowed: true, Host: host, Rule: i, Route: r}
	}
	return deny(host, "%s", reason)
}

// refuses says why a route does not cover a request, "" if it does.
func (r *Route) refuses(method, rawPath string) string {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return fmt.Sprintf("the route to %s allows only %s", r.Host, strings.Join(r.Methods, ", "))
	}
	if len(r.Paths) == 0 {
		return ""
	}
	path, err := ParsePath(rawPath)
	if err != nil {
		return err.Error()
	}
	if slices.ContainsFunc(r.Paths, func(glob string) bool { return matchPath(glob, path) }) {
		return ""
	}
	return fmt.Sprintf("the route to %s allows only the paths %s", r.Host, strings.Join(r.Paths, " "))
}

// Ports lists the ports that routes name, sorted.
func (s *Set) Ports() []int {
	var ports []int
	for _, r := range s.routes {
		ports = append(ports, r.Port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
