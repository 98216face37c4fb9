package docker

import (
	"io"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// Plan is a bottle resolved for this engine. It can be printed as it is: secrets are
// secret.Values.
type Plan struct {
	resolve.Plan

	Runtime        string // engine's name of the runtime; "" is the engine's default
	DefaultRuntime string // what that default is
	RuntimeNote    string
	OwnLoopback    bool // the runtime brings loopback up by itself
	SELinux        bool
	Engine         string // the engine's own id, for caches
}

// WriteSummary writes the preflight; of a resumed bottle, also what has changed since.
func (p Plan) WriteSummary(w io.Writer) error { return p.Plan.WriteSummary(w, p.own()) }

// summary is the preflight as it is recorded.
func (p Plan) summary() string { return p.Summary(p.own()) }

func (p Plan) own() resolve.Own {
	return resolve.Own{Runtime: p.runtimeLine(), Keeps: strings.Join([]string{
		resource(p.Identity, roleHome) + " at " + provider.Home, resource(p.Identity, roleWorkspace) + " at " + provider.Workspace,
	}, ", ")}
}

func (p Plan) runtimeLine() string {
	name := p.Runtime
	if name == "" {
		name = "the engine's default"
	}
	if p.RuntimeNote != "" {
		return name + " (" + p.RuntimeNote + ")"
	}
	return name
}
