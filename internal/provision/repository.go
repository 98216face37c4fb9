package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// FindRepository returns the root of the git repository that dir is in, which must
// have a commit to begin from, and where its objects are: elsewhere for a worktree, or
// for a directory that only says that it is one (ATTACKS E3), so the operator is to see it.
func FindRepository(ctx context.Context, dir string) (root, objects string, err error) {
	out, err := git(ctx, dir, "rev-parse", "--show-toplevel", "--path-format=absolute", "--git-common-dir")
	if err != nil {
		return "", "", fmt.Errorf("--cwd needs a git repository at hand: %w", err)
	}
	root, objects, _ = strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")
	if _, err := git(ctx, root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return "", "", fmt.Errorf("--cwd needs a commit to begin from: %s has none", root)
	}
	return root, objects, nil
}

// CloneRepository makes a fresh clone of what is committed on the branch at hand, in a
// directory that remove deletes. What git does not know stays behind: changes that are
// not committed, ignored files such as .env, hooks, the repository's configuration with its
// remotes and credentials.
func CloneRepository(ctx context.Context, root string) (dir string, remove func() error, err error) {
	parent, err := os.MkdirTemp("", "bot-bottle-clone-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(parent) }
	dir = filepath.Join(parent, "workspace")
	_, err = git(ctx, parent, "clone", "--quiet", "--no-local", "--single-branch", "--no-tags", "--template=", "--", root, dir)
	if err == nil {
		_, err = git(ctx, dir, "remote", "remove", "origin")
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot clone %s: %w", root, err), remove())
	}
	return dir, remove, nil
}

// git runs git with no configuration but its own defaults. The repository's own is
// hostile (ATTACKS E1): none of these commands runs a hook, and what could still run a
// program of its choosing is switched off by name.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	argv := append([]string{
		"git", "-C", dir, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never",
		"-c", "core.sshCommand=false", "-c", "credential.helper=", "-c", "submodule.recurse=false",
	}, args...)
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0", "GIT_ATTR_NOSYSTEM=1",
	}
	return hostcmd.OutputWith(ctx, env, argv)
}
