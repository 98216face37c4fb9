package docker

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
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
	if file := s.Resolved.Bottle.Provider.Archive; file != "" {
		return Plan{}, fmt.Errorf("agent_provider.archive %s is for the smolmachines backend (load it with docker load, and name it as agent_provider.image)", file)
	}
	shared, err := resolve.For(ctx, s, cli, owner, d.Name())
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Plan: shared, Engine: info.Info.ID}
	p.Versions = map[string]string{"bot-bottle": d.Version, "engine": info.Info.ServerVersion}
	if err := p.resolveEngine(info.Info, s.Resolved.Bottle.Runtime); err != nil {
		return Plan{}, err
	}
	if err := d.resolvePipelock(ctx, &p, s.Resolved.Bottle.Pipelock, info.Info); err != nil {
		return Plan{}, err
	}
	if s.Resume {
		if err := d.resolveResume(ctx, &p); err != nil {
			return Plan{}, err
		}
	}
	if err := p.ResolveAgent(s, cli); err != nil {
		return Plan{}, err
	}
	if err := d.resolveImage(ctx, &p, cli, s); err != nil || !s.Resume {
		return p, err
	}
	return p, d.resolveLayers(&p)
}

// resolveLayers finds what a resumed bottle's image is given on top.
func (d *Driver) resolveLayers(p *Plan) error {
	asked, err := d.State.Requests(p.Identity)
	if err != nil {
		return err
	}
	approved, err := p.Approved(asked)
	for _, r := range approved {
		p.OnTop = append(p.OnTop, r.ID)
	}
	return err
}

// resolveEngine chooses the runtime. Sockets are the bottle's only way out, so a
// runsc that cannot open the host's is of no use. It refuses a number of CPUs that the engine would refuse.
func (p *Plan) resolveEngine(info system.Info, want manifest.Runtime) error {
	if info.NCPU > 0 && p.CPUs > float64(info.NCPU) {
		return fmt.Errorf("resources.cpus is %g, and the engine has %d CPUs", p.CPUs, info.NCPU)
	}
	p.SELinux = labels(info)
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

// resolveImage finds out what the agent will run and whether it must be built first.
func (d *Driver) resolveImage(ctx context.Context, p *Plan, cli provider.Provider, s bottle.Spec) error {
	if err := p.ResolveImage(d.Images, cli, s); err != nil || !p.Ours() {
		return err
	}
	_, err := d.Client.ImageInspect(ctx, p.Image)
	if errdefs.IsNotFound(err) {
		p.Build, err = true, nil
	}
	return err
}
