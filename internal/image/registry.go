package image

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// npmRegistry is the registry that npm uses on this host, "" for the usual one. A
// credential for it is not used: build arguments stand in a stage's history.
func (b Builder) npmRegistry() string {
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		if value := b.Getenv(name); value != "" {
			return value
		}
	}
	home := b.Getenv("HOME")
	if home == "" {
		return ""
	}
	config, err := os.ReadFile(filepath.Join(home, ".npmrc"))
	if err != nil {
		return "" // most hosts have none
	}
	return registryLine(config)
}

// registryLine finds the last registry= of an .npmrc.
func registryLine(config []byte) (registry string) {
	lines := bufio.NewScanner(bytes.NewReader(config))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if strings.TrimSpace(key) == "registry" {
			registry = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return registry
}
