package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// elsewhere refuses a repository whose state, objects or files are not where its working
// tree is, unless what they are says that it belongs to that tree, too. A directory from
// somebody else could otherwise stand for a private repository, or for a home directory with
// keys in it (ATTACKS E3).
func (s Source) elsewhere(ctx context.Context) error {
	dotgit := filepath.Join(s.Root, ".git")
	info, err := os.Lstat(dotgit)
	switch {
	case err != nil:
		return fmt.Errorf("--cwd: the configuration of %s says that its files are in %s, which does not say so: unset core.worktree there, or use a clone", s.Dir, s.Root)
	case info.IsDir():
		if !samePath(dotgit, s.Dir) || !samePath(dotgit, s.Common) {
			return fmt.Errorf("--cwd: the repository of %s is in %s: use a clone", s.Root, s.Common)
		}
	case !info.Mode().IsRegular() || !s.pointsBack(ctx, dotgit):
		return fmt.Errorf("--cwd: %s leads to %s, which does not say that %s belongs to it: use a clone, or git worktree add", dotgit, s.Dir, s.Root)
	}
	for _, name := range []string{"objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/tags", "packed-refs", "config"} {
		if info, err := os.Lstat(filepath.Join(s.Common, name)); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("--cwd: %s is a link: use a clone", filepath.Join(s.Common, name))
		}
	}
	return nil
}

// pointsBack reports whether the state that a file .git names is a linked worktree of its
// repository, or a submodule's, and names the same tree.
func (s Source) pointsBack(ctx context.Context, dotgit string) bool {
	if back, err := os.ReadFile(filepath.Join(s.Dir, "gitdir")); err == nil {
		return samePath(strings.TrimSuffix(string(back), "\n"), dotgit) && samePath(filepath.Dir(filepath.Dir(s.Dir)), s.Common) && filepath.Base(filepath.Dir(s.Dir)) == "worktrees"
	}
	if !samePath(s.Dir, s.Common) {
		return false
	}
	out, err := git(ctx, s.Root, "config", "--file", filepath.Join(s.Dir, "config"), "--no-includes", "core.worktree")
	tree := strings.TrimSuffix(string(out), "\n")
	if !filepath.IsAbs(tree) {
		tree = filepath.Join(s.Dir, tree)
	}
	return err == nil && samePath(tree, s.Root)
}

// samePath reports whether two paths lead to the same file.
func samePath(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
