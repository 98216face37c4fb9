package provision

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pullFrom fetches from a repository as from a bottle's.
func (h home) pullFrom(bottle home, tell ...func(string)) ([]Pulled, error) {
	return Pull(h.t.Context(), h.dir, "tester-abcdef", []string{"env", "-u", "GIT_DIR", "-u", "GIT_OBJECT_DIRECTORY", "git", "upload-pack", bottle.dir}, nil, append(tell, nil)[0])
}

func TestPullBringsTheBranches(t *testing.T) {
	h := newHome(t)
	h.write("a", "one\n")
	h.git("add", "-A")
	h.git("commit", "-q", "-m", "first")
	there := h.bring(false)
	there.git("checkout", "-q", "-b", "agent/fix")
	there.write("b", "two\n")
	there.git("add", "-A")
	there.git("commit", "-q", "-m", "second")
	before := h.git("status", "--porcelain", "--branch") + h.git("for-each-ref", "refs/heads", "refs/tags")
	pulled, err := h.pullFrom(there)
	if err != nil {
		t.Fatal(err)
	}
	if len(pulled) != 2 || pulled[0].Ref != "refs/bottles/tester-abcdef/agent/fix" || len(pulled[0].Commits) != 1 || pulled[0].Commits[0].Subject != "second" || !strings.Contains(strings.Join(pulled[0].Stat, "\n"), "b | 1 +") {
		t.Errorf("got %+v", pulled)
	}
	if got, want := h.git("rev-parse", "refs/bottles/tester-abcdef/agent/fix"), there.git("rev-parse", "HEAD"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if after := h.git("status", "--porcelain", "--branch") + h.git("for-each-ref", "refs/heads", "refs/tags"); after != before {
		t.Errorf("the repository at hand changed: %s, was %s", after, before)
	}
	if pulled, err = h.pullFrom(there); err != nil || len(pulled) != 0 {
		t.Errorf("again: %+v, %v", pulled, err)
	}
	there.git("commit", "-q", "--amend", "-m", "rewritten")
	if pulled, err = h.pullFrom(there); err != nil || len(pulled) != 1 || pulled[0].Old == "" || pulled[0].Commits[0].Subject != "rewritten" {
		t.Errorf("rewritten: %+v, %v", pulled, err)
	}
	if log := h.git("reflog", "show", "refs/bottles/tester-abcdef/agent/fix"); strings.Count(log, "\n") != 2 {
		t.Errorf("what was pulled before is lost: %s", log)
	}
	h.git("fsck", "--full")
}

// What an agent deletes stays here, tags stay there, and a branch in the place of a directory of
// branches does not stop a pull.
func TestPullAfterBranchesWereDeletedAndRenamed(t *testing.T) {
	h := newHome(t)
	h.write("a", "one\n")
	h.git("add", "-A")
	h.git("commit", "-q", "-m", "first")
	there := h.bring(false)
	there.git("branch", "fix")
	there.git("branch", "deep/er")
	there.git("branch", "gone")
	there.git("tag", "v1")
	if _, err := h.pullFrom(there); err != nil {
		t.Fatal(err)
	}
	old := h.git("rev-parse", "refs/bottles/tester-abcdef/fix")
	there.git("branch", "-q", "-D", "fix", "deep/er", "gone")
	there.git("commit", "-q", "--allow-empty", "-m", "second")
	there.git("branch", "fix/it")
	there.git("branch", "deep")
	pulled, err := h.pullFrom(there)
	if err != nil || len(pulled) != 3 { // main, and these two
		t.Fatalf("%+v, %v", pulled, err)
	}
	for _, name := range []string{"fix/it", "deep", "gone"} {
		h.git("rev-parse", "--verify", "refs/bottles/tester-abcdef/"+name)
	}
	if got := h.git("for-each-ref", "--contains", strings.TrimSpace(old), "--format=%(refname)", "refs/bottles"); !strings.Contains(got, "/gone\n") || !strings.Contains(got, "/@was/"+old) {
		t.Errorf("got %s", got)
	}
	if got := h.git("for-each-ref", "refs/tags"); got != "" {
		t.Errorf("a tag came along: %s", got)
	}
}

// Attack E1, E5: both repositories name programs in configuration, hooks and attributes; the
// bottle's has files that would do harm when checked out. A pull runs none of them.
func TestAttackE5_APullRunsNothing(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	h := newHome(t)
	h.write("a", "one\n")
	h.git("add", "-A")
	h.git("commit", "-q", "-m", "first")
	there := h.bring(false)
	there.write(".gitattributes", "* filter=evil diff=evil\n")
	there.write("a", "changed\n")
	there.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch "+marker+"\n")
	there.git("add", "-A")
	there.git("commit", "-q", "-m", "second\x1b]0;owned\x07")
	for _, r := range []home{h, there} {
		for _, key := range []string{
			"core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge", "uploadpack.packObjectsHook",
			"core.gitProxy", "credential.helper", "url.ext::touch " + marker + " .insteadOf", "core.alternateRefsCommand", "gpg.program", "core.editor",
		} {
			value := "touch " + marker + ";:"
			if strings.HasSuffix(key, "insteadOf") {
				value = "ext::"
			}
			r.git("config", key, value)
		}
		r.git("config", "log.showSignature", "true")
		for _, hook := range []string{"reference-transaction", "post-merge", "post-checkout", "post-index-change", "pre-auto-gc", "post-rewrite"} {
			path := filepath.Join(r.dir, ".git", "hooks", hook)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+marker+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = os.Remove(marker)
	pulled, err := h.pullFrom(there)
	if err != nil || len(pulled) != 1 {
		t.Fatalf("got %+v, %v", pulled, err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something ran")
	}
}

// Attack E6, D1: objects that git would not write itself: a tree with .git in it, a
// submodule's URL that is an option. The pull fails, and no ref appears.
func TestAttackE6_BadObjectsAreRefused(t *testing.T) {
	for name, script := range map[string]string{
		".git in a tree":        `b=$(echo x | git hash-object -w --stdin); t=$(printf '100644 blob %s\tconfig\n' $b | git mktree); t=$(printf '040000 tree %s\t.git\n' $t | git mktree)`,
		"a URL as an option":    `b=$(printf '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n' | git hash-object -w --stdin); t=$(printf '100644 blob %s\t.gitmodules\n' $b | git mktree)`,
		".. in a tree":          `b=$(echo x | git hash-object -w --stdin); t=$(printf '100644 blob %s\tx\n' $b | git mktree); t=$(printf '040000 %s\0' .. | cat - >/dev/null; printf '040000 tree %s\t..\n' $t | git mktree)`,
		"a link as .gitmodules": `b=$(printf /etc/passwd | git hash-object -w --stdin); t=$(printf '120000 blob %s\t.gitmodules\n' $b | git mktree)`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			there := newHome(t)
			run(t, there.dir, "sh", "-e", "-c", script+`; c=$(git commit-tree -m x $t); git update-ref refs/heads/evil $c`)
			pulled, err := h.pullFrom(there)
			if err == nil {
				t.Errorf("got %+v", pulled)
			}
			if refs := h.git("for-each-ref"); refs != "" {
				t.Errorf("there are refs: %s", refs)
			}
		})
	}
}
