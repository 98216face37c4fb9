package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// CheckoutFile is left in a packed repository's .git for the guest: two ids, that of the
// tree to write as files and that of the tree to have as index.
const CheckoutFile = "bot-bottle-checkout"

// PackRepository writes a repository of its own for the workspace, without files: a pack of
// the objects that branches, tags, HEAD and index need, the refs, and a configuration with
// the remotes that the bottle has. Nothing of it is copied from the repository at hand but
// objects: no hook, no configuration, no file that git does not track. The guest writes the
// files (Checkout). remove deletes dir.
func PackRepository(ctx context.Context, s Source, declared []bottle.Repository) (dir string, remove func() error, err error) {
	parent, err := os.MkdirTemp("", "bot-bottle-cwd-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(parent) }
	p := &packing{Source: s, scratch: filepath.Join(parent, "scratch.git"), index: filepath.Join(parent, "index"), out: filepath.Join(parent, "workspace", ".git")}
	if err := p.pack(ctx, declared); err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot bring %s along: %w", s.Root, err), remove())
	}
	return filepath.Dir(p.out), remove, nil
}

// packing is a repository on its way. scratch is an empty one that borrows the objects: git
// works there, so that the configuration of the repository at hand counts for nothing.
type packing struct {
	Source
	scratch, index, out string
}

func (p *packing) pack(ctx context.Context, declared []bottle.Repository) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	refs, err := p.refs(ctx)
	if err != nil {
		return err
	}
	staged, files, err := p.trees(ctx)
	if err != nil {
		return err
	}
	if err := p.objects(ctx, refs, staged, files); err != nil {
		return err
	}
	remotes, err := p.remotes(ctx, declared)
	if err != nil {
		return err
	}
	return p.write(refs, remotes, staged, files)
}

// prepare makes the scratch repository, with a copy of the index.
func (p *packing) prepare(ctx context.Context) error {
	if _, err := git(ctx, filepath.Dir(p.scratch), "init", "--quiet", "--bare", "--template=", "--object-format="+p.Format, p.scratch); err != nil {
		return err
	}
	for _, dir := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(p.out, dir), 0o755); err != nil {
			return err
		}
	}
	copies := map[string]string{filepath.Join(p.Dir, "index"): p.index, filepath.Join(p.Common, "shallow"): filepath.Join(p.scratch, "shallow")}
	shared, err := filepath.Glob(filepath.Join(escapeGlob(p.Dir), "sharedindex.*"))
	if err != nil {
		return err
	}
	for _, file := range shared {
		copies[file] = filepath.Join(p.scratch, filepath.Base(file))
	}
	for from, to := range copies {
		if err := copyFile(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// escapeGlob takes a path as it is.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// copyFile copies a regular file; a link is not followed.
func copyFile(from, to string) error {
	if info, err := os.Lstat(from); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", from)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// git runs git in the scratch repository.
func (p *packing) git(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	env := append(gitEnv(),
		"GIT_DIR="+p.scratch, "GIT_WORK_TREE="+p.Root, "GIT_INDEX_FILE="+p.index,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES="+quotedPath(filepath.Join(p.Common, "objects")))
	return hostcmd.Command{Env: env, Argv: slices.Concat([]string{"git"}, harmless(), args), Dir: p.Root, Stdin: stdin, Most: maxGitOutput}.Output(ctx)
}

// quotedPath is one of a list that is divided by colons (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES).
func quotedPath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// trees are what is staged, and what the files are to be. Both are "" where nothing is.
func (p *packing) trees(ctx context.Context) (staged, files string, err error) {
	if !exists(p.index) && p.Head != "" {
		if _, err := p.git(ctx, nil, "read-tree", p.Head); err != nil {
			return "", "", err
		}
	}
	if out, err := p.git(ctx, nil, "ls-files", "--unmerged"); err != nil || len(out) > 0 {
		return "", "", errors.Join(err, errors.New("a merge is not finished: resolve the conflicts first"))
	}
	out, err := p.git(ctx, nil, "write-tree")
	if err != nil {
		return "", "", err
	}
	staged = strings.TrimSpace(string(out))
	if !p.Dirty {
		return staged, staged, nil
	}
	if err := p.addTracked(ctx); err != nil {
		return "", "", err
	}
	out, err = p.git(ctx, nil, "write-tree")
	return staged, strings.TrimSpace(string(out)), err
}

// addTracked brings the index up to date with the files that it has, one by one: git add
// would look into submodules, with their configuration.
func (p *packing) addTracked(ctx context.Context) error {
	out, err := p.git(ctx, nil, "ls-files", "--stage", "-z")
	if err != nil {
		return err
	}
	var names bytes.Buffer
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		head, name, ok := bytes.Cut(entry, []byte("\t"))
		if ok && !bytes.HasPrefix(head, []byte("160000 ")) {
			names.Write(name)
			names.WriteByte(0)
		}
	}
	_, err = p.git(ctx, &names, "update-index", "--remove", "--ignore-skip-worktree-entries", "-z", "--stdin")
	return err
}

// objects packs all that is needed.
func (p *packing) objects(ctx context.Context, refs []ref, trees ...string) error {
	tips := []string{p.Head}
	for _, r := range refs {
		tips = append(tips, r.id)
	}
	tips = slices.DeleteFunc(append(tips, trees...), func(id string) bool { return id == "" })
	_, err := p.git(ctx, strings.NewReader(strings.Join(tips, "\n")+"\n"), "pack-objects", "--quiet", "--revs", "--delta-base-offset", filepath.Join(p.out, "objects", "pack", "pack"))
	return err
}

// remote is one that the bottle has, too.
type remote struct{ name, url string }

// remotes are those that lead to a repository behind the gate. Their URLs are the
// manifest's: the repository's own may hold a credential.
func (p *packing) remotes(ctx context.Context, declared []bottle.Repository) ([]remote, error) {
	out, err := git(ctx, p.Root, "config", "--local", "--no-includes", "-z", "--get-regexp", `^remote\..*\.url$`)
	if err != nil { // it has none
		return nil, ctx.Err()
	}
	var all []remote
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		key, url, _ := strings.Cut(entry, "\n")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
		address, ok := manifest.ParseAddress(url)
		i := slices.IndexFunc(declared, func(r bottle.Repository) bool { return ok && r.Address.Place() == address.Place() })
		if i >= 0 && plainName(name) && !slices.ContainsFunc(all, func(r remote) bool { return r.name == name }) {
			all = append(all, remote{name, declared[i].Upstream})
		}
	}
	return all, nil
}

// plainName takes names of remotes as people choose them.
func plainName(s string) bool {
	return s != "" && len(s) <= 100 && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// write writes the repository around the pack.
func (p *packing) write(refs []ref, remotes []remote, staged, files string) error {
	config := "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
	if p.Format != "sha1" {
		config = strings.Replace(config, "= 0", "= 1", 1) + "[extensions]\n\tobjectformat = " + p.Format + "\n"
	}
	for _, r := range remotes {
		config += fmt.Sprintf("[remote %s]\n\turl = %s\n\tfetch = +refs/heads/*:refs/remotes/%s/*\n", manifest.QuotedValue(r.name), manifest.QuotedValue(r.url), r.name)
	}
	head := p.Head
	if p.Branch != "" {
		head = "ref: " + p.Branch
	}
	packed := &strings.Builder{}
	for _, r := range refs {
		_, _ = fmt.Fprintf(packed, "%s %s\n", r.id, r.name)
	}
	content := map[string]string{"config": config, "HEAD": head + "\n", "packed-refs": packed.String(), CheckoutFile: files + " " + staged + "\n"}
	var failed error
	for name, text := range content {
		failed = errors.Join(failed, os.WriteFile(filepath.Join(p.out, name), []byte(text), 0o644))
	}
	if err := copyFile(filepath.Join(p.scratch, "shallow"), filepath.Join(p.out, "shallow")); err != nil && !errors.Is(err, os.ErrNotExist) {
		failed = errors.Join(failed, err)
	}
	return failed
}
