package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Attack D3, D8, E1: --cwd on a repository with a hostile configuration, hooks, and
// files that git does not know. Nothing of it runs on the host, and only what is committed
// gets into the workspace.
func TestAttackD8_CwdBringsOnlyWhatIsCommitted(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	repo, marker := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", repo, "-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "core.hooksPath=/dev/null"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(repo, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q", "-b", "work")
	write("main.go", "package main\n", 0o644)
	write("run.sh", "echo hi\n", 0o755)
	write(".gitignore", ".env\n", 0o644)
	write(".gitattributes", "*.go filter=evil diff=evil\n", 0o644)
	if err := os.Symlink("/etc/passwd", filepath.Join(repo, "link")); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	write(".env", "SECRET=1\n", 0o600)
	write("uncommitted", "x\n", 0o600)
	write(".git/hooks/post-checkout", "#!/bin/sh\ntouch "+marker+"\n", 0o755)
	write(".git/hooks/reference-transaction", "#!/bin/sh\ntouch "+marker+"\n", 0o755)
	for key, value := range map[string]string{
		"core.fsmonitor": "touch " + marker, "filter.evil.smudge": "touch " + marker, "filter.evil.clean": "touch " + marker,
		"core.sshCommand": "touch " + marker, "uploadpack.packObjectsHook": "touch " + marker, "diff.evil.textconv": "touch " + marker,
		"remote.origin.url": "https://user:token@example.com/x",
	} {
		git("config", key, value)
	}
	c := h.Command(t.Context(), "start", "-y", "--detach", "--rm", "--cwd", "sleeper")
	c.Dir = repo
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	identity := strings.TrimSpace(string(out))
	defer h.run(0, "", "stop", identity)
	if !strings.Contains(stderr.String(), repo+": 1 branch, 0 tags, what is staged") {
		t.Errorf("the preflight says: %s", stderr.String())
	}
	r := h.run(0, "", "exec", identity, "--", "sh", "-c", "cd /workspace && ls -A && git status --short --branch && git log --oneline | wc -l && git config --local --list && stat -c %U main.go && ./run.sh && readlink link")
	for _, want := range []string{"main.go", "## work", "\nnode\nhi\n/etc/passwd\n"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("the workspace lacks %q: %s", want, r.Stdout)
		}
	}
	for _, bad := range []string{".env", "uncommitted", "token", "evil.smudge"} {
		if strings.Contains(strings.ReplaceAll(r.Stdout, ".envrc", ""), bad) {
			t.Errorf("the workspace has %q: %s", bad, r.Stdout)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the repository ran a program on the host")
	}
}

// Attack E3: a directory whose .git points into another repository of the operator's. It is
// refused, with where it leads.
func TestAttackE3_APointerToAnotherRepositoryIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	other, here := t.TempDir(), t.TempDir()
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "private"}} {
		if out, err := exec.Command("git", append([]string{"-C", other}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(here, ".git"), []byte("gitdir: "+filepath.Join(other, ".git")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := h.Command(t.Context(), "start", "--dry-run", "--cwd", "claude")
	c.Dir = here
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "leads to "+filepath.Join(other, ".git")) {
		t.Errorf("got %v: %s", err, out)
	}
}

// Without a repository, --cwd says so.
func TestCwdNeedsARepository(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	c := h.Command(t.Context(), "start", "-y", "--cwd", "claude")
	c.Dir = t.TempDir()
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "--cwd needs a git repository at hand") {
		t.Errorf("got %v: %s", err, out)
	}
}
