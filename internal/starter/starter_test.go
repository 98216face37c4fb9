package starter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// read has the manifest read what was written.
func read(t *testing.T, c Choices) (manifest.Agent, manifest.Bottle) {
	t.Helper()
	home := t.TempDir()
	for file, text := range map[string]string{"bottles/dev.md": c.BottleFile(), "agents/implementer.md": c.AgentFile()} {
		path := filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := manifest.Load(home, "", "/home/op")
	if err != nil || len(m.Problems) > 0 {
		t.Fatalf("%v, %v\n%s", err, m.Problems, c.BottleFile())
	}
	return m.Agents["implementer"], m.Bottles["dev"]
}

// Whatever is chosen, the manifest takes it, and holds what was chosen.
func TestEveryChoiceIsAManifest(t *testing.T) {
	repositories := []Repository{
		{}, {Upstream: "git@host.example:acme/widget.git", Key: "~/.ssh/id_ed25519"},
		{Upstream: "https://host.example/acme/Widget", Source: Source{"env", "GIT_TOKEN"}},
	}
	for template, secret := range map[string]string{"claude": "CLAUDE_CODE_OAUTH_TOKEN", "codex": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY", "opencode": "ANTHROPIC_API_KEY"} {
		for _, repository := range repositories {
			for _, ask := range []bool{true, false} {
				c := Choices{Bottle: "dev", Agent: "implementer", Template: template, Secret: secret, Source: Source{"env", secret}, Repository: repository, AskFirst: ask,
					Reads: []Reads{{"Go modules", []string{"proxy.golang.org", "sum.golang.org"}}}}
				if err := c.Check(); err != nil {
					t.Fatal(err)
				}
				agent, b := read(t, c)
				if agent.Bottle != "dev" || agent.Prompt == "" || b.Provider.Template != template || b.Secrets[secret].Env != secret || b.Supervise != ask || len(b.Routes) != 2 || b.Routes[0].Methods[0] != "GET" {
					t.Errorf("%s %v: got %+v", template, ask, b)
				}
				if want := (manifest.GitIdentity{Name: "implementer", Email: "implementer@bottle.invalid"}); agent.GitIdentity != want { // else it could not commit
					t.Errorf("it commits as %+v", agent.GitIdentity)
				}
				checkGit(t, b, repository, ask)
			}
		}
	}
}

func checkGit(t *testing.T, b manifest.Bottle, want Repository, ask bool) {
	t.Helper()
	if want.Upstream == "" {
		if len(b.Git) != 0 {
			t.Errorf("got %+v", b.Git)
		}
		return
	}
	got := b.Git[0]
	if got.Name != "widget" || got.Upstream != want.Upstream || got.Push.Hold != ask || got.Push.Force || (got.IdentityFile == "") != (got.Secret == Password) {
		t.Errorf("got %+v", got)
	}
}

// No image of ours has what fetches a project's packages: a route to them alone would promise that.
func TestWhatTheImageHasNotIsSaid(t *testing.T) {
	c := Choices{Bottle: "dev", Agent: "implementer", Template: "claude", Reads: []Reads{{"Go modules", []string{"proxy.golang.org"}}, {"npm packages", []string{"registry.npmjs.org"}}}}
	if text := c.BottleFile(); !strings.Contains(text, "nothing that fetches or builds Go modules or npm packages: name a\n# dockerfile in agent_provider") {
		t.Error(text)
	}
	read(t, c)
	if c.Reads = nil; strings.Contains(c.BottleFile(), "dockerfile") {
		t.Error(c.BottleFile())
	}
}

// Words that are more than a word in YAML stay the words that they were.
func TestWordsStayWords(t *testing.T) {
	for _, word := range []string{"a b", "a: b", "a}", "a, env: X", `"`, "'", "#x", "&x", "*x", "!x", "yes", "null", "1", "~", "é", "a\\nb", "- x", "%x", "@x", "`x`"} {
		s, err := ParseSource("pass:" + word)
		if err != nil {
			t.Fatal(err)
		}
		c := Choices{Bottle: "dev", Agent: "implementer", Template: "claude", Secret: "ANTHROPIC_API_KEY", Source: s}
		if word == "- x" { // the manifest itself refuses what a program would take for an option
			continue
		}
		if _, b := read(t, c); b.Secrets["ANTHROPIC_API_KEY"].Entry[0] != word {
			t.Errorf("%q: got %q", word, b.Secrets["ANTHROPIC_API_KEY"].Entry)
		}
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]string{
		"env:X": "{env: X}", "file:~/k": "{file: ~/k}", "gh:github.com": "{gh: github.com}", "op://a/b/c": `{onepassword: "op://a/b/c"}`, "onepassword:op://a/b": `{onepassword: "op://a/b"}`,
		"keychain: my key": `{keychain: "my key"}`, "pass:a/b": "{pass: a/b}",
		"": "", "env:": "", "env": "", "command:x": "", "secret_service:x": "", "X": "",
	} {
		s, err := ParseSource(text)
		if (err != nil) != (want == "") || err == nil && s.YAML() != want {
			t.Errorf("%q: got %s, %v; want %q", text, s.YAML(), err, want)
		}
	}
}

func TestChoicesThatCannotWork(t *testing.T) {
	good := Choices{Template: "claude", Secret: "ANTHROPIC_API_KEY"}
	for want, spoil := range map[string]func(*Choices){
		"is not known":           func(c *Choices) { c.Template = "cloude" },
		"not as OPENAI_API_KEY":  func(c *Choices) { c.Secret = "OPENAI_API_KEY" },
		"it holds a credential":  func(c *Choices) { c.Repository.Upstream = "https://u:p@host.example/x" },
		"the repository ext::sh": func(c *Choices) { c.Repository.Upstream = "ext::sh -c x" },
		"needs an identity file": func(c *Choices) { c.Repository.Upstream = "git@host.example:x" },
	} {
		c := good
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNamesOfRepositories(t *testing.T) {
	for upstream, want := range map[string]string{
		"git@h:acme/widget.git": "widget", "https://h/a/My_Repo/": "my-repo", "git@h:x": "x", "ssh://h/~me/w": "w", "https://h/.git": "work", "git@h:" + strings.Repeat("a", 40): strings.Repeat("a", 24),
	} {
		if got := (Repository{Upstream: upstream}).Name(); got != want {
			t.Errorf("%s: got %q, want %q", upstream, got, want)
		}
	}
}
