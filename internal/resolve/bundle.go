package resolve

import (
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Gate reports whether the bottle has a git-gate: it has repositories, or may be given some, with the
// first of which the gate is started.
func (p Plan) Gate() bool { return len(p.Git) > 0 || p.Supervise }

// Services are those that the bundle runs.
func (p Plan) Services() []control.Service {
	all := []control.Service{control.Egress}
	if p.Gate() {
		all = append(all, control.GitGate)
	}
	if p.Pipelock != nil {
		all = append(all, control.Pipelock)
	}
	if p.Supervise {
		all = append(all, control.Supervise)
	}
	return all
}

// ServiceList is the same for a label.
func (p Plan) ServiceList() string {
	var names []string
	for _, s := range p.Services() {
		names = append(names, string(s))
	}
	return strings.Join(names, ",")
}

// Host is what the bundle's configuration needs besides the plan.
type Host struct {
	CA       pki.CA
	Roots    string // PEM, what the host trusts
	Log      control.Log
	Requests []requests.Request // of a bottle that is resumed
}

// BundleConfig is the document for the bundle's standard input. The CA's key is in it and
// nowhere else; this process forgets it with the document.
func (p Plan) BundleConfig(h Host) control.BundleConfig {
	egress := &control.EgressConfig{
		Bottle: p.Identity, Routes: p.Routes, Deny: p.Deny, Limits: p.Limits, Scan: p.Scan, Supervised: p.Supervise, Proxy: p.Proxy,
		CACert: h.CA.CertPEM, CAKey: h.CA.KeyPEM, Roots: h.Roots,
	}
	if p.Pipelock != nil {
		egress.Pipelock = &control.PipelockConfig{Dir: control.PipelockDir, MinVersion: p.Pipelock.MinVersion, Program: p.Pipelock.Program(), Answers: p.Pipelock.Answers}
	}
	for _, name := range p.secretNames() {
		egress.Secrets = append(egress.Secrets, control.Secret{
			Name: name, Value: p.Secrets[name].Reveal(), Placeholder: p.Placeholders[name],
		})
	}
	config := control.BundleConfig{Bottle: p.Identity, Log: h.Log, Egress: egress, Supervise: p.Supervise, Requests: h.Requests}
	if p.Gate() {
		config.Git = p.gitConfig(egress)
	}
	return config
}

// gitConfig is the gate's part. What must not be sent must not be pushed either.
func (p Plan) gitConfig(egress *control.EgressConfig) *control.GitConfig {
	c := &control.GitConfig{
		Bottle: p.Identity, Name: p.GitIdentity.Name, Email: p.GitIdentity.Email, Known: egress.Secrets, Scan: p.Scan, Supervised: p.Supervise, Roots: egress.Roots,
	}
	for _, r := range p.Git {
		c.Repositories = append(c.Repositories, control.GitRepository{
			Name: r.Name, Upstream: r.Upstream, Places: []string{strings.ToLower(r.Name), r.Address.Place()},
			Key: r.Key.Reveal(), KnownHosts: r.Hosts, HostKey: r.HostKey, User: r.User, Password: r.Password.Reveal(), CA: r.Trusted, SignKey: r.Signing.Reveal(), Push: r.Push,
		})
	}
	return c
}
