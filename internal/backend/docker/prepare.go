package docker

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// Prepare resolves a Spec against this engine. It creates nothing.
func (d *Driver) Prepare(ctx context.Context, s bottle.Spec) (Plan, error) {
	cli, err := provider.For(s.Resolved.Bottle.Provider.Template)
	if err != nil {
		return Plan{}, err
	}
	info, err := d.Client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Plan{}, &UnreachableError{Host: d.Client.DaemonHost(), Err: err}
	}
	owner, err := d.State.Owner()
	if err != nil {
		return Plan{}, err
	}
	p := d.describe(s, owner, info.Info.ID)
	p.Versions = map[string]string{"bot-bottle": d.Version, "engine": info.Info.ServerVersion}
	if s.CopyCwd {
		source, err := provision.FindRepository(ctx, s.Cwd, s.Dirty)
		if err != nil {
			return Plan{}, err
		}
		p.Source = &source
	}
	if err := p.resolveEngine(info.Info, s.Resolved.Bottle.Runtime); err != nil {
		return Plan{}, err
	}
	if err := p.resolveRoutes(s.Resolved, cli); err != nil {
		return Plan{}, err
	}
	if s.Resume {
		if err := d.resolveResume(ctx, &p); err != nil {
			return Plan{}, err
		}
	}
	p.resolveAgent(s, cli)
	return p, d.resolveImage(ctx, &p, cli, s)
}

// describe copies what needs no resolving.
func (d *Driver) describe(s bottle.Spec, owner, engine string) Plan {
	b := s.Resolved.Bottle
	p := Plan{
		Identity: s.Identity, Agent: s.Agent, Bottle: b.Name, Owner: owner, Backend: d.Name(), Engine: engine, CLI: b.Provider.Template,
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

// resolveEngine chooses the runtime. Sockets are the bottle's only way out, so a
// runsc that cannot open the host's is of no use.
func (p *Plan) resolveEngine(info system.Info, want manifest.Runtime) error {
	p.SELinux = slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=selinux") })
	p.DefaultRuntime = info.DefaultRuntime
	runsc, why := usableRunsc(info)
	switch want {
	case manifest.RuntimeRunc:
		p.Runtime = "runc"
	case manifest.RuntimeRunsc:
		if runsc == "" {
			return fmt.Errorf("runtime runsc cannot be used: %s", why)
		}
		p.Runtime = runsc
	default:
		p.Runtime = runsc
		if runsc == "" {
			p.RuntimeNote = "not gVisor: " + why
		}
	}
	p.OwnLoopback = isRunc(info, cmp.Or(p.Runtime, info.DefaultRuntime))
	return nil
}

// isRunc reports whether a runtime of the engine is runc, which brings loopback up in
// each network namespace that it makes. gVisor does not; of others we do not know.
func isRunc(info system.Info, name string) bool {
	program := filepath.Base(cmp.Or(info.Runtimes[name].Path, name))
	return program == "runc" || program == "io.containerd.runc.v2"
}

// usableRunsc names a gVisor runtime that can open the bottle's sockets, or says why
// there is none.
func usableRunsc(info system.Info) (name, why string) {
	why = "the engine lists no runtime runsc"
	for name, runtime := range info.Runtimes {
		if !strings.Contains(filepath.Base(runtime.Path), "runsc") && name != "runsc" {
			continue
		}
		for _, arg := range runtime.Args {
			if arg == "--host-uds=all" || arg == "--host-uds=open" {
				return name, ""
			}
		}
		why = fmt.Sprintf("the engine's runtime %s lacks --host-uds=all among its arguments", name)
	}
	return "", why
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
		p.Placeholders[name] = cli.Placeholder(name)
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

// resolveAgent asks the provider for the agent's command line, environment and files.
func (p *Plan) resolveAgent(s bottle.Spec, cli provider.Provider) {
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
		Placeholders:  p.Placeholders,
		Prompt:        p.Prompt,
		RemoteControl: s.RemoteControl,
		Supervise:     p.Supervise,
		Continue:      p.Resume,
		Interactive:   s.TTY,
		Args:          slices.Concat(s.Resolved.Agent.Args, s.Args),
	})
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

// resolveImage finds out what the agent will run and whether it must be built first.
func (d *Driver) resolveImage(ctx context.Context, p *Plan, cli provider.Provider, s bottle.Spec) error {
	ref, err := d.Images.Ref(cli.Image)
	if err != nil {
		return err
	}
	p.Template, p.Image, p.Program = cli.Image, ref, cli.Program
	p.Offline = s.Resolved.Bottle.Provider.Offline
	if p.Foreign = s.Resolved.Bottle.Provider.Image; p.Foreign != "" {
		p.Image = p.Foreign
		return nil
	}
	if file := s.Resolved.Bottle.Provider.Dockerfile; file != "" {
		p.Dockerfile = file
		if !filepath.IsAbs(file) {
			p.Dockerfile = filepath.Join(s.Cwd, file)
		}
		p.Image = p.Dockerfile + " on " + ref
		return nil
	}
	_, err = d.Client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		p.Build, err = true, nil
	}
	return err
}
