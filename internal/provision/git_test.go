package provision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// bottled runs git with the configuration that a bottle has.
func bottled(t *testing.T, config string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gitconfig")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "git", args...)
	c.Dir = t.TempDir()
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_SYSTEM=" + file, "GIT_CONFIG_GLOBAL=/dev/null"}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// However a declared repository is spelt, git goes to the gate for it, and for no other.
func TestEverySpellingLeadsToTheGate(t *testing.T) {
	for upstream, spellings := range map[string][]string{
		"ssh://git@git.example/acme/widget.git": {
			"ssh://git@git.example/acme/widget.git", "ssh://git@git.example/acme/widget", "ssh://git.example/acme/widget.git", "ssh://git@git.example:22/acme/widget.git",
			"git+ssh://git@git.example/acme/widget", "ssh+git://git@git.example/acme/widget", "git@git.example:acme/widget.git", "git@git.example:/acme/widget", "git.example:acme/widget.git",
			"https://git.example/acme/widget.git", "https://git.example/acme/widget", "https://git.example:443/acme/widget", "https://git@git.example/acme/widget.git",
			"http://git.example/acme/widget", "http://git.example:80/acme/widget.git", "git://git.example/acme/widget.git", "git://git.example:9418/acme/widget",
		},
		"deploy@git.example:acme/widget":             {"deploy@git.example:acme/widget.git", "ssh://deploy@git.example/acme/widget", "git@git.example:acme/widget", "https://git.example/acme/widget.git"},
		"ssh://git@git.example:2222/acme/widget.git": {"ssh://git@git.example:2222/acme/widget.git", "ssh://git.example:2222/acme/widget", "git@git.example:acme/widget.git", "https://git.example/acme/widget"},
		"https://git.example:8443/acme/widget.git":   {"https://git.example:8443/acme/widget.git", "https://git.example:8443/acme/widget", "https://git.example/acme/widget", "git@git.example:acme/widget"},
		`git@git.example:acme/we "ird" #;\name.git`:  {`git@git.example:acme/we "ird" #;\name.git`, `git.example:acme/we "ird" #;\name`},
	} {
		address, ok := manifest.ParseAddress(upstream)
		if !ok {
			t.Fatal(upstream)
		}
		config := gitConfig(manifest.GitIdentity{}, []bottle.Repository{{GitRepo: manifest.GitRepo{Name: "widget", Upstream: upstream}, Address: address}})
		for _, spelling := range spellings {
			want := control.GateURL + address.Place()
			if got := bottled(t, config, "ls-remote", "--get-url", "--", spelling); strings.TrimSuffix(got, ".git") != want {
				t.Errorf("%s: %s leads to %s, want %s", upstream, spelling, got, want)
			}
		}
		for _, other := range []string{"https://other.example/acme/widget", "https://git.example/other/widget.git", "git@git.example:other/widget", "https://git.example.evil.example/acme/widget"} {
			if got := bottled(t, config, "ls-remote", "--get-url", "--", other); got != other {
				t.Errorf("%s: %s leads to %s", upstream, other, got)
			}
		}
		if got, want := bottled(t, config, "ls-remote", "--get-url", "--", "git://other.example/x.git"), control.GateURL+"other.example/x.git"; got != want {
			t.Errorf("git:// leads to %s, want %s", got, want)
		}
	}
}

// What a bottle's git reads is what the manifest says, whatever characters that has.
func TestTheBottlesGitConfig(t *testing.T) {
	who := manifest.GitIdentity{Name: "A \"quoted\" \\ # ; name\twith = all", Email: "a@acme.example"}
	config := gitConfig(who, nil)
	for key, want := range map[string]string{
		"user.name": who.Name, "user.email": who.Email, "safe.directory": "*", "ssh.variant": "ssh",
		"core.sshCommand": control.Binary + " guest no-ssh", "include.path": control.SocketDir + "/" + control.GitRewrites,
	} {
		if got := bottled(t, config, "config", "--system", "--get", key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// A remote whose name would say more than a name in a configuration is left out.
func TestRemotesOfOddNamesAreLeftOut(t *testing.T) {
	for name, plain := range map[string]bool{"origin": true, "my-fork_2.x": true, `x"y`: false, "a b": false, "-u": false, "x#y": false, "x;y": false, "x/y": false, "é": false, "": false, strings.Repeat("x", 101): false} {
		if got := plainName(name); got != plain {
			t.Errorf("%q: got %v", name, got)
		}
	}
}
