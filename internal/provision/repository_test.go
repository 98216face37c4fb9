package provision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// home is an operator's repository.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T, args ...string) home {
	t.Helper()
	h := home{t, filepath.Join(t.TempDir(), "re:po \"x\"")}
	run(t, "/", "git", append(append([]string{"init", "-q", "-b", "main"}, args...), h.dir)...)
	return h
}

func (h home) git(args ...string) string { h.t.Helper(); return run(h.t, h.dir, "git", args...) }

func (h home) write(name, content string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.com",
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// bring packs a repository and writes its files, as the guest does.
func (h home) bring(dirty bool, declared ...bottle.Repository) home {
	h.t.Helper()
	s, err := FindRepository(h.t.Context(), h.dir, dirty)
	if err != nil {
		h.t.Fatal(err)
	}
	dir, remove, err := PackRepository(h.t.Context(), s, declared)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := remove(); err != nil {
			h.t.Error(err)
		}
	})
	there := home{h.t, dir}
	data, err := os.ReadFile(filepath.Join(dir, ".git", CheckoutFile))
	if err != nil {
		h.t.Fatal(err)
	}
	trees := strings.Fields(string(data))
	there.git("read-tree", "--reset", "-u", trees[0])
	there.git("read-tree", trees[1])
	run(h.t, dir, "sh", "-c", "git update-index -q --refresh || true")
	if err := os.Remove(filepath.Join(dir, ".git", CheckoutFile)); err != nil {
		h.t.Fatal(err)
	}
	there.git("fsck", "--full", "--strict")
	return there
}

func TestTheWholeRepositoryComesAlong(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		h := newHome(t, "--object-format="+format)
		h.write("a", "one\n")
		h.write("gone", "x\n")
		h.write("sub/b", "two\n")
		h.git("add", "-A")
		h.git("commit", "-q", "-m", "first")
		h.git("tag", "light")
		h.git("tag", "-a", "v1", "-m", "one")
		h.git("branch", "other")
		h.write("a", "staged\n")
		h.git("add", "a")
		h.write("a", "not staged\n")
		h.write("sub/b", "not staged either\n")
		h.write("new", "untracked\n")
		if err := os.Remove(filepath.Join(h.dir, "gone")); err != nil {
			t.Fatal(err)
		}
		for _, dirty := range []bool{false, true} {
			there := h.bring(dirty)
			want := "M  a\n"
			if dirty {
				want = "MM a\n D gone\n M sub/b\n"
			}
			if got := there.git("status", "--porcelain"); got != want {
				t.Errorf("%s, dirty %v: status %q, want %q", format, dirty, got, want)
			}
			for _, show := range [][]string{{"for-each-ref"}, {"symbolic-ref", "HEAD"}, {"rev-parse", "HEAD"}, {"log", "--all", "--format=%H %s"}, {"ls-files", "--stage"}} {
				if got, want := there.git(show...), h.git(show...); got != want {
					t.Errorf("%s, dirty %v: git %v: got %s, want %s", format, dirty, show, got, want)
				}
			}
			if _, err := os.Stat(filepath.Join(there.dir, "new")); err == nil {
				t.Error("an untracked file came along")
			}
		}
	}
}

// Every kind of repository comes along, or is refused with a reason.
func TestUnusualRepositories(t *testing.T) {
	first := func(h home) home {
		h.write("a", "one\n")
		h.git("add", "-A")
		h.git("commit", "-q", "-m", "first")
		return h
	}
	t.Run("unborn", func(t *testing.T) {
		h := newHome(t)
		h.write("a", "staged before the first commit\n")
		h.git("add", "a")
		there := h.bring(false)
		if got := there.git("status", "--porcelain", "--branch"); got != "## No commits yet on main\nA  a\n" {
			t.Errorf("got %q", got)
		}
		newHome(t).bring(true)
	})
	t.Run("detached", func(t *testing.T) {
		h := first(newHome(t))
		h.git("checkout", "-q", "--detach")
		h.write("a", "two\n")
		h.git("commit", "-q", "-a", "-m", "nowhere")
		if there := h.bring(false); there.git("rev-parse", "HEAD") != h.git("rev-parse", "HEAD") || there.git("status", "--porcelain") != "" {
			t.Error("HEAD is not where it was")
		}
	})
	t.Run("linked worktree", func(t *testing.T) {
		h := first(newHome(t))
		linked := home{t, filepath.Join(t.TempDir(), "linked")}
		h.git("worktree", "add", "-q", "-b", "side", linked.dir)
		linked.write("a", "in the linked one\n")
		linked.git("add", "a")
		there := linked.bring(false)
		if got := there.git("status", "--porcelain", "--branch"); got != "## side\nM  a\n" {
			t.Errorf("got %q", got)
		}
		if info, err := os.Stat(filepath.Join(there.dir, ".git")); err != nil || !info.IsDir() {
			t.Error("its .git points elsewhere")
		}
	})
	t.Run("shallow", func(t *testing.T) {
		h := first(newHome(t))
		h.write("a", "two\n")
		h.git("commit", "-q", "-a", "-m", "second")
		shallow := home{t, filepath.Join(t.TempDir(), "shallow")}
		run(t, "/", "git", "clone", "-q", "--depth=1", "file://"+h.dir, shallow.dir)
		if got := shallow.bring(false).git("log", "--format=%s"); got != "second\n" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("sparse", func(t *testing.T) {
		h := newHome(t)
		h.write("in/a", "one\n")
		h.write("out/b", "two\n")
		h.git("add", "-A")
		h.git("commit", "-q", "-m", "first")
		h.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
		there := h.bring(true)
		if _, err := os.Stat(filepath.Join(there.dir, "out/b")); err != nil || there.git("status", "--porcelain") != "" {
			t.Errorf("%v: %s", err, there.git("status", "--porcelain"))
		}
	})
	t.Run("split index", func(t *testing.T) {
		h := first(newHome(t))
		h.git("update-index", "--split-index")
		h.write("b", "x\n")
		h.git("add", "b")
		if got := h.bring(false).git("status", "--porcelain"); got != "A  b\n" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("submodule", func(t *testing.T) {
		inner, h := first(newHome(t)), first(newHome(t))
		h.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.dir, "inner")
		h.git("commit", "-q", "-m", "with a submodule")
		there := h.bring(true)
		if got := there.git("ls-files", "--stage", "inner"); !strings.HasPrefix(got, "160000 ") {
			t.Errorf("got %q", got)
		}
	})
	for name, c := range map[string]struct {
		make func(*testing.T) home
		why  string
	}{
		"bare": {func(t *testing.T) home {
			h := home{t, filepath.Join(t.TempDir(), "bare.git")}
			run(t, "/", "git", "init", "-q", "--bare", h.dir)
			return h
		}, "bare repository"},
		"none": {func(t *testing.T) home { return home{t, t.TempDir()} }, "needs a git repository at hand"},
		"partial": {func(t *testing.T) home {
			from, h := first(newHome(t)), home{t, filepath.Join(t.TempDir(), "partial")}
			from.git("config", "uploadpack.allowFilter", "true")
			run(t, "/", "git", "clone", "-q", "--filter=blob:none", "--no-checkout", "file://"+from.dir, h.dir)
			return h
		}, "partial clone"},
		"borrowed objects": {func(t *testing.T) home {
			from, h := first(newHome(t)), home{t, filepath.Join(t.TempDir(), "shared")}
			run(t, "/", "git", "clone", "-q", "--shared", from.dir, h.dir)
			return h
		}, "objects of"},
		"conflict": {func(t *testing.T) home {
			h := first(newHome(t))
			h.git("checkout", "-q", "-b", "side")
			h.write("a", "side\n")
			h.git("commit", "-q", "-a", "-m", "side")
			h.git("checkout", "-q", "main")
			h.write("a", "main\n")
			h.git("commit", "-q", "-a", "-m", "main")
			run(t, h.dir, "sh", "-c", "git merge -q side || true")
			return h
		}, "merge is not finished"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.make(t)
			s, err := FindRepository(t.Context(), h.dir, false)
			if err == nil {
				_, _, err = PackRepository(t.Context(), s, nil)
			}
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("got %v, want %q", err, c.why)
			}
		})
	}
}

// Attack E1, E3, D8: the repository at hand names programs in its configuration, in an included
// one, in its hooks, and in those of its submodule. None of them runs, and nothing of it but
// tracked content gets into the bottle: no hook, no configuration, no credential.
func TestAttackE1_NothingOfTheRepositoryRuns(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	h, inner := newHome(t), newHome(t)
	for _, r := range []home{h, inner} {
		r.write("a.go", "one\n")
		r.write(".gitattributes", "* filter=evil diff=evil merge=evil\n")
		r.git("add", "-A")
		r.git("commit", "-q", "-m", "first")
	}
	h.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.dir, "inner")
	h.git("commit", "-q", "-m", "second")
	for _, dir := range []string{h.dir, filepath.Join(h.dir, "inner")} {
		r := home{t, dir}
		for _, key := range []string{
			"core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
			"diff.evil.textconv", "diff.evil.command", "diff.external", "merge.evil.driver", "gpg.program", "credential.helper", "alias.status", "uploadpack.packObjectsHook", "core.alternateRefsCommand",
		} {
			r.git("config", key, "touch "+marker+";:")
		}
		r.git("config", "filter.evil.required", "true")
		r.git("config", "include.path", "../evil")
		hooks := strings.TrimSpace(r.git("rev-parse", "--path-format=absolute", "--git-path", "hooks"))
		for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "pre-commit", "fsmonitor-watchman", "post-update", "pre-push", "pre-auto-gc"} {
			if err := os.MkdirAll(hooks, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(hooks, hook), []byte("#!/bin/sh\ntouch "+marker+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.write("evil", "[core]\n\tfsmonitor = touch "+marker+"\n")
	h.git("config", "remote.origin.url", "https://user:s3cr3t-t0ken@git.example/acme/widget.git")
	h.git("config", "remote.other.url", "https://user:s3cr3t-t0ken@elsewhere.example/x")
	h.git("config", "http.extraHeader", "Authorization: Basic s3cr3t-t0ken")
	h.write("a.go", "changed\n")
	h.write("inner/a.go", "changed\n")
	h.write(".env", "s3cr3t-t0ken\n")
	_ = os.Remove(marker)
	address, _ := manifest.ParseAddress("ssh://git@git.example/acme/widget")
	there := h.bring(true, bottle.Repository{GitRepo: manifest.GitRepo{Name: "widget", Upstream: "ssh://git@git.example/acme/widget"}, Address: address})
	if _, err := os.Stat(marker); err == nil {
		t.Error("the repository ran a program")
	}
	if got := there.git("remote", "-v"); !strings.Contains(got, "origin\tssh://git@git.example/acme/widget (fetch)") || strings.Contains(got, "other") {
		t.Errorf("its remotes are %s", got)
	}
	err := filepath.WalkDir(there.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "s3cr3t") || strings.Contains(string(data), "touch ") || strings.Contains(path, "hooks") {
			t.Errorf("%s came along", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := there.git("status", "--porcelain"); got != " M a.go\n" {
		t.Errorf("its state is %q", got)
	}
}
