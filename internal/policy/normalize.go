package policy

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Normalize checks a route and fills in its defaults. The error is one line that
// names the field. CA is left as it is.
func (r Route) Normalize() (Route, error) {
	host, err := parsePattern(r.Host)
	if err != nil {
		return r, fmt.Errorf("route: %w", err)
	}
	r.Host = string(host)
	for _, step := range []func(*Route) error{normalizeProtocol, normalizePort, normalizeMethods, checkPaths, normalizeAuth, checkAddress} {
		if err := step(&r); err != nil {
			return r, fmt.Errorf("route %s: %w", r.Host, err)
		}
	}
	return r, nil
}

func normalizeProtocol(r *Route) error {
	switch r.Protocol {
	case "":
		r.Protocol = HTTPS
	case HTTPS, HTTP, TCP:
	default:
		return fmt.Errorf("protocol %q is none of https, http, tcp", r.Protocol)
	}
	if r.Protocol == TCP && (len(r.Methods) > 0 || len(r.Paths) > 0 || r.Auth != nil || r.CA != "") {
		return errors.New("protocol tcp is not inspected, so it takes no methods, paths, auth or ca")
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
		default:
			return errors.New("protocol tcp needs a port")
		}
	}
	if r.Port < 1 || r.Port > 65535 {
		return fmt.Errorf("port %d is not between 1 and 65535", r.Port)
	}
	return nil
}

func normalizeMethods(r *Route) error {
	r.Methods = slices.Clone(r.Methods)
	for i, method := range r.Methods {
		if !token(method) {
			return fmt.Errorf("method %q is not a word", method)
		}
		r.Methods[i] = strings.ToUpper(method)
	}
	return nil
}

func checkPaths(r *Route) error {
	for _, glob := range r.Paths {
		if err := checkGlob(glob); err != nil {
			return fmt.Errorf("path %q: %w", glob, err)
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
	switch auth.Scheme {
	case Bearer, Basic:
		if auth.Header != "" {
			return fmt.Errorf("auth scheme %s takes no header", auth.Scheme)
		}
		if auth.Scheme == Bearer && auth.User != "" || strings.ContainsAny(auth.User, ":\r\n\x00") {
			return errors.New("auth user is for scheme basic, and holds no colon")
		}
	case Header:
		named := func(f string) bool { return strings.EqualFold(f, auth.Header) }
		if !token(auth.Header) || slices.ContainsFunc(framing, named) {
			return fmt.Errorf("auth header %q cannot carry a credential", auth.Header)
		}
	default:
		return fmt.Errorf("auth scheme %q is none of bearer, header, basic", auth.Scheme)
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

// token reports whether s is one (RFC 9110 §5.6.2).
func token(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
