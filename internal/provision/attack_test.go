package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes a file of a test's.
func put(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(path), os.Symlink(to, path)); err != nil {
		t.Fatal(err)
	}
}

// Attack E3: a directory from elsewhere says, by its pointers, its configuration or its
// links, that its repository or its files are other ones of the operator's: a private
// repository, or a home directory with keys. It is refused, and says why.
func TestAttackE3_PointersToElsewhere(t *testing.T) {
	commit := func(h home) {
		h.write("id_rsa", "PRIVATE\n")
		h.git("add", "-A")
		h.git("commit", "-q", "-m", "first")
	}
	for name, spoil := range map[string]func(t *testing.T, h home, private string){
		"files elsewhere": func(t *testing.T, h home, private string) { h.git("config", "core.worktree", private) },
		"files above":     func(t *testing.T, h home, _ string) { h.git("config", "core.worktree", filepath.Dir(h.dir)) },
		"files elsewhere, in a configuration of the worktree's": func(t *testing.T, h home, private string) {
			h.git("config", "extensions.worktreeConfig", "true")
			put(t, filepath.Join(h.dir, ".git", "config.worktree"), fmt.Sprintf("[core]\n\tworktree = %q\n", private))
		},
		"a pointer to a repository": func(t *testing.T, h home, private string) {
			link(t, "x", filepath.Join(h.dir, ".git"))
			_ = os.Remove(filepath.Join(h.dir, ".git"))
			put(t, filepath.Join(h.dir, ".git"), "gitdir: "+filepath.Join(private, ".git")+"\n")
		},
		"a link to a repository": func(t *testing.T, h home, private string) {
			link(t, filepath.Join(private, ".git"), filepath.Join(h.dir, ".git"))
		},
		"another's common directory": func(t *testing.T, h home, private string) {
			put(t, filepath.Join(h.dir, ".git", "commondir"), filepath.Join(private, ".git")+"\n")
		},
		"a worktree of its own making": func(t *testing.T, h home, private string) {
			made := filepath.Join(h.dir, "made", "worktrees", "w")
			put(t, filepath.Join(made, "commondir"), filepath.Join(private, ".git")+"\n")
			put(t, filepath.Join(made, "gitdir"), filepath.Join(h.dir, ".git")+"\n")
			put(t, filepath.Join(made, "HEAD"), "ref: refs/heads/main\n")
			link(t, "x", filepath.Join(h.dir, ".git"))
			_ = os.Remove(filepath.Join(h.dir, ".git"))
			put(t, filepath.Join(h.dir, ".git"), "gitdir: "+made+"\n")
		},
		"links to objects and refs": func(t *testing.T, h home, private string) {
			for _, name := range []string{"objects", "refs"} {
				link(t, filepath.Join(private, ".git", name), filepath.Join(h.dir, ".git", name))
			}
		},
		"links below": func(t *testing.T, h home, private string) {
			for _, name := range []string{"objects/pack", "refs/heads"} {
				link(t, filepath.Join(private, ".git", name), filepath.Join(h.dir, ".git", name))
			}
		},
		"alternates": func(t *testing.T, h home, private string) {
			put(t, filepath.Join(h.dir, ".git", "objects", "info", "alternates"), filepath.Join(private, ".git", "objects")+"\n")
		},
		"alternates up and away": func(t *testing.T, h home, private string) {
			rel, err := filepath.Rel(filepath.Join(h.dir, ".git", "objects"), filepath.Join(private, ".git", "objects"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(h.dir, ".git", "objects", "info", "alternates"), "#\n\n"+rel+"\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			private, h := newHome(t), newHome(t)
			commit(private)
			commit(h)
			spoil(t, h, private.dir)
			s, err := FindRepository(t.Context(), h.dir, true)
			if err == nil {
				dir, remove, packed := PackRepository(t.Context(), s, nil)
				t.Errorf("it is taken as %+v: %s, %v", s, dir, packed)
				if packed == nil {
					_ = remove()
				}
				return
			}
			if !strings.HasPrefix(err.Error(), "--cwd") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Attack E6, H1: what answers a pull is not git but the bottle's own: refs whose names lead
// elsewhere, that nobody may have, or that would be the operator's; no end of bytes; a
// pack with an object missing. No ref and no file of the operator's changes.
func TestAttackE6_APullFromALiar(t *testing.T) {
	h := newHome(t)
	h.write("a", "x\n")
	h.git("add", "-A")
	h.git("commit", "-q", "-m", "first")
	head := strings.TrimSpace(h.git("rev-parse", "HEAD"))
	line := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	before := h.git("for-each-ref") + h.git("status", "--porcelain")
	for name, said := range map[string]string{
		"up and out":     line(head+" refs/heads/../../../heads/main\x00 agent=x\n") + "0000",
		"up in an arc":   line(head+" refs/heads/x/../../../heads/main\x00 agent=x\n") + "0000",
		"a lock":         line(head+" refs/heads/main.lock\x00 agent=x\n") + "0000",
		"control":        line(head+" refs/heads/\x1b]0;owned\x07\x00 agent=x\n") + "0000",
		"a newline":      line(head+" refs/heads/x\ny\x00 agent=x\n") + "0000",
		"a blank":        line(head+" refs/heads/x y\x00 agent=x\n") + "0000",
		"no id":          line("refs/heads/x\x00 agent=x\n") + "0000",
		"a long line":    "ffff" + strings.Repeat("x", 70_000),
		"an error":       line("ERR \x1b]0;owned\x07 run this: rm -rf /\n"),
		"nothing":        "",
		"no such object": line(strings.Repeat("1", 40)+" refs/heads/x\x00 side-band-64k ofs-delta agent=x\n") + "0000" + line("NAK\n") + line("\x01PACK\x00\x00\x00\x02\x00\x00\x00\x00\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e") + "0000",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "said")
			put(t, file, said)
			pulled, err := Pull(t.Context(), h.dir, "tester-abcdef", []string{"cat", file}, nil, nil)
			if err == nil && len(pulled) > 0 {
				t.Errorf("got %+v", pulled)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07") {
				t.Errorf("the error holds controls: %q", err)
			}
			if after := h.git("for-each-ref") + h.git("status", "--porcelain"); after != before {
				t.Errorf("something has changed: %s", after)
			}
		})
	}
	h.git("fsck", "--full")
}

// Attack E3: the bottle's repository has refs, reflogs and pointers that lead elsewhere, and
// a configuration of its worktree; a pull takes branches of its own objects, and no more.
func TestAttackE3_APullOfAHostileRepository(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	h, there := newHome(t), newHome(t)
	for _, r := range []home{h, there} {
		r.write("a", "one\n")
		r.git("add", "-A")
		r.git("commit", "-q", "-m", "first")
	}
	head := strings.TrimSpace(there.git("rev-parse", "HEAD"))
	there.git("config", "extensions.worktreeConfig", "true")
	put(t, filepath.Join(there.dir, ".git", "config.worktree"), "[uploadpack]\n\tpackObjectsHook = touch "+marker+"; false\n[core]\n\tfsmonitor = touch "+marker+"\n")
	put(t, filepath.Join(there.dir, ".git", "packed-refs"), head+" refs/heads/../../tags/up\n"+head+" refs/heads/ok\n"+head+" refs/bottles/other/x\n"+head+" refs/heads/-u\n")
	put(t, filepath.Join(there.dir, ".git", "refs", "heads", "symbolic"), "ref: ../../../../../etc/passwd\n")
	put(t, filepath.Join(there.dir, ".git", "logs", "refs", "heads", "main"), strings.Repeat("0", 40)+" "+head+" \x1b]0;owned\x07 <x> 1 +0000\tx\n")
	put(t, filepath.Join(there.dir, ".git", "refs", "replace", head), strings.Repeat("2", 40)+"\n")
	pulled, err := h.pullFrom(there)
	if err != nil {
		t.Logf("it says %v", err)
	}
	for _, p := range pulled {
		if !strings.HasPrefix(p.Ref, "refs/bottles/tester-abcdef/") || strings.Contains(p.Ref, "..") {
			t.Errorf("got %s", p.Ref)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something ran")
	}
	for ref := range strings.FieldsSeq(h.git("for-each-ref", "--format=%(refname)")) {
		if ref != "refs/heads/main" && !strings.HasPrefix(ref, "refs/bottles/tester-abcdef/") {
			t.Errorf("there is %s", ref)
		}
	}
}
