package prove

import (
	"context"
	"maps"
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Names of the secrets that a bottle gets to guard.
const (
	canaryName   = "PROVE_TOKEN"
	passwordName = "PROVE_GIT_TOKEN"
)

// guarded is a manifest in which an agent's bottle is as it was, and is given in addition what
// the attacks are about: routes to the stand-ins, a credential, a repository.
func (s *stage) guarded(m *manifest.Manifest, agent string) *manifest.Manifest {
	changed := *m
	changed.Agents, changed.Bottles = maps.Clone(m.Agents), maps.Clone(m.Bottles)
	if a := m.Agents[agent]; a.GitIdentity == (manifest.GitIdentity{}) { // git commits in nobody's name
		a.GitIdentity = manifest.GitIdentity{Name: "Prove", Email: "prove@prove.example"}
		changed.Agents[agent] = a
	}
	b := m.Bottles[m.Agents[agent].Bottle]
	b.Secrets = maps.Clone(b.Secrets)
	if b.Secrets == nil {
		b.Secrets = make(map[string]manifest.SecretSource)
	}
	b.Secrets[canaryName] = manifest.SecretSource{Env: canaryName}
	b.Secrets[passwordName] = manifest.SecretSource{Env: passwordName}
	b.Routes = slices.Concat(s.routes(), b.Routes)
	b.Git = append(slices.Clone(b.Git), manifest.GitRepo{
		Name: "prove", Upstream: s.git.URL(s.address, "work.git"), User: "prove", Secret: passwordName, CA: s.gitCA, Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
	})
	if b.Proxy != nil {
		proxy := *b.Proxy
		proxy.NoProxy = append(slices.Clone(proxy.NoProxy), s.address)
		b.Proxy = &proxy
	}
	changed.Bottles[b.Name] = b
	return &changed
}

// routes lead to the upstream.
func (s *stage) routes() []policy.Route {
	to := func(r policy.Route) policy.Route {
		r.Address, r.CA, r.Private, r.Paths = s.upstream.address, s.caFile, true, []string{"/open/**"}
		return r
	}
	return []policy.Route{
		to(policy.Route{Host: allowedHost, Methods: []string{"GET", "POST"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: canaryName}}),
		to(policy.Route{Host: otherHost, Methods: []string{"GET", "POST"}, Query: map[string]string{"bucket": "ours"}}),
		to(policy.Route{Host: "*." + wildHost, Methods: []string{"GET"}}),
		to(policy.Route{Host: limitedHost, Limits: &policy.Limits{Requests: limit}}),
	}
}

// resolver knows the stage's own secrets, and asks for the others where the manifest says.
func (s *stage) resolver(others bottle.SecretResolver) bottle.SecretResolver {
	return func(ctx context.Context, source manifest.SecretSource) (secret.Value, error) {
		switch source.Env {
		case canaryName:
			return secret.New(s.canary), nil
		case passwordName:
			return secret.New(s.password), nil
		}
		return others(ctx, source)
	}
}
