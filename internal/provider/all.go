package provider

import (
	"fmt"
	"strings"
)

// all are the providers that there are.
func all() []Provider { return []Provider{claude(), codex(), gemini(), opencode(), custom()} }

// For returns the provider of a template.
func For(template string) (Provider, error) {
	var known []string
	for _, p := range all() {
		if p.Template == template {
			return p, nil
		}
		known = append(known, p.Template)
	}
	return Provider{}, fmt.Errorf("agent_provider.template %s is not known (known: %s)", template, strings.Join(known, ", "))
}
