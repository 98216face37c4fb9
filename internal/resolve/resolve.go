package resolve

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/login"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// For resolves a Spec for a backend, but for what the agent is told, which a resume may
// change: ResolveAgent comes after that.
func For(ctx context.Context, s bottle.Spec, cli provider.Provider, owner, backend string) (Plan, error) {
	p := describe(s, owner, backend)
	if s.CopyCwd {
		source, err := provision.FindRepository(ctx, s.Cwd, s.Dirty)
		if err != nil {
			return Plan{}, err
		}
		p.Source = &source
	}
	return p, p.resolveRoutes(s.Resolved, cli)
}

// describe copies what needs no resolving.
func describe(s bottle.Spec, owner, backend string) Plan {
	b := s.Resolved.Bottle
	p := Plan{
		Identity: s.Identity, Agent: s.Agent, Bottle: b.Name, Owner: owner, Backend: backend, CLI: b.Provider.Template,
		CPUs: b.Resources.CPUs, Memory: b.Resources.Memory, PIDs: b.Resources.PIDs,
		Env: b.Env, Skills: slices.Clone(s.Resolved.Skills), GitIdentity: s.Resolved.Agent.GitIdentity, Git: s.Resolved.Repositories,
		Prompt: s.Resolved.Agent.Prompt, Secrets: s.Resolved.Secrets, Manifest: s.Resolved.Digest(),
		Supervise: b.Supervise,
		TTY:       s.TTY, Stdin: s.Stdin, Remove: s.Remove, Term: s.Term, Size: s.Size, Detached: s.Detached,
	}
	if p.Memory == 0 {
		p.Memory = defaultMemory
	}
	if p.PIDs == 0 {
		p.PIDs = defaultPIDs
	}
	return p
}

// resolveRoutes normalises the manifest's routes, reads their CAs, and adds the
// provider's own route when the bottle holds its credential and says nothing else
// about its host.
func (p *Plan) resolveRoutes(r bottle.Resolved, cli provider.Provider) error {
	routes := slices.Clone(r.Bottle.Routes)
	cred, ok := chosenCredential(r, cli)
	if ok && !slices.ContainsFunc(routes, sameHost(cred.Route)) {
		routes = append(routes, cred.Route)
	}
	p.Credential, p.Withheld = cred.Name, others(cli.Credentials, cred)
	if !ok {
		p.Wanted = p.Withheld
	}
	for _, route := range routes {
		normal, err := route.Normalize()
		if err != nil {
			return fmt.Errorf("bottle %s: %w", p.Bottle, err)
		}
		if route.CA != "" {
			pem, err := os.ReadFile(route.CA)
			if err != nil {
				return fmt.Errorf("route %s: cannot read its ca: %w", route.Host, err)
			}
			normal.CA = string(pem)
		}
		p.Routes = append(p.Routes, normal)
	}
	p.Deny, p.Limits, p.Scan = r.Bottle.Deny, r.Bottle.Limits, r.Bottle.Scan
	if err := p.resolveProxy(r.Bottle.Proxy); err != nil {
		return err
	}
	p.Placeholders = make(map[string]string, len(p.Secrets))
	for name := range p.Secrets {
		p.Placeholders[name] = provider.Placeholder(name)
	}
	return nil
}

// resolveProxy reads the CA of the operator's proxy.
func (p *Plan) resolveProxy(proxy *policy.Proxy) error {
	if proxy == nil {
		return nil
	}
	resolved := *proxy
	if resolved.CA != "" {
		pem, err := os.ReadFile(resolved.CA)
		if err != nil {
			return fmt.Errorf("upstream_proxy: cannot read its ca: %w", err)
		}
		resolved.CA = string(pem)
	}
	p.Proxy = &resolved
	return nil
}

// chosenCredential is the provider's credential that a manifest's route names, else
// the first in the provider's order that the bottle holds.
func chosenCredential(r bottle.Resolved, cli provider.Provider) (provider.Credential, bool) {
	held := slices.DeleteFunc(slices.Clone(cli.Credentials), func(c provider.Credential) bool {
		_, ok := r.Secrets[c.Name]
		return !ok
	})
	for _, cred := range held {
		if slices.ContainsFunc(r.Bottle.Routes, func(route policy.Route) bool { return route.Auth != nil && route.Auth.Secret == cred.Name }) {
			return cred, true
		}
	}
	if len(held) == 0 {
		return provider.Credential{}, false
	}
	return held[0], true
}

// others are the provider's credentials that the agent must not see: with two of
// them, a CLI would choose by itself which one to use (ATTACKS C12).
func others(all []provider.Credential, chosen provider.Credential) []string {
	var names []string
	for _, c := range all {
		if c.Name != chosen.Name {
			names = append(names, c.Name)
		}
	}
	return names
}

func sameHost(r policy.Route) func(policy.Route) bool {
	return func(other policy.Route) bool { return strings.EqualFold(other.Host, r.Host) }
}

// resolveAccount reads whose login the agent's credential is, which its command line wants to
// know.
func (p *Plan) resolveAccount(cli provider.Provider) error {
	if p.Credential == "" || p.Credential != cli.Login {
		return nil
	}
	var ok bool
	if p.Account, ok = login.AccountOf(p.Secrets[p.Credential].Reveal()); !ok {
		return fmt.Errorf("secret %s is no access token of a login: it names no account; say %[1]s: {login: codex}", p.Credential)
	}
	return nil
}

// ResolveAgent asks the provider for the agent's command line, environment and files.
func (p *Plan) ResolveAgent(s bottle.Spec, cli provider.Provider) error {
	if err := p.resolveAccount(cli); err != nil {
		return err
	}
	if s.RemoteControl && !cli.Remote {
		return fmt.Errorf("--remote-control: %s cannot be controlled from its vendor's app", cli.Template)
	}
	notes := []string{p.Prompt}
	if p.Supervise {
		notes = append(notes, provision.SuperviseNote)
	}
	var skills []string
	for i, skill := range p.Skills {
		p.Skills[i].Target = cli.SkillDir(skill.Name)
		skills = append(skills, skill.Name)
	}
	notes = append(notes, provision.GitNote(p.Git), cli.SkillsNote(skills))
	p.Prompt = paragraphs(notes)
	p.Provider = cli.Setup(provider.Input{
		Credential:    p.Credential,
		Account:       p.Account,
		Placeholders:  p.Placeholders,
		Prompt:        p.Prompt,
		RemoteControl: s.RemoteControl,
		Supervise:     p.Supervise,
		Continue:      p.Resume,
		Interactive:   s.TTY,
		Args:          slices.Concat(s.Resolved.Agent.Args, s.Args),
	})
	if len(s.Instead) > 0 {
		p.Provider.Argv = s.Instead
	}
	return nil
}

// paragraphs are those texts that hold something, a line between each.
func paragraphs(texts []string) string {
	var all []string
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, "\n\n")
}

// ResumeFrom makes a plan one for the bottle that a record is of: it knows its placeholders, of
// which the agent's files at home are full.
func (p *Plan) ResumeFrom(record state.Metadata) {
	p.Resume, p.Remove, p.Before = true, record.Remove, record.Preflight
	p.Settle = record.Provider != p.CLI
	for name := range p.Placeholders {
		if known := record.Placeholders[name]; known != "" {
			p.Placeholders[name] = known
		} else {
			p.Settle = true
		}
	}
}
