package requests

import (
	"fmt"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// showGit says what the bottle could do with repositories that it cannot now.
func (s *Shown) showGit(now policy.Policy, have []Repository) {
	g := s.Git
	address, _ := manifest.ParseAddress(g.Upstream)
	if g.New && g.Of == "" {
		s.Delta = append(s.Delta, fmt.Sprintf("+ repository %s, to clone and fetch, %s", g.Upstream, credentialText(*g, address)))
	}
	for _, ref := range g.Push.Refs {
		s.Delta = append(s.Delta, fmt.Sprintf("+ %s: %s", g.Repository, policy.Push{Refs: []string{ref}, Force: g.Push.Force, Delete: g.Push.Delete, Hold: g.Push.Hold}))
	}
	for _, r := range have {
		known, _ := manifest.ParseAddress(r.Upstream)
		if r.Name != g.Repository && known.Host != address.Host {
			continue
		}
		s.SoFar = append(s.SoFar, fmt.Sprintf("%s (%s): %s", r.Name, r.Upstream, r.Push))
		for _, more := range r.More {
			s.SoFar = append(s.SoFar, fmt.Sprintf("%s: %s, as %s", r.Name, more.Push, more.Grant))
		}
	}
	if g.Credential != "" && g.Credential != Supplied {
		s.Credentials = append(s.Credentials, "the credential of "+g.Credential)
	}
	s.gitRisks(now, have, address)
}

func credentialText(g Git, address manifest.Address) string {
	switch {
	case g.Credential == Supplied:
		return "with a credential that the operator supplies"
	case g.Credential != "":
		return "with the credential of " + g.Credential
	case address.Scheme == "ssh":
		return "with a key that you supply"
	}
	return "without a credential"
}

// gitRisks are notes by rule, the worst first.
func (s *Shown) gitRisks(now policy.Policy, have []Repository, address manifest.Address) {
	g := s.Git
	note := func(format string, args ...any) { s.Risks = append(s.Risks, fmt.Sprintf(format, args...)) }
	if g.New && g.Of == "" {
		hosts := now
		for _, r := range have {
			if known, ok := manifest.ParseAddress(r.Upstream); ok {
				hosts.Routes = append(hosts.Routes[:len(hosts.Routes):len(hosts.Routes)], policy.Route{Host: known.Host})
			}
		}
		hostRisks(address.Host, hosts, note)
		if g.Credential != "" && g.Credential != Supplied {
			note("the credential of %s would be used at another repository, with all the rights that it has there", g.Credential)
		}
		if address.Port != "" {
			note("port %s is not a usual one for %s", address.Port, address.Scheme)
		}
		if len(g.Push.Refs) > 0 {
			note("what is pushed to %s leaves the bottle for where it could not go before", g.Upstream)
		}
	}
	for _, branch := range g.Push.Opens() {
		note("%s is a protected branch: people build and release from it", branch)
	}
	for _, ref := range g.Push.Refs {
		if strings.HasPrefix(ref, "refs/tags/") {
			note("%s: releases are made of tags", ref)
		}
		if strings.Contains(ref, "*") {
			note("%s covers branches that are not yet there, and those of others that are", ref)
		}
	}
	if g.Push.Force {
		note("history may be rewritten there: commits that only the upstream has can be lost")
	}
	if g.Push.Delete {
		note("refs may be deleted there")
	}
}
