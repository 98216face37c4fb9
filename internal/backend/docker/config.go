package docker

import (
	"fmt"

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
	if p.Resume {
		if config.Requests, err = d.State.Requests(p.Identity); err != nil {
			return config, err
		}
	}
	return config, nil
}
