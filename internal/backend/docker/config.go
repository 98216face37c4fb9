package docker

import (
	"fmt"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// bundleConfig is the document for the bundle's standard input.
func (d *Driver) bundleConfig(p Plan, ca pki.CA, log control.Log) (control.BundleConfig, error) {
	roots, err := d.Roots()
	if err != nil {
		return control.BundleConfig{}, fmt.Errorf("cannot read this host's certificates for egress: %w", err)
	}
	h := resolve.Host{CA: ca, Roots: roots, Log: log}
	if p.Resume {
		if h.Requests, err = d.State.Requests(p.Identity); err != nil {
			return control.BundleConfig{}, err
		}
	}
	return p.BundleConfig(h), nil
}
