package bottle

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// What a gate could not use is told before anything is started, all at once and with what to do.
func TestKeysThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, args := range map[string][]string{
		"plain": {"-t", "ed25519", "-N", ""}, "locked": {"-t", "ed25519", "-N", "a passphrase"}, "ecdsa": {"-t", "ecdsa", "-N", ""},
	} {
		if out, err := exec.Command("ssh-keygen", append(args, "-q", "-f", at(name))...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	public, err := os.ReadFile(at("plain.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"garbage": "not a key\n", "hosts": "git.example " + string(public), "hosts-port": "[git.example]:2222 " + string(public), "hosts-broken": "git.example ssh-ed25519 !!!\n",
	} {
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const upstream = "ssh://git@git.example/acme/widget.git"
	for name, test := range map[string]struct {
		repo manifest.GitRepo
		want string // "" for none
	}{
		"good":                    {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("hosts"), SignKey: at("plain")}, ""},
		"good on another port":    {manifest.GitRepo{Upstream: "ssh://git@git.example:2222/acme/widget.git", IdentityFile: at("plain"), KnownHosts: at("hosts-port")}, ""},
		"pinned":                  {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), HostKey: "SHA256:x"}, ""},
		"no key":                  {manifest.GitRepo{Upstream: upstream, KnownHosts: at("hosts")}, "an ssh upstream needs identity_file"},
		"absent":                  {manifest.GitRepo{Upstream: upstream, IdentityFile: at("absent"), KnownHosts: at("hosts")}, "is not a file"},
		"locked":                  {manifest.GitRepo{Upstream: upstream, IdentityFile: at("locked"), KnownHosts: at("hosts")}, "has a passphrase, and nobody is there to type it"},
		"public":                  {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain.pub"), KnownHosts: at("hosts")}, "is the public key"},
		"garbage":                 {manifest.GitRepo{Upstream: upstream, IdentityFile: at("garbage"), KnownHosts: at("hosts")}, "is no private key"},
		"unknown host":            {manifest.GitRepo{Upstream: "ssh://git@other.example/x", IdentityFile: at("plain"), KnownHosts: at("hosts")}, "has no key of other.example"},
		"the host on another one": {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("hosts-port")}, "has no key of git.example"},
		"no known_hosts":          {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("absent")}, "the host key of git.example is not known"},
		"broken known_hosts":      {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("hosts-broken")}, "cannot be read"},
		"locked sign_key":         {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("hosts"), SignKey: at("locked")}, "sign_key " + at("locked") + " has a passphrase"},
		"unsteady sign_key":       {manifest.GitRepo{Upstream: upstream, IdentityFile: at("plain"), KnownHosts: at("hosts"), SignKey: at("ecdsa")}, "must be an ed25519 or an RSA key"},
	} {
		test.repo.Name = "widget"
		var problems Problems
		found := findRepositories([]manifest.GitRepo{test.repo}, nil, &problems)
		switch {
		case test.want == "" && (len(problems) > 0 || len(found) != 1 || found[0].Key.Reveal() == ""):
			t.Errorf("%s: got %v", name, problems)
		case test.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], "git widget: ") || !strings.Contains(problems[0], test.want)):
			t.Errorf("%s: got %v, want %q", name, problems, test.want)
		}
	}
}
