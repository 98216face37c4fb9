package manifest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Attack E7: a secret's command is run in a repository that holds a program of that path.
// It is the operator's, beside the file that names it, wherever it is run from.
func TestAttackE7_ProgramsAreAbsolute(t *testing.T) {
	home := tree(t, map[string]string{"bottles/b.md": `---
secrets:
  BARE: {command: [gh, auth/token]}
  DOT: {command: [./bin/token, ./as-written]}
  UP: {command: [../token]}
  HOME: {command: [~/bin/token]}
  FULL: {command: [/usr/bin/token]}
---
`})
	b, err := load(t, home, "").Bottle("b")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"BARE": {"gh", "auth/token"}, "DOT": {filepath.Join(home, "bottles/bin/token"), "./as-written"}, "UP": {filepath.Join(home, "token")},
		"HOME": {"/home/op/bin/token"}, "FULL": {"/usr/bin/token"},
	} {
		if got := b.Secrets[name].Command; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Attack F10: a URL with a credential in it is printed in the preflight, in errors, in logs.
func TestAttackF10_UpstreamsHoldNoCredential(t *testing.T) {
	for _, u := range []string{"https://ghp_x@host.example/a", "https://u:p@host.example/a", "https://:p@host.example/a", "ssh://git:p@host.example/a", "https://@host.example/a"} {
		home := tree(t, map[string]string{"bottles/b.md": "---\ngit:\n  - name: w\n    upstream: '" + u + "'\n---\n"})
		m := load(t, home, "")
		if all := m.Problems.Error(); !strings.Contains(all, "b.md:4: git.upstream: it holds a credential") || strings.Contains(all, "host.example") {
			t.Errorf("%s: got %s", u, all)
		}
	}
}

func TestUpstreams(t *testing.T) {
	for _, u := range []string{
		"ssh://host", "ssh://host/", "https://host/?a", "https://host/a?b=c", "https://host/a#b", "ssh://%2doProxyCommand=x/y", "ssh://ho%73t/y", "ssh://%2du@host/y",
		"ssh://host:x/y", "ssh://host:22:33/y", "git@host:-x", "ssh://host\\@evil/y", "ssh://[::1/y", "ssh://[fe80::1%25x]/y", "https:/host/y", "https:host/y",
	} {
		if checkUpstream(u) == nil {
			t.Errorf("%q was taken", u)
		}
	}
	for _, u := range []string{"ssh://[::1]:22/w", "ssh://git@host:22/~me/w", "https://host:8443/a/b.git", "git@host:/srv/w", "https://127.0.0.1:1/w"} {
		if err := checkUpstream(u); err != nil {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// Attack F1: a glob that is read otherwise by whoever enforces it than by whoever wrote it.
func TestAttackF1_RefGlobs(t *testing.T) {
	for _, glob := range []string{
		"", "main", "heads/x", "refs/", "refs//x", "refs/heads/", "/refs/heads/x", "refs/heads/../tags/x", "refs/heads/a b", "refs/heads/a\tb", "refs/heads/a\x00", "refs/heads/a:b",
		"+refs/heads/x", "^refs/heads/x", "refs/heads/[ab]", "refs/heads/a?", `refs/heads/a\*`, "refs/heads/a**", "refs/heads/**a", "refs/heads/***", "refs/heads/x.lock", "refs/heads/.x",
		"refs/heads/x.", "refs/heads/@{x", "refs/heads/a~1",
	} {
		if checkRefs(glob) == nil {
			t.Errorf("%q was taken", glob)
		}
	}
	for _, glob := range []string{"refs/heads/agent/**", "refs/heads/*", "refs/**", "refs/heads/agent-*/x", "refs/heads/**/wip", "refs/tags/v1.2", "refs/heads/é"} {
		if err := checkRefs(glob); err != nil {
			t.Errorf("%q: %v", glob, err)
		}
	}
}

func TestRepositoriesThatDifferInCase(t *testing.T) {
	home := tree(t, map[string]string{"bottles/b.md": "---\ngit:\n  - {name: w, upstream: git@h:w}\n  - {name: W, upstream: git@h:v}\n---\n"})
	if all := load(t, home, "").Problems.Error(); !strings.Contains(all, "b.md:4: git: there are two repositories W") {
		t.Errorf("got %s", all)
	}
}

// Attack H1, G10: text that a terminal shows in another order, or as another line.
func TestAttackH1_ProblemsReadAsTheyAreWritten(t *testing.T) {
	p := Problem{File: "a\u2028b.md", Line: 1, Message: "x\u202eevil\u2066y\u200bz\ufeff \u00a0é漢"}
	if got, want := p.String(), "a·b.md:1: x·evil·y·z· ·é漢"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTTL(t *testing.T) {
	home := tree(t, map[string]string{"bottles/b.md": "---\nsecrets:\n  GH: {command: [gh, auth, token], ttl: 45m}\n---\n"})
	if b, err := load(t, home, "").Bottle("b"); err != nil || b.Secrets["GH"].TTL != 45*time.Minute {
		t.Errorf("got %v, %v", b.Secrets["GH"], err)
	}
	for source, want := range map[string]string{
		"{env: GH, ttl: 45m}":         "ttl is for what a command gives",
		"{ttl: 45m}":                  "exactly one of",
		"{command: [gh], ttl: often}": "is not a duration",
		"{command: [gh], ttl: 1s}":    "at least 30s",
		"{command: [gh], ttl: -1h}":   "at least 30s",
		"{command: [gh], env: GH}":    "exactly one of",
	} {
		home := tree(t, map[string]string{"bottles/b.md": "---\nsecrets:\n  GH: " + source + "\n---\n"})
		if _, err := load(t, home, "").Bottle("b"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}
