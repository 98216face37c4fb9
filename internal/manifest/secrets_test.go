package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeepersOfSecrets(t *testing.T) {
	home := tree(t, map[string]string{"bottles/b.md": `---
secrets:
  GH: {gh: github.com, ttl: 45m}
  KC: {keychain: "https://my/key", account: me@acme.example}
  OP: {onepassword: "op://Private/GitHub/token"}
  PW: {pass: work/github}
  SS: {secret_service: {service: github, user: me}}
---
`})
	b, err := load(t, home, "").Bottle("b")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]SecretSource{
		"GH": {Keeper: KeeperGH, Entry: []string{"github.com"}, TTL: 45 * time.Minute},
		"KC": {Keeper: KeeperKeychain, Entry: []string{"https://my/key"}, Account: "me@acme.example"},
		"OP": {Keeper: KeeperOnePassword, Entry: []string{"op://Private/GitHub/token"}},
		"PW": {Keeper: KeeperPass, Entry: []string{"work/github"}},
		"SS": {Keeper: KeeperSecretService, Entry: []string{"service", "github", "user", "me"}},
	}
	if diff := cmp.Diff(want, b.Secrets); diff != "" {
		t.Error(diff)
	}
}

// What becomes an argument of a keeper's program is never an option of it.
func TestKeepersEntries(t *testing.T) {
	for source, want := range map[string]string{
		"{gh: ''}":                        "its source is empty",
		"{secret_service: {}}":            "its source is empty",
		"{gh: --show-token}":              "begins with -",
		"{pass: -c}":                      "begins with -",
		"{secret_service: {--unlock: x}}": "begins with -",
		"{secret_service: {service: ''}}": "is empty somewhere",
		`{pass: "a\nb"}`:                  "a control character",
		"{onepassword: Private/GitHub}":   "op://Private/GitHub/token",
		"{keychain: k, account: -w}":      "account is empty, begins with -",
		"{pass: k, account: me}":          "account is for a keychain",
		"{env: K, account: me}":           "account is for a keychain",
		"{gh: github.com, pass: k}":       "exactly one of",
		"{file: /k, ttl: 1h}":             "ttl is for what a command gives",
		"{pass: k, ttl: 1s}":              "at least 30s",
		"{keychains: k}":                  `did you mean "keychain"`,
	} {
		home := tree(t, map[string]string{"bottles/b.md": "---\nsecrets:\n  K: " + source + "\n---\n"})
		if _, err := load(t, home, "").Bottle("b"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}
