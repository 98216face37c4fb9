package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// Source is the repository at hand, of which a bottle gets a copy: plain data.
type Source struct {
	Root     string // of its working tree
	Dir      string // of this working tree's own state: HEAD and index
	Common   string // where its objects and refs are: elsewhere for a linked worktree, or for a directory that only says that it is one (ATTACKS E3)
	Branch   string // full name of the ref that HEAD stands for; "" when it is detached
	Head     string // id of the commit; "" when there is none yet
	Format   string // of object ids: sha1 or sha256
	Branches int
	Tags     int
	Dirty    bool // with the changes of tracked files that are not staged
	Notes    []string
	Kept     []string // remotes that the bottle has, too
}

// FindRepository looks at the repository that dir is in. It reads, and runs nothing that
// the repository names.
func FindRepository(ctx context.Context, dir string, dirty bool) (Source, error) {
	if err := readable(ctx, dir); err != nil {
		return Source{}, fmt.Errorf("--cwd: %w", err)
	}
	out, err := git(ctx, dir, "rev-parse", "--path-format=absolute", "--is-bare-repository", "--git-dir", "--git-common-dir", "--show-object-format")
	if err != nil {
		return Source{}, notFound("--cwd", dir, err)
	}
	words := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(words) != 4 {
		return Source{}, errors.New("--cwd needs a git repository at hand, with a path of one line")
	}
	s := Source{Dir: words[1], Common: words[2], Format: words[3], Dirty: dirty}
	if words[0] == "true" {
		return Source{}, fmt.Errorf("--cwd needs a working tree, and %s is a bare repository: use a clone of it", s.Common)
	}
	if out, err = git(ctx, dir, "rev-parse", "--show-toplevel"); err != nil {
		return Source{}, fmt.Errorf("--cwd needs a working tree: %w", err)
	}
	s.Root = strings.TrimSuffix(string(out), "\n")
	if err := s.elsewhere(ctx); err != nil {
		return Source{}, err
	}
	if file := filepath.Join(s.Common, "objects", "info", "alternates"); exists(file) {
		return Source{}, fmt.Errorf("--cwd: objects of %s are in another repository (%s): run git repack -a -d there and remove that file, or use a clone", s.Root, file)
	}
	if out, err := git(ctx, dir, "symbolic-ref", "--quiet", "HEAD"); err == nil {
		s.Branch = strings.TrimSpace(string(out))
	}
	if out, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err == nil {
		s.Head = strings.TrimSpace(string(out))
	}
	refs, err := s.refs(ctx)
	if err != nil {
		return Source{}, fmt.Errorf("--cwd: %w", err)
	}
	for _, r := range refs {
		if strings.HasPrefix(r.name, "refs/heads/") {
			s.Branches++
		} else {
			s.Tags++
		}
	}
	return s, s.note(ctx)
}

// note finds what the operator may not expect of the copy.
func (s *Source) note(ctx context.Context) error {
	if s.Head == "" {
		s.Notes = append(s.Notes, "nothing is committed yet")
	}
	if exists(filepath.Join(s.Common, "shallow")) {
		s.Notes = append(s.Notes, "its history is cut, as it is here (a shallow clone)")
	}
	if out, err := git(ctx, s.Root, "config", "--local", "--no-includes", "--get-regexp", `^(remote\..*\.promisor|extensions\.partialclone)$`); err == nil && len(out) > 0 {
		return fmt.Errorf("--cwd: %s is a partial clone, which lacks objects: git fetch --refetch --no-filter gets them", s.Root)
	}
	if exists(filepath.Join(s.Root, ".gitmodules")) {
		s.Notes = append(s.Notes, "submodules stay empty")
	}
	if exists(filepath.Join(s.Dir, "info", "sparse-checkout")) {
		s.Notes = append(s.Notes, "with all files, though the working tree here is sparse")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// ref is a branch or a tag.
type ref struct{ id, name string }

// refs lists branches and tags.
func (s Source) refs(ctx context.Context) ([]ref, error) {
	out, err := git(ctx, s.Root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, fmt.Errorf("cannot list the refs of %s: %w", s.Root, err)
	}
	var all []ref
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		all = append(all, ref{id, name})
	}
	return all, nil
}

// String is one line for the preflight.
func (s Source) String() string {
	what := []string{count(s.Branches, "branch", "branches"), count(s.Tags, "tag", "tags"), "what is staged"}
	if s.Dirty {
		what = append(what, "changes of tracked files")
	}
	return fmt.Sprintf("%s: %s", s.Root, strings.Join(what, ", "))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// maxGitOutput bounds what git may print: names of refs and files.
const maxGitOutput = 256 << 20

// git runs git on the operator's own repository, with no configuration but its own
// defaults and the repository's. That is hostile (ATTACKS E1): none of these commands runs a
// hook, and what could still run a program of its choosing is switched off by name.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	argv := slices.Concat([]string{"git", "-C", dir}, harmless(), args)
	return hostcmd.Command{Env: gitEnv(), Argv: argv, Most: maxGitOutput}.Output(ctx)
}

// noRepository is a directory that is in none.
type noRepository struct{ verb, dir string }

// notFound is what git says of a directory, in our words where it is in no repository.
func notFound(verb, dir string, err error) error {
	if strings.Contains(err.Error(), "not a git repository") {
		return noRepository{verb, dir}
	}
	return fmt.Errorf("%s needs a git repository at hand: %w", verb, err)
}

func (e noRepository) Error() string {
	return fmt.Sprintf("%s needs a git repository at hand, and %s is in none", e.verb, e.dir)
}

// Hint says what to do.
func (noRepository) Hint() string {
	return "change to a directory of one, or make one of this: git init"
}

// harmless are the settings by which git would run a program.
func harmless() []string {
	return []string{
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never",
		"-c", "core.sshCommand=false", "-c", "credential.helper=", "-c", "submodule.recurse=false", "-c", "core.pager=cat", "-c", "diff.external=",
	}
}

func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_ATTR_NOSYSTEM=1",
	}
}
