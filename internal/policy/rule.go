package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// rule is a route or a deny rule, ready to be compared with requests. Both go through
// the same comparison; what is unclear allows nothing and meets every deny rule.
type rule struct {
	name     string // for people: "route 2", "deny 1 of route 2"
	host     pattern
	port     int      // 0: any
	protocol Protocol // "": any
	methods  []string
	paths    []glob
	query    []condition
	body     []condition
	deny     bool
}

func (r Route) rule(i int) rule {
	return rule{
		name: fmt.Sprintf("route %d", i+1), host: pattern(r.Host), port: r.Port, protocol: r.Protocol,
		methods: r.Methods, paths: globs(r.Paths), query: conditions(r.Query), body: conditions(r.Body),
	}
}

func (d Deny) rule(name string) rule {
	return rule{
		name: name, host: pattern(d.Host), port: d.Port, deny: true,
		methods: d.Methods, paths: globs(d.Paths), query: conditions(d.Query), body: conditions(d.Body),
	}
}

// globs compiles what was checked before.
func globs(paths []string) []glob {
	all := make([]glob, len(paths))
	for i, s := range paths {
		all[i], _ = parseGlob(s)
	}
	return all
}

// request is a Request after the one normalisation.
type request struct {
	protocol Protocol
	host     string
	port     int
	method   string
	target   target
	body     *Body
	document json.RawMessage // of the body
	noJSON   string          // why there is no document
}

// finding is what came of comparing a rule with a request.
type finding struct {
	answer answer
	field  string // that is not met, or is unclear
	why    string // for query and body
}

// covers compares host, port and protocol.
func (r *rule) covers(protocol Protocol, host string, port int) finding {
	switch {
	case !r.host.matches(host):
		return finding{no, "host", ""}
	case r.port != 0 && r.port != port:
		return finding{no, "port", ""}
	case r.protocol != "" && r.protocol != protocol:
		return finding{no, "protocol", ""}
	}
	return finding{answer: yes}
}

// whole reports whether a rule says nothing about what is in a connection.
func (r *rule) whole() bool {
	return len(r.methods) == 0 && len(r.paths) == 0 && len(r.query) == 0 && len(r.body) == 0
}

// check compares a whole request. What is not met counts before what has not been read,
// and that before what is unclear.
func (r *rule) check(q *request) finding {
	f := r.covers(q.protocol, q.host, q.port)
	switch {
	case f.answer != yes:
		return f
	case !r.hasMethod(q.method):
		return finding{no, "method", ""}
	case !r.hasPath(q.target.segments):
		return finding{no, "path", ""}
	}
	for _, c := range r.query {
		a, why := c.query(q.target.query, r.deny)
		if f = f.and(finding{a, "query", why}); f.answer == no {
			return f
		}
	}
	for _, c := range r.body {
		if f = f.and(r.checkBody(c, q)); f.answer == no {
			return f
		}
	}
	return f
}

// and keeps the worse of two findings.
func (f finding) and(other finding) finding {
	order := []answer{no, unread, unclear, yes}
	if slices.Index(order, other.answer) < slices.Index(order, f.answer) {
		return other
	}
	return f
}

func (r *rule) checkBody(c condition, q *request) finding {
	switch {
	case q.body == nil:
		return finding{unread, "body", "the body decides"}
	case len(q.body.Data) == 0:
		return finding{no, "body", "there is no body"}
	case q.noJSON != "":
		return finding{unclear, "body", q.noJSON}
	}
	a, why := c.body(q.document, r.deny)
	return finding{a, "body", why}
}

// hasMethod compares as servers do, with regard to case; a deny rule without.
func (r *rule) hasMethod(method string) bool {
	return len(r.methods) == 0 || slices.ContainsFunc(r.methods, func(m string) bool { return m == method || r.deny && strings.EqualFold(m, method) })
}

func (r *rule) hasPath(segments []string) bool {
	return len(r.paths) == 0 || slices.ContainsFunc(r.paths, func(g glob) bool { return r.deny && g.denies(segments) || !r.deny && g.allows(segments) })
}
