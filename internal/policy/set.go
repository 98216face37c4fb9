package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Set is a bottle's policy, ready to decide. It is immutable and may be used
// concurrently.
type Set struct {
	policy   Policy // normalised
	routes   []rule // same index as policy.Routes
	denies   []rule
	accounts []string // what a Meter knows each route by
	revision string
}

// NewSet makes a set of routes alone.
func NewSet(routes []Route) (*Set, error) { return New(Policy{Routes: routes}) }

// New normalises a policy. The order of the routes is kept: the first that matches
// decides, unless a deny rule does.
func New(p Policy) (*Set, error) {
	s := &Set{}
	if err := p.Limits.Check(); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	s.policy.Limits = p.Limits
	for i, d := range p.Deny {
		normal, err := d.Normalize()
		if err != nil {
			return nil, err
		}
		s.policy.Deny = append(s.policy.Deny, normal)
		s.denies = append(s.denies, normal.rule(fmt.Sprintf("deny %d", i+1)))
	}
	for i, r := range p.Routes {
		normal, err := r.Normalize()
		if err != nil {
			return nil, err
		}
		s.policy.Routes = append(s.policy.Routes, normal)
		s.routes = append(s.routes, normal.rule(i))
		s.accounts = append(s.accounts, normal.account())
		for j, d := range normal.Deny {
			d.Host, d.Port = normal.Host, normal.Port
			s.denies = append(s.denies, d.rule(fmt.Sprintf("deny %d of route %d", j+1, i+1)))
		}
	}
	s.revision = digest(s.policy)
	return s, nil
}

// Request is what a decision needs to know of an HTTP request. It must be taken from what
// will be sent: the target that a client wrote may be another one.
type Request struct {
	Protocol Protocol // HTTPS or HTTP
	Host     string
	Port     int
	Method   string
	Target   string // path and query, byte for byte as they go out (url.URL.RequestURI)
	Body     *Body  // nil while it has not been read
}

// Decision is an answer, and why.
type Decision struct {
	Allowed bool
	Host    string // normalised, "" if it could not be
	Rule    int    // index of the route that decided, -1 for none
	Route   *Route // that route; nil when refused. Do not change it.
	Reason  string // for people; never empty when refused

	// NeedBody is set when neither yes nor no can be said without the body: read up to
	// one byte more than this, and ask again with Request.Body. Allowed is false until then.
	NeedBody int64
}

func refuse(host, reason string) Decision { return Decision{Host: host, Rule: -1, Reason: reason} }

func (s *Set) allow(host string, i int) Decision {
	return Decision{Allowed: true, Host: host, Rule: i, Route: &s.policy.Routes[i]}
}

// Lookup decides whether a name exists for the bottle. As DNS does, it takes a name with
// the root's dot for the same.
func (s *Set) Lookup(name string) Decision {
	host, err := ParseHost(strings.TrimSuffix(name, "."))
	if err != nil {
		return refuse("", err.Error())
	}
	for i := range s.denies {
		if d := &s.denies[i]; d.whole() && d.port == 0 && d.host.matches(host) {
			return refuse(host, d.name+" refuses "+host)
		}
	}
	for i := range s.routes {
		if s.routes[i].host.matches(host) {
			return s.allow(host, i)
		}
	}
	return refuse(host, noRoute+host)
}

// DeniesHost names the deny rule that refuses all that could be asked of a host or a
// pattern of hosts, whatever routes there are; "" for none.
func (s *Set) DeniesHost(host string, port int) string {
	for i := range s.denies {
		if d := &s.denies[i]; d.whole() && (d.port == 0 || d.port == port) && HostCovers(string(d.host), host) {
			return d.name
		}
	}
	return ""
}

// Bound names the rule that binds an allowed request to a part of its host: the route that
// decided, or a deny rule, by path or query; "" for none. What has the host reach for
// another of its objects must not go then.
func (s *Set) Bound(r Request, d Decision) string {
	if d.Allowed && (len(d.Route.Paths) > 0 || len(d.Route.Query) > 0) {
		return s.routes[d.Rule].name
	}
	for i := range s.denies {
		deny := &s.denies[i]
		if (len(deny.paths) > 0 || len(deny.query) > 0) && deny.covers(r.Protocol, d.Host, r.Port).answer == yes {
			return deny.name
		}
	}
	return ""
}

// Connect decides whether a connection to a port may be opened. What is then said on
// it is decided again, request by request, unless the route's protocol is TCP.
func (s *Set) Connect(name string, port int) Decision { return s.connect(name, port, nil) }

func (s *Set) connect(name string, port int, told func(*rule, finding)) Decision {
	host, err := ParseHost(name)
	if err != nil {
		return refuse("", err.Error())
	}
	for i := range s.denies {
		d := &s.denies[i]
		if !d.whole() {
			continue // it is about requests
		}
		f := d.covers("", host, port)
		tell(told, d, f)
		if f.answer == yes {
			return refuse(host, fmt.Sprintf("%s refuses port %d of %s", d.name, port, host))
		}
	}
	known := false
	for i := range s.routes {
		f := s.routes[i].covers(s.routes[i].protocol, host, port)
		tell(told, &s.routes[i], f)
		if f.answer == yes {
			return s.allow(host, i)
		}
		known = known || f.field != "host"
	}
	if known {
		return refuse(host, fmt.Sprintf(noRoute+"port %d of %s", port, host))
	}
	return refuse(host, noRoute+host)
}

// Request decides about one HTTP request. Deny rules come first, then routes in order.
func (s *Set) Request(r Request) Decision { return s.decide(r, nil) }

// decide is the one place where requests are decided, for egress and for Explain: told
// is nil, or told what came of each rule.
func (s *Set) decide(r Request, told func(*rule, finding)) Decision {
	q, err := normalize(r)
	if err != nil {
		return refuse(q.host, err.Error())
	}
	undecided, reason := "", ""
	for i := range s.denies {
		d := &s.denies[i]
		f := d.check(q)
		tell(told, d, f)
		switch f.answer {
		case yes, unclear:
			return refuse(q.host, d.refusal(f))
		case unread:
			undecided = d.name
		}
	}
	for i := range s.routes {
		route := &s.routes[i]
		f := route.check(q)
		tell(told, route, f)
		switch {
		case f.answer == unread:
			return needBody(q.host, route.name)
		case f.answer == yes && undecided != "":
			return needBody(q.host, undecided)
		case f.answer == yes:
			return s.allow(q.host, i)
		case f.field != "host" && f.field != "port" && f.field != "protocol":
			reason = fmt.Sprintf(theRoute+"%s %s", route.host, route.why(f))
		}
	}
	if reason == "" {
		reason = fmt.Sprintf(noRoute+"%s://%s:%d", q.protocol, q.host, q.port)
	}
	return refuse(q.host, reason)
}

func tell(told func(*rule, finding), r *rule, f finding) {
	if told != nil {
		told(r, f)
	}
}

func needBody(host, rule string) Decision {
	d := refuse(host, rule+" is about the body, which was not looked at")
	d.NeedBody = MaxBody
	return d
}

// normalize is the one normalisation, before any rule is looked at.
func normalize(r Request) (*request, error) {
	q := &request{protocol: r.Protocol, port: r.Port, method: r.Method, body: r.Body}
	var err error
	if q.host, err = ParseHost(r.Host); err != nil {
		return q, err
	}
	if r.Protocol != HTTPS && r.Protocol != HTTP {
		return q, fmt.Errorf("protocol %q has no requests", r.Protocol)
	}
	if !token(r.Method) {
		return q, fmt.Errorf("method %q is not a word", r.Method)
	}
	if q.target, err = parseTarget(r.Target); err != nil {
		return q, err
	}
	if r.Body != nil && len(r.Body.Data) > 0 {
		q.document, q.noJSON = r.Body.document()
	}
	return q, nil
}

// refusal says why a deny rule decided.
func (r *rule) refusal(f finding) string {
	if f.answer == unclear {
		return fmt.Sprintf("%s may be meant: %s", r.name, f.why)
	}
	return r.name + " refuses it"
}

// why says what of a rule a request does not meet.
func (r *rule) why(f finding) string {
	allows := strings.TrimPrefix(allowsOnly, " ")
	if r.deny {
		allows = "is about "
	}
	switch f.field {
	case "host":
		return "is for another host"
	case "port":
		return fmt.Sprintf("is for port %d", r.port)
	case "protocol":
		return fmt.Sprintf("is for protocol %s", r.protocol)
	case "method":
		return allows + strings.Join(r.methods, ", ")
	case "path":
		return allows + "the paths " + r.globText()
	}
	return "does not match: " + f.why
}

func (r *rule) globText() string {
	raw := make([]string, len(r.paths))
	for i, g := range r.paths {
		raw[i] = g.raw
	}
	return strings.Join(raw, " ")
}

// Ports lists the ports that routes name, sorted.
func (s *Set) Ports() []int {
	var ports []int
	for _, r := range s.routes {
		ports = append(ports, r.port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
