package gitgate

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// signingLab has a key of a kind to sign with, and git configured to check signatures by it.
func signingLab(t *testing.T, kind string, change ...func(*control.GitConfig)) *lab {
	t.Helper()
	var dir string
	l := newLab(t, append([]func(*control.GitConfig){func(c *control.GitConfig) {
		dir = upstreamDir(c)
		key := filepath.Join(dir, "sign")
		run(t, dir, nil, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key)
		c.Repositories[0].SignKey = read(t, key)
		c.Repositories[0].Push.Refs = []string{"refs/heads/agent/**", "refs/tags/agent/**"}
		write(t, filepath.Join(dir, "allowed"), "agent@acme.example namespaces=\"git\" "+read(t, key+".pub"))
	}}, change...)...)
	l.git(l.upstream, "config", "gpg.ssh.allowedSignersFile", filepath.Join(dir, "allowed"))
	return l
}

// verified fails the test unless git takes the signature of each commit that main does not have.
func (l *lab) verified(ref string) []string {
	l.t.Helper()
	commits := strings.Fields(l.git(l.upstream, "rev-list", ref, "^main"))
	for _, id := range commits {
		if out := l.git(l.upstream, "verify-commit", "-v", id); !strings.Contains(out, `Good "git" signature for agent@acme.example`) {
			l.t.Errorf("%s: %s", id, out)
		}
	}
	return commits
}

// Commits are signed at the gate: merges, tags and what a side branch brings. What was upstream
// keeps its id, and nothing but the signature and the parents differs. The agent goes on with
// pull --rebase, and a commit that is pushed again is the same commit again.
func TestPushesAreSigned(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			l := signingLab(t, kind)
			main := l.theirs("refs/heads/main")
			work := l.clone()
			l.git(work, "checkout", "-q", "-b", "side")
			l.commit(work, "side.go", "package side\n")
			l.git(work, "checkout", "-q", "-b", "agent/fix", "main")
			first := l.commit(work, "main.go", "package main\n")
			l.git(work, "merge", "-q", "--no-ff", "-m", "merge side", "side")
			l.git(work, "tag", "-a", "-m", "one", "agent/v1")
			out := l.git(work, "push", "origin", "agent/fix", "agent/v1")
			if !strings.Contains(out, "signed 3 commits, 1 tag with") || !strings.Contains(out, "git pull --rebase origin agent/fix") {
				t.Error(out)
			}
			if got := len(l.verified("refs/heads/agent/fix")); got != 3 {
				t.Errorf("upstream has %d commits, want 3", got)
			}
			l.git(l.upstream, "merge-base", "--is-ancestor", main, "refs/heads/agent/fix")
			l.git(l.upstream, "verify-tag", "agent/v1")
			if l.theirs("agent/v1^{commit}") != l.theirs("refs/heads/agent/fix") {
				t.Error("the tag is of another commit")
			}
			l.git(work, "tag", "-a", "-m", "two", "agent/v2", "origin/main")
			if out := l.git(work, "push", "origin", "agent/v2"); !strings.Contains(out, "signed 1 tag with") {
				t.Error(out)
			}
			l.git(l.upstream, "verify-tag", "agent/v2")
			l.git(l.upstream, "fsck", "--strict")
			if got, want := l.git(l.upstream, "log", "--format=%T %an %ae %at %cn %ce %ct %B", "agent/fix"), l.git(work, "log", "--format=%T %an %ae %at %cn %ce %ct %B"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}

			// The same commits under another name, and the agent's next one.
			l.git(work, "push", "-q", "origin", first+":refs/heads/agent/again")
			if l.theirs("refs/heads/agent/again") != l.theirs("refs/heads/agent/fix^1") {
				t.Error("a commit that is pushed again became another one")
			}
			widget := l.server.find("widget")
			widget.mu.Lock() // the push is over
			got := strings.TrimSpace(l.git(widget.dir, "rev-parse", "agent/again"))
			widget.mu.Unlock()
			if got != l.theirs("refs/heads/agent/again") {
				t.Errorf("the mirror has %s, which is not upstream", got)
			}
			l.commit(work, "more.go", "package main\n")
			l.git(work, "pull", "-q", "--rebase", "origin", "agent/fix")
			l.git(work, "push", "-q", "origin", "agent/fix")
			l.verified("refs/heads/agent/fix")
			if got := l.git(work, "ls-remote", "origin", "agent/fix"); !strings.HasPrefix(got, l.theirs("refs/heads/agent/fix")) {
				t.Errorf("the gate shows %s", got)
			}
			if !strings.Contains(l.events.String(), `"pushed":"`+strings.TrimSpace(l.git(work, "rev-parse", "HEAD"))) {
				t.Errorf("the log does not say what was pushed: %s", l.events)
			}
		})
	}
}

// A held push is signed before it is shown: what is approved are the ids that go upstream.
func TestHeldPushIsSigned(t *testing.T) {
	l := signingLab(t, "ed25519", func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix") // the same push is the same request
	all := l.desk.ledger.All()
	if len(all) != 1 {
		t.Fatalf("there are %d requests", len(all))
	}
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded {
		t.Fatal(r.Decided.Result)
	}
	l.verified("refs/heads/agent/fix")
	if got := l.theirs("refs/heads/agent/fix"); got != all[0].Push.Updates[0].New || got != all[0].Push.Commits[0].ID {
		t.Errorf("upstream has %s, and %v was shown", got, all[0].Push)
	}
}

// What was pushed with somebody's signature goes with the operator's, and with no other: it
// would not fit the commit any more.
func TestAnotherSignatureIsReplaced(t *testing.T) {
	l := signingLab(t, "ed25519")
	work := l.clone()
	other := filepath.Join(t.TempDir(), "other")
	run(t, "/", nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
	for key, value := range map[string]string{"gpg.format": "ssh", "user.signingKey": other, "commit.gpgSign": "true"} {
		l.git(work, "config", key, value)
	}
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.git(work, "tag", "-s", "-m", "one", "agent/v1")
	l.git(work, "push", "-q", "origin", "agent/fix", "agent/v1")
	l.verified("refs/heads/agent/fix")
	l.git(l.upstream, "verify-tag", "agent/v1")
	if raw := l.git(l.upstream, "cat-file", "commit", "agent/fix"); strings.Count(raw, "gpgsig") != 1 {
		t.Error(raw)
	}
	if raw := l.git(l.upstream, "cat-file", "tag", "agent/v1"); strings.Count(raw, "BEGIN SSH SIGNATURE") != 1 {
		t.Error(raw)
	}
}

// A secret is found whether or not the push would be signed, and what is refused is not signed.
func TestWhatIsRefusedIsNotSigned(t *testing.T) {
	l := signingLab(t, "ed25519")
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "config", l.config.Known[0].Value+"\n")
	if out := l.refused(work, "REFUSED", "push", "origin", "agent/fix"); strings.Contains(out, "signed") {
		t.Error(out)
	}
	if l.theirs("refs/heads/agent/fix") != "" {
		t.Error("it is upstream")
	}
}

// Somebody's tag that is upstream already is pushed under another name, beside a commit of the
// agent's: the operator's key must not vouch for what its tagger says, nor take the place of the
// tagger's own.
func TestAttackE8_AnothersTagIsNotSigned(t *testing.T) {
	l := signingLab(t, "ed25519")
	run(t, l.upstream, nil, "git", "-c", "user.name=Alice", "-c", "user.email=alice@acme.example", "tag", "-a", "-m", "by Alice", "v1", "main")
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.git(work, "push", "-q", "origin", "agent/fix", "v1:refs/tags/agent/v1")
	l.verified("refs/heads/agent/fix")
	if got, want := l.theirs("refs/tags/agent/v1"), l.theirs("refs/tags/v1"); got != want {
		t.Errorf("Alice's tag became %s", l.git(l.upstream, "cat-file", "-p", got))
	}
}

// What cannot be signed is not pushed without a signature, nor is what comes with it.
func TestWhatCannotBeSignedIsRefused(t *testing.T) {
	l := signingLab(t, "ed25519")
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.git(work, "tag", "-a", "-m", "one", "agent/v1")
	l.git(work, "tag", "-a", "-m", "two", "agent/v2", "agent/v1")
	l.refused(work, "could not be signed: a tag of a tag", "push", "origin", "agent/fix", "agent/v2")
	if l.theirs("refs/heads/agent/fix")+l.theirs("refs/tags/agent/v2") != "" {
		t.Error("it is upstream")
	}
}

// A key of a kind whose signatures differ each time is refused.
func TestOnlySteadyKeysSign(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", filepath.Join(dir, "k")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseSigner(string(key)); err != errKeyType {
		t.Errorf("got %v, want %v", err, errKeyType)
	}
}
