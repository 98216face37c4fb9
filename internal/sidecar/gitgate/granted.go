package gitgate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// rights are what may be pushed to a mirror beside what is declared, as it is now. They may
// be used concurrently.
type rights struct {
	mu   sync.Mutex
	more []requests.PushGrant
	used map[string]int64 // by grant; ahead of what the parent has heard
	gone chan struct{}    // closed when the bottle does not have the repository any more
}

func newRights(more []requests.PushGrant) *rights {
	r := &rights{used: make(map[string]int64), gone: make(chan struct{})}
	r.set(more)
	return r
}

func (r *rights) set(more []requests.PushGrant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = more
	for _, g := range more {
		r.used[g.Grant] = max(r.used[g.Grant], g.Used)
	}
}

// live are the grants that have uses left.
func (r *rights) live() []requests.PushGrant {
	return slices.DeleteFunc(slices.Clone(r.more), func(g requests.PushGrant) bool { return g.Uses > 0 && r.used[g.Grant] >= g.Uses })
}

// checkUpdate says why an update is refused by what is declared and by every grant.
func (m *mirror) checkUpdate(u policy.RefUpdate) error {
	err := m.Push.CheckUpdate(u, m.refs)
	if err == nil {
		return nil
	}
	m.rights.mu.Lock()
	defer m.rights.mu.Unlock()
	for _, g := range m.rights.live() {
		granted := g.Push.CheckUpdate(u, m.refs)
		if granted == nil {
			return nil
		}
		names := policy.Push{Refs: g.Push.Refs, Force: true, Delete: true}
		if len(m.Push.Refs) == 0 || names.CheckUpdate(u, m.refs) == nil {
			err = granted // the grant is of this ref, and of something else with it
		}
	}
	return err
}

var (
	errUndeclared = errors.New("the repository is not declared any more")
	errNotAllowed = errors.New("it is not allowed any more")
	errMixed      = errors.New("its refs are allowed by different grants: push them one at a time")
)

// use takes the grant that a push needs, "" if it needs none, once more: give takes that
// back, for a push that came to nothing. What was allowed when the push was checked may have
// ended since.
func (m *mirror) use(updates []policy.RefUpdate) (grant string, give func(), err error) {
	m.rights.mu.Lock()
	defer m.rights.mu.Unlock()
	g, err := m.needs(updates)
	if err != nil || g.Grant == "" {
		return "", func() {}, err
	}
	m.rights.used[g.Grant]++
	return g.Grant, func() { m.rights.back(g.Grant) }, nil
}

// right is the grant that a push needs, as use takes it.
func (m *mirror) right(updates []policy.RefUpdate) (requests.PushGrant, error) {
	m.rights.mu.Lock()
	defer m.rights.mu.Unlock()
	return m.needs(updates)
}

// needs finds the grant that a push needs, the zero one if it needs none. The rights are locked.
func (m *mirror) needs(updates []policy.RefUpdate) (none requests.PushGrant, err error) {
	if m.rights.over() {
		return none, errUndeclared
	}
	needy := slices.DeleteFunc(slices.Clone(updates), func(u policy.RefUpdate) bool { return m.Push.CheckUpdate(u, m.refs) == nil })
	if len(needy) == 0 {
		return none, nil
	}
	covered := 0
	for _, g := range m.rights.live() {
		closed := slices.DeleteFunc(slices.Clone(needy), func(u policy.RefUpdate) bool { return g.Push.CheckUpdate(u, m.refs) == nil })
		if len(closed) > 0 {
			covered += len(needy) - len(closed)
			continue
		}
		return g, nil
	}
	if covered > 0 {
		return none, errMixed
	}
	return none, errNotAllowed
}

// over reports whether the bottle does not have the repository any more.
func (r *rights) over() bool {
	select {
	case <-r.gone:
		return true
	default:
		return false
	}
}

func (r *rights) back(grant string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[grant]--
}

// within is ctx for as long as the bottle has the repository.
func (m *mirror) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	gone := m.rights.gone
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Apply puts other repositories, other rights and other secrets to look for in force. What a repository that is gone
// still sends or gets is ended; a push that was checked and not yet forwarded is refused.
func (s *Server) Apply(config control.GitConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	check := s.checks.Load()
	if !check.knows(config) {
		var err error
		if check, err = newChecker(config); err != nil {
			return err
		}
	}
	var all []*mirror
	var fresh []*mirror
	for _, r := range config.Repositories {
		if i := slices.IndexFunc(s.all, func(m *mirror) bool { return sameRepository(m.GitRepository, r) }); i >= 0 {
			all = append(all, s.all[i])
			continue
		}
		m, err := newMirror(r, config, s.Options, s.volume)
		if err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		all, fresh = append(all, m), append(fresh, m)
	}
	for _, m := range s.all {
		if !slices.Contains(all, m) {
			m.rights.end()
			go m.leave() // which waits for what is being forwarded
			if !slices.ContainsFunc(fresh, func(f *mirror) bool { return f.dir == m.dir }) {
				_ = os.RemoveAll(filepath.Dir(m.upstream.config)) // its credential
			}
		}
	}
	for i, m := range all {
		m.rights.set(config.Repositories[i].More)
	}
	s.checkWith(check)
	s.put(all)
	close(s.leads.replaced)
	s.leads = newLeads(config.Rewrites)
	return nil
}

// put makes repositories those that there are. The caller has the lock, or the server for
// itself.
func (s *Server) put(all []*mirror) {
	s.all, s.mirrors = all, make(map[string]*mirror)
	for _, m := range all {
		s.hide(m.Password)
		s.hide(basic(m.GitRepository))
		for _, place := range m.Places {
			s.mirrors[place] = m
		}
	}
}

func (r *rights) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = nil
	close(r.gone)
}

// sameRepository compares all but what is granted.
func sameRepository(a, b control.GitRepository) bool {
	a.More, b.More = nil, nil
	return reflect.DeepEqual(a, b)
}

// directory is what a repository's files are called: that of a granted one is named after
// its place, which has slashes in it.
func directory(r control.GitRepository) string {
	if !strings.Contains(r.Name, "/") {
		return r.Name
	}
	sum := sha256.Sum256([]byte(r.Name + "\x00" + r.Upstream))
	return "granted-" + hex.EncodeToString(sum[:8])
}

// howToAsk is the ready-made call of the operator's MCP server, for who may ask.
func (s *Server) howToAsk(arguments string) string {
	if !s.config.Supervised {
		return "The operator declares repositories, and what may be pushed, in the bottle's manifest, under git."
	}
	return `If you need it, call request_git of the MCP server "operator" with ` + arguments + ` and why you need it.`
}

// askForRefs is the call for refs that were refused.
func (p *push) askForRefs(v *verdict) {
	var refs []string
	var force, gone bool
	for _, u := range v.updates {
		if p.mirror.checkUpdate(u) == nil || (policy.Push{Refs: []string{u.Ref}, Force: true, Delete: true}).CheckUpdate(u, p.mirror.refs) != nil {
			continue // allowed, or never
		}
		refs = append(refs, fmt.Sprintf("%q", printable(u.Ref)))
		force, gone = force || u.Forced, gone || u.New == ""
	}
	if len(refs) == 0 || len(refs) > 16 {
		return
	}
	more := ""
	if force {
		more += `,"force":true`
	}
	if gone {
		more += `,"delete":true`
	}
	v.advise(p.server.howToAsk(fmt.Sprintf(`{"repository":%q,"refs":[%s]%s}`, p.mirror.Name, strings.Join(refs, ","), more)))
}

// urlOf is how a place that nobody declared would be asked for.
func urlOf(place string) string {
	host, path, ok := strings.Cut(strings.TrimSuffix(place, ".git"), "/")
	if _, err := policy.ParseHost(host); !ok || err != nil || !strings.Contains(host, ".") || path == "" || strings.Trim(strings.ToLower(path), "abcdefghijklmnopqrstuvwxyz0123456789._~/+-") != "" {
		return "URL"
	}
	return "https://" + host + "/" + path
}
