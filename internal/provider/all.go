package provider

import (
	"fmt"
	"strings"
)

// all are the providers that there are.
func all() []Provider { return []Provider{claude()} }

// For returns the provider of a template.
func For(template string) (Provider, error) {
	var known []string
	for _, p := range all() {
		if p.Template == template {
			return p, nil
		}
		known = append(known, p.Template)
	}
	return Provider{}, fmt.Errorf("agent_provider.template %s is not supported yet (supported: %s)", template, strings.Join(known, ", "))
}
