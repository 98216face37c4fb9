package gitgate

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// ATTACK: an upstream shows another host key, asks for another of the operator's keys, for their
// agent, or for a way back; whatever else there is in the gate's home. What ssh makes of its
// configuration allows none of it.
func TestAttackF10_WhatSSHMayDo(t *testing.T) {
	const dir = "/keys/widget"
	want := map[string]string{
		"batchmode": "yes", "stricthostkeychecking": "true", "updatehostkeys": "false", "checkhostip": "no", "verifyhostkeydns": "false",
		"userknownhostsfile": dir + "/known_hosts", "globalknownhostsfile": "/dev/null",
		"identitiesonly": "yes", "identityagent": "none", "preferredauthentications": "publickey", "hostbasedauthentication": "no",
		"forwardagent": "no", "forwardx11": "no", "clearallforwardings": "yes", "permitlocalcommand": "no", "tunnel": "false", "addkeystoagent": "false",
		"controlmaster": "false", "controlpath": "/keys/line", "connecttimeout": "20", "serveraliveinterval": "15",
	}
	for name, c := range map[string]struct{ key, identity string }{"with a key": {"k", dir + "/key"}, "without one": {"", "none"}} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			config := filepath.Join(home, "ssh_config")
			write(t, config, sshConfig(dir, "/keys/line", control.GitRepository{Key: c.key}))
			write(t, filepath.Join(home, ".ssh", "config"), "Host *\n\tIdentityFile ~/.ssh/mine\n\tProxyCommand /bin/false\n\tStrictHostKeyChecking no\n")
			ssh := exec.Command("ssh", "-G", "-F", config, "git.example")
			ssh.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SSH_AUTH_SOCK=" + filepath.Join(home, "agent")}
			out, err := ssh.Output()
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for line := range strings.Lines(string(out)) {
				option, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				got[option] = strings.TrimPrefix(got[option]+" "+value, " ")
			}
			for _, option := range slices.Sorted(maps.Keys(want)) {
				if got[option] != want[option] {
					t.Errorf("%s is %q, want %q", option, got[option], want[option])
				}
			}
			if got["identityfile"] != c.identity || got["proxycommand"] != "" {
				t.Errorf("keys are %q, want %q; proxycommand %q", got["identityfile"], c.identity, got["proxycommand"])
			}
		})
	}
}

// ATTACK: whatever leads the gate's git elsewhere than to its upstream, by another protocol, or to one that shows
// another certificate: git itself refuses it, whoever else has looked before.
func TestAttackF10_WhatGitMayReach(t *testing.T) {
	l, site := newHTTPSLab(t)
	m := l.server.all[0]
	l.git("/", "ls-remote", l.url) // there is a mirror
	marker := filepath.Join(l.dir, "ran")
	for _, url := range []string{"file://" + l.upstream, l.upstream, "ext::sh -c touch% " + marker, l.address()} {
		if out, err := m.upstream.run(t.Context(), nil, "ls-remote", "--", url); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: got %s, %v", url, out, err)
		}
		if out, err := m.local.run(t.Context(), nil, "ls-remote", "--", url); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s, on the bottle's side: got %s, %v", url, out, err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program was run")
	}
	url := site.URL("localhost", "upstream.git")
	if _, err := m.upstream.run(t.Context(), nil, "ls-remote", "--", url); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(filepath.Dir(m.upstream.config), "ca.pem"), "")
	if out, err := m.upstream.run(t.Context(), nil, "ls-remote", "--", url); err == nil || !strings.Contains(strings.ToLower(err.Error()), "certificate") {
		t.Errorf("whom it does not trust: got %s, %v", out, err)
	}
}

// Whatever a value of the gate's configuration is, git reads it as it was, and as one.
func TestAValueStaysOne(t *testing.T) {
	for _, want := range []string{`plain`, `two words`, ` around `, `a"b`, `a\b`, "a\n[core]\n\tpager = x", `a # b ; c`, ``} {
		file := filepath.Join(t.TempDir(), "config")
		write(t, file, "[http "+value("https://x.example/"+strings.ReplaceAll(want, "\n", ""))+"]\n\textraHeader = "+value(want)+"\n")
		if got := run(t, "/", nil, "git", "config", "-f", file, "--list", "--null"); !strings.HasSuffix(got, ".extraheader\n"+want+"\x00") || strings.Count(got, "\x00") != 1 {
			t.Errorf("%q is read as %q", want, got)
		}
	}
}
