package policy

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// FieldError is one thing wrong with a rule.
type FieldError struct {
	Field string // as in the manifest; "" is the rule itself
	Err   error
}

func (e FieldError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e FieldError) Unwrap() error { return e.Err }

// step checks one field, and fills in its default.
type step[T any] struct {
	field string
	do    func(*T) error
}

func runSteps[T any](rule *T, steps []step[T]) []FieldError {
	var wrong []FieldError
	for _, s := range steps {
		if err := s.do(rule); err != nil {
			wrong = append(wrong, FieldError{s.field, err})
		}
	}
	return wrong
}

// Normalize checks a route and fills in its defaults. The error is one line that
// names the field. CA is left as it is.
func (r Route) Normalize() (Route, error) {
	r, wrong := r.Check()
	if len(wrong) == 0 {
		return r, nil
	}
	if wrong[0].Field == "host" {
		return r, fmt.Errorf("route: %w", wrong[0].Err)
	}
	return r, fmt.Errorf("route %s: %w", r.Host, wrong[0].Err)
}

// Check does the same and returns all that is wrong.
func (r Route) Check() (Route, []FieldError) {
	wrong := runSteps(&r, []step[Route]{
		{"host", normalizeHost}, {"protocol", normalizeProtocol}, {"port", normalizePort},
		{"methods", func(r *Route) (err error) { r.Methods, err = normalMethods(r.Methods); return err }},
		{"paths", func(r *Route) error { return checkPaths(r.Paths) }},
		{"query", func(r *Route) error { return checkConditions(r.Query, checkParameter) }},
		{"body", func(r *Route) error { return checkConditions(r.Body, checkField) }},
		{"deny", normalizeDeny}, {"limits", checkLimits},
		{"auth", normalizeAuth}, {"address", checkAddress}, {"log_path", checkLogPath}, {"pipelock", checkPipelock},
	})
	return r, wrong
}

// Normalize checks a deny rule.
func (d Deny) Normalize() (Deny, error) {
	d, wrong := d.Check()
	if len(wrong) == 0 {
		return d, nil
	}
	return d, fmt.Errorf("deny: %w", wrong[0].Err)
}

// Check does the same and returns all that is wrong.
func (d Deny) Check() (Deny, []FieldError) {
	wrong := runSteps(&d, []step[Deny]{
		{"", func(d *Deny) error {
			if d.Host == "" && d.Port == 0 && d.whole() {
				return errors.New("it names nothing, so it would deny everything")
			}
			return nil
		}},
		{"host", func(d *Deny) error {
			if d.Host == "" {
				return nil
			}
			host, err := parsePattern(d.Host)
			d.Host = string(host)
			return err
		}},
		{"port", func(d *Deny) error { return checkPort(d.Port, 0) }},
		{"methods", func(d *Deny) (err error) { d.Methods, err = normalMethods(d.Methods); return err }},
		{"paths", func(d *Deny) error { return checkPaths(d.Paths) }},
		{"query", func(d *Deny) error { return checkConditions(d.Query, checkParameter) }},
		{"body", func(d *Deny) error { return checkConditions(d.Body, checkField) }},
	})
	return d, wrong
}

// whole reports whether there is no condition about requests.
func (d *Deny) whole() bool {
	return len(d.Methods) == 0 && len(d.Paths) == 0 && len(d.Query) == 0 && len(d.Body) == 0
}

func checkLimits(r *Route) error {
	if err := r.Limits.Check(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	return nil
}

func normalizeHost(r *Route) error {
	host, err := parsePattern(r.Host)
	if err == nil {
		r.Host = string(host)
	}
	return err
}

// normalizeDeny checks the deny rules of a route, which name neither host nor port.
func normalizeDeny(r *Route) error {
	r.Deny = slices.Clone(r.Deny)
	for i, d := range r.Deny {
		switch normal, wrong := d.Check(); {
		case d.Host != "" || d.Port != 0:
			return errors.New("a deny rule in a route is about its host and port, and names none")
		case d.whole():
			return errors.New("a deny rule in a route needs one of methods, paths, query, body")
		case len(wrong) > 0:
			return fmt.Errorf("deny: %s: %w", wrong[0].Field, wrong[0].Err)
		default:
			r.Deny[i] = normal
		}
	}
	return nil
}

func normalizeProtocol(r *Route) error {
	switch r.Protocol {
	case "":
		r.Protocol = HTTPS
	case HTTPS, HTTP, TCP:
	default:
		return fmt.Errorf("protocol %q is none of https, http, tcp", r.Protocol)
	}
	if r.Protocol == TCP && (len(r.Methods) > 0 || len(r.Paths) > 0 || len(r.Query) > 0 || len(r.Body) > 0 || len(r.Deny) > 0 || r.Auth != nil || r.CA != "") {
		return errors.New("protocol tcp is not inspected, so it takes no methods, paths, query, body, deny, auth or ca")
	}
	if r.Protocol == HTTP && r.CA != "" {
		return errors.New("protocol http has no certificate to check, so it takes no ca")
	}
	if r.Protocol == HTTP && r.Auth != nil && !r.Private {
		return errors.New("protocol http would send the credential in clear; only a private route may")
	}
	return nil
}

func normalizePort(r *Route) error {
	if r.Port == 0 {
		switch r.Protocol {
		case HTTPS:
			r.Port = 443
		case HTTP:
			r.Port = 80
		case TCP:
			return errors.New("protocol tcp needs a port")
		default:
			return nil // the protocol is wrong
		}
	}
	return checkPort(r.Port, 1)
}

func checkPort(port, least int) error {
	if port < least || port > 65535 {
		return fmt.Errorf("port %d is not between 1 and 65535", port)
	}
	return nil
}

func normalMethods(methods []string) ([]string, error) {
	methods = slices.Clone(methods)
	for i, method := range methods {
		if !token(method) {
			return methods, fmt.Errorf("method %q is not a word", method)
		}
		methods[i] = strings.ToUpper(method)
	}
	return methods, nil
}

func checkPaths(globs []string) error {
	for _, s := range globs {
		if _, err := parseGlob(s); err != nil {
			return fmt.Errorf("path %q: %w", s, err)
		}
	}
	return nil
}

// framing headers decide where a request goes and where it ends; no credential is
// ever one of them.
var framing = []string{
	"Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Upgrade", "Te",
	"Trailer", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Expect", "Accept-Encoding",
}

func normalizeAuth(r *Route) error {
	if r.Auth == nil {
		return nil
	}
	auth := *r.Auth
	r.Auth = &auth
	if auth.Secret == "" {
		return errors.New("auth needs the name of a secret")
	}
	if given := auth.unused(); given != "" {
		return fmt.Errorf("auth scheme %s takes no %s", auth.Scheme, given)
	}
	if i := slices.IndexFunc(auth.FormFields, func(f string) bool { return checkParameter(f) != nil }); i >= 0 {
		return fmt.Errorf("auth form_fields: %q is not the name of a field", auth.FormFields[i])
	}
	switch auth.Scheme {
	case Bearer, Placeholder:
	case Basic:
		if strings.ContainsAny(auth.User, ":\r\n\x00") {
			return errors.New("auth user holds no colon")
		}
	case Header:
		named := func(f string) bool { return strings.EqualFold(f, auth.Header) }
		if !token(auth.Header) || slices.ContainsFunc(framing, named) {
			return fmt.Errorf("auth header %q cannot carry a credential", auth.Header)
		}
	case Query:
		return checkAuthParameter(r)
	default:
		return fmt.Errorf("auth scheme %q is none of bearer, basic, header, query, placeholder", auth.Scheme)
	}
	return nil
}

// unused names a field that the scheme has no use for, "" if there is none.
func (a *Auth) unused() string {
	switch {
	case a.Header != "" && a.Scheme != Header:
		return "header"
	case a.User != "" && a.Scheme != Basic:
		return "user"
	case a.Parameter != "" && a.Scheme != Query:
		return "parameter"
	}
	return ""
}

// checkAuthParameter refuses a parameter that a condition looks at: what was matched is
// what is sent.
func checkAuthParameter(r *Route) error {
	name := r.Auth.Parameter
	if err := checkParameter(name); err != nil {
		return fmt.Errorf("auth parameter %q: %w", name, err)
	}
	for condition := range r.Query {
		if rivals(name, condition) {
			return fmt.Errorf("auth parameter %q is a condition of the query as well", name)
		}
	}
	return nil
}

func checkAddress(r *Route) error {
	if r.Address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return fmt.Errorf("address %q is not host:port", r.Address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("address %q: the port is not between 1 and 65535", r.Address)
	}
	if net.ParseIP(host) == nil {
		if _, err := ParseHost(host); err != nil {
			return fmt.Errorf("address %q: %w", r.Address, err)
		}
	}
	return nil
}

// MaxPipelockBudget is as much as egress holds of a body, in bytes.
const MaxPipelockBudget = 8 << 20

func checkPipelock(r *Route) error {
	p := r.Pipelock
	switch {
	case p == nil:
		return nil
	case p.Over != "" && p.Over != OverDeny && p.Over != OverAllow:
		return fmt.Errorf("pipelock: over %q is neither deny nor allow", p.Over)
	case p.Budget < 0 || p.Budget > MaxPipelockBudget:
		return fmt.Errorf("pipelock: a budget is at most %d MiB", MaxPipelockBudget>>20)
	case p.Off && *p != Pipelock{Off: true}:
		return errors.New("pipelock is off, so nothing else can be said of it")
	}
	return nil
}

func checkLogPath(r *Route) error {
	switch r.LogPath {
	case "", LogRedacted, LogFull, LogNone:
		return nil
	}
	return fmt.Errorf("log_path %q is none of redacted, full, none", r.LogPath)
}

// token reports whether s is one (RFC 9110 §5.6.2).
func token(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
