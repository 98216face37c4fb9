package docker

import (
	"fmt"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
)

// bundleConfig is the document for the bundle's standard input. The CA's key is in
// it and nowhere else; this process forgets it with the document.
func (d *Driver) bundleConfig(p Plan, ca pki.CA, log control.Log) (control.BundleConfig, error) {
	roots, err := d.Roots()
	if err != nil {
		return control.BundleConfig{}, fmt.Errorf("cannot read this host's certificates for egress: %w", err)
	}
	egress := &control.EgressConfig{
		Bottle: p.Identity, Routes: p.Routes, Deny: p.Deny, Limits: p.Limits, Scan: p.Scan, Supervised: p.Supervise, Proxy: p.Proxy,
		CACert: ca.CertPEM, CAKey: ca.KeyPEM, Roots: roots,
	}
	for _, name := range p.secretNames() {
		egress.Secrets = append(egress.Secrets, control.Secret{
			Name: name, Value: p.Secrets[name].Reveal(), Placeholder: p.Placeholders[name],
		})
	}
	config := control.BundleConfig{Bottle: p.Identity, Log: log, Egress: egress, Supervise: p.Supervise}
	if p.gate() {
		config.Git = p.gitConfig(egress)
	}
	if p.Resume {
		if config.Requests, err = d.State.Requests(p.Identity); err != nil {
			return config, err
		}
	}
	return config, nil
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
