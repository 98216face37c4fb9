package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// With sign_key the upstream verifies what the agent committed, and the bottle has no key to
// sign with. The agent goes on with pull --rebase.
func TestCommitsAreSignedOnTheirWay(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	key, manifest := filepath.Join(t.TempDir(), "sign"), filepath.Join(h.Home, "bottles", "git.md")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(filepath.Dir(key), "allowed")
	if err := os.WriteFile(allowed, append([]byte("committer@acme.example "), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, []byte(strings.Replace(string(before), "- name: widget\n", "- name: widget\n    sign_key: "+key+"\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	identity := h.start()
	out := h.sh(0, identity, "cd /workspace && git clone -q "+h.ssh.URL(gatewayName(), h.upstream)+" widget && cd widget && git checkout -q -b agent/fix && echo hi > hi && git add hi && git commit -q -m hi && git push origin agent/fix"+
		" && echo ho > ho && git add ho && git commit -q -m ho && git pull -q --rebase origin agent/fix && git push -q origin agent/fix && git log --format=%s")
	if !strings.Contains(out, "signed 1 commit") || !strings.HasPrefix(out, "ho\nhi\nthe beginning\n") {
		t.Errorf("the bottle says %s", out)
	}
	for _, commit := range []string{"agent/fix", "agent/fix~1"} {
		said, err := gitCommand(t.Context(), "-C", h.upstream, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", commit).CombinedOutput()
		if err != nil || !strings.Contains(string(said), `Good "git" signature for committer@acme.example`) {
			t.Errorf("%s: %v: %s", commit, err, said)
		}
	}
	if log := h.run(0, "", "logs", identity, "--service", "git-gate", "--json").Stdout; !strings.Contains(log, `"pushed":"`) {
		t.Errorf("the log: %s", log)
	}
}
