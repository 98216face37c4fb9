package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// rules are what egress goes by at one moment: the routes, the way out of each, and the
// secrets. They are immutable: a change makes new ones, and whoever has begun to decide
// goes on with those it began with.
type rules struct {
	revision int // another one for each change, also after a crash
	set      *policy.Set
	secrets  secrets
	scanner  *scanner
	inert    *strings.Replacer // takes out of a text what pipelock must not see
	routes   []*upstream       // one for each route, same index
	told     []string          // the hosts that some route, also one that is gone, puts a credential on
	all      *policy.Limits    // of the bottle; nil for none
	replaced chan struct{}     // closed when others have taken over
}

// credentialFor reports whether some route puts a credential on requests to a host, or did. What one
// route sends there, another may fetch.
func (r *rules) credentialFor(host string) bool {
	return slices.ContainsFunc(r.told, func(known string) bool { return policy.HostCovers(known, host) })
}

// tells notes whom a route tells a credential.
func (r *rules) tells(route policy.Route) {
	if route.Auth != nil && !slices.Contains(r.told, route.Host) {
		r.told = append(r.told, route.Host)
	}
}

// newRules checks a configuration. Ways out that a change leaves as they are keep their
// connections.
func (s *Server) newRules(cfg control.EgressConfig, old *rules) (*rules, error) {
	set, err := policy.New(cfg.Policy())
	if err != nil {
		return nil, err
	}
	secrets, err := newSecrets(cfg)
	if err == nil {
		err = s.guard.proxy.check(secrets)
	}
	if err != nil {
		return nil, err
	}
	next := &rules{revision: int(time.Now().UnixMilli()), set: set, secrets: secrets, all: cfg.Limits, replaced: make(chan struct{})}
	if old != nil {
		next.revision = old.revision + 1
		next.secrets.remember(old.secrets)
		next.told = slices.Clone(old.told)
	}
	next.secrets.echoes = newEchoes(next.secrets.needles)
	if next.scanner, err = newScanner(next.secrets, cfg, s.scans); err != nil {
		return nil, err
	}
	next.inert = newInert(next.secrets)
	for _, route := range cfg.Routes {
		u, err := s.upstreamFor(route, old)
		if err != nil {
			return nil, err
		}
		next.routes = append(next.routes, u)
		next.tells(u.route)
	}
	return next, nil
}

func (s *Server) upstreamFor(route policy.Route, old *rules) (*upstream, error) {
	u, err := s.newUpstream(route, s.roots)
	if err != nil || old == nil {
		return u, err
	}
	if i := slices.IndexFunc(old.routes, func(o *upstream) bool { return reflect.DeepEqual(o.route, u.route) }); i >= 0 {
		return old.routes[i], nil
	}
	return u, nil
}

// Apply puts a new policy and new secrets in force, all at once, and closes what is open and
// is not allowed as it was. The rest of cfg is not looked at: the upstream proxy stays, and pipelock. On error nothing has
// changed, but pipelock, which may be down. It may be called at any time, also concurrently.
func (s *Server) Apply(cfg control.EgressConfig) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	old := s.rules.Load()
	next, err := s.newRules(cfg, old)
	if err != nil {
		return err
	}
	if s.second != nil {
		if err := s.second.Allow(context.Background(), lookedInto(cfg)); err != nil {
			return err
		}
	}
	s.rules.Store(next)
	close(old.replaced)
	s.openings.review(next)
	for _, u := range old.routes {
		if !slices.Contains(next.routes, u) {
			u.transport.CloseIdleConnections()
		}
	}
	return nil
}

// rootPool is what upstreams are trusted by: the host's certificates, or where it sent
// none, those of this image.
func rootPool(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return x509.SystemCertPool()
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("the host's certificates cannot be read")
	}
	return pool, nil
}
