package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Proxy is the operator's own, through which egress reaches upstreams (CONNECT, RFC 9110
// §9.3.6). It widens nothing: what a bottle may reach is decided before.
type Proxy struct {
	URL     string     `json:"url"` // http://host:port or https://host:port, and nothing else
	Auth    *ProxyAuth `json:"auth,omitempty"`
	CA      string     `json:"ca,omitempty"`       // PEM, extra trust for an https proxy
	NoProxy []string   `json:"no_proxy,omitempty"` // what is dialled directly: hosts, patterns as in a route, addresses, CIDRs
}

// ProxyAuth is what the proxy asks for (Basic). It never holds the credential itself.
type ProxyAuth struct {
	User   string `json:"user"`
	Secret string `json:"secret"` // a name in the bottle's secrets
}

// Endpoint is where a proxy listens.
type Endpoint struct {
	Secure bool   // it is spoken to over TLS
	Host   string // a name or an address
	Port   int
}

// String is host:port.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Endpoint takes the URL apart. No error repeats it: it may hold a password.
func (p *Proxy) Endpoint() (Endpoint, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return Endpoint{}, errors.New("the url must be http://host:port or https://host:port")
	}
	if u.User != nil {
		return Endpoint{}, errors.New("the url holds a user or a password, which whoever sees the url would have: write auth: {user: …, secret: …}")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(p.URL, "#") {
		return Endpoint{}, errors.New("the url ends with the port: a proxy has no path")
	}
	e := Endpoint{Secure: u.Scheme == "https", Host: u.Hostname(), Port: 80}
	if e.Secure {
		e.Port = 443
	}
	if a, err := netip.ParseAddr(e.Host); err == nil {
		e.Host = a.Unmap().String()
	} else if e.Host, err = ParseHost(e.Host); err != nil {
		return Endpoint{}, fmt.Errorf("the url names no host: %w", err)
	}
	if digits := u.Port(); digits != "" || strings.HasSuffix(u.Host, ":") {
		port, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || port == 0 {
			return Endpoint{}, errors.New("the url's port is not between 1 and 65535")
		}
		e.Port = int(port)
	}
	return e, nil
}

// Check says all that is wrong. CA is not looked into.
func (p *Proxy) Check() []FieldError {
	return runSteps(p, []step[Proxy]{
		{"url", func(p *Proxy) error { _, err := p.Endpoint(); return err }},
		{"auth", func(p *Proxy) error { return p.Auth.check() }},
		{"ca", func(p *Proxy) error {
			if e, err := p.Endpoint(); err == nil && !e.Secure && p.CA != "" {
				return errors.New("a proxy at http:// has no certificate to check, so it takes no ca")
			}
			return nil
		}},
		{"no_proxy", func(p *Proxy) error {
			for _, s := range p.NoProxy {
				if _, err := parseBypass(s); err != nil {
					return err
				}
			}
			return nil
		}},
	})
}

func (a *ProxyAuth) check() error {
	switch {
	case a == nil:
		return nil
	case a.Secret == "":
		return errors.New("auth needs the name of a secret")
	case a.User == "" || strings.Contains(a.User, ":") || strings.ContainsFunc(a.User, control):
		return errors.New("auth needs a user, without a colon or control characters")
	}
	return nil
}

// bypass is one entry of no_proxy.
type bypass struct {
	network netip.Prefix // of addresses, or
	host    pattern      // a name
}

// parseBypass is less strict than a route: a host of one label, and a wildcard under one,
// are what internal names look like, and what goes directly goes past the guard.
func parseBypass(s string) (bypass, error) {
	if network, err := netip.ParsePrefix(s); err == nil && !network.Addr().Is4In6() {
		return bypass{network: network.Masked()}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return bypass{network: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	switch {
	case s == "*" || s == "**":
		return bypass{}, fmt.Errorf("no_proxy %q is everything: leave out upstream_proxy", s)
	case strings.HasPrefix(s, "."):
		return bypass{}, fmt.Errorf("no_proxy %q: write **%s for every name below it, and %s for itself", s, s, s[1:])
	case strings.ContainsAny(s, ":/"):
		return bypass{}, fmt.Errorf("no_proxy %q is no host, address or CIDR: it takes no port and no URL", s)
	}
	prefix, name := wildcard(s)
	host, err := ParseHost(name)
	if err != nil {
		return bypass{}, fmt.Errorf("no_proxy %q: %w", s, err)
	}
	return bypass{host: pattern(prefix + host)}, nil
}

// covers compares with a name or an address, as it stands: no name is resolved to be
// compared with an address, since asking for it would tell the resolver.
func (b bypass) covers(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return b.network.IsValid() && b.network.Contains(a.Unmap().WithZone(""))
	}
	return b.host != "" && b.host.matches(host)
}

// Carries reports whether a connection for a route's host goes through the proxy. A nil
// Proxy carries nothing.
func (p *Proxy) Carries(r *Route, host string) bool {
	if p == nil {
		return false
	}
	at := cmp.Or(r.dialled(), host)
	if near(at) {
		return false
	}
	return !slices.ContainsFunc(p.NoProxy, func(s string) bool {
		b, err := parseBypass(s)
		return err == nil && (b.covers(host) || b.covers(at))
	})
}

// dialled is the host of a route's address, "" where it has none.
func (r *Route) dialled() string {
	host, _, err := net.SplitHostPort(r.Address)
	if err != nil {
		return ""
	}
	return strings.Map(lowerASCII, host)
}

// near reports what is another machine's own when somebody else dials it: through a proxy,
// 127.0.0.1 would be the proxy.
func near(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// String is one line for people.
func (p Proxy) String() string {
	text := p.URL
	if p.Auth != nil {
		text += fmt.Sprintf(" as %s with %s", p.Auth.User, p.Auth.Secret)
	}
	if len(p.NoProxy) > 0 {
		text += ", but not to " + strings.Join(p.NoProxy, ", ")
	}
	return text
}
