// Package resolve makes a plan of what an operator wants, as far as that is the same on every
// backend: routes, the agent's command line, its files and environment, the configuration of
// the sidecar bundle, and the preflight. A backend adds what only it knows.
//
// It creates nothing, and must never put a secret anywhere but into the bundle's
// configuration.
package resolve

import (
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/login"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Plan is what a Spec comes to, whichever backend it is for. It can be printed as it is:
// secrets are secret.Values.
type Plan struct {
	Identity, Agent, Bottle, Owner string
	Backend                        string
	Manifest                       string            // digest of what the manifest says
	Versions                       map[string]string // of what makes and runs the bottle

	Template   string   // image name, "claude"
	Dockerfile string   // absolute; "" without one of the operator's
	Foreign    string   // image of somebody's, by its digest; "" without one
	Program    string   // which the agent's image must have
	Offline    bool     // the Dockerfile's steps have no network
	Image      string   // reference that the agent runs, when known without building
	Build      bool     // the image is missing and will be built
	OnTop      []string // requests that were approved to change the image
	CLI        string   // the agent's provider
	Provider   provider.Setup

	CPUs   float64
	Memory int64
	PIDs   int64

	Env          map[string]string // the manifest's
	Prompt       string
	Skills       []bottle.Skill
	GitIdentity  manifest.GitIdentity
	Git          []bottle.Repository
	Routes       []policy.Route // normalised; CA holds PEM
	Deny         []policy.Deny
	Limits       *policy.Limits        // of all routes together; nil for none
	Scan         map[string]dlp.Action // by rule; the defaults are not in it
	Proxy        *policy.Proxy         // egress's way out; CA holds PEM; nil for none
	Secrets      map[string]secret.Value
	Placeholders map[string]string
	Pipelock     *Pipelock     // nil: the bottle has none
	Supervise    bool          // the agent may ask the operator for more
	Account      login.Account // whose login Credential is; its zero value where it is none
	Credential   string        // the provider's own, "" for none
	Withheld     []string      // the provider's other credentials, which the agent does not see
	Wanted       []string      // credentials of which the agent needs one and has none

	Resume bool   // home and workspace are there, as the bottle left them
	Before string // the preflight of its last run
	Settle bool   // of a resumed one: its provider or its credential is another one, so what the provider keeps at home is written anew

	TTY, Stdin, Remove bool
	Term               string
	Size               bottle.Size // of the terminal, at first
	Detached           bool
	Source             *provision.Source // the repository to bring into the workspace; nil for none
}

// Defaults where the manifest says nothing: enough for a large build, and an end to
// a fork bomb.
const (
	defaultMemory = 4 << 30
	defaultPIDs   = 1024
)

// secretNames lists the bottle's secrets, sorted.
func (p Plan) secretNames() []string {
	names := make([]string, 0, len(p.Secrets))
	for name := range p.Secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
