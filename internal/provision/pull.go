package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// Pulled is a branch of a bottle's that was brought into the repository at hand.
type Pulled struct {
	Ref     string    `json:"ref"`           // refs/bottles/IDENTITY/BRANCH
	Old     string    `json:"old,omitempty"` // what it was before, "" for a new one
	New     string    `json:"new"`
	Commits []Written `json:"commits"` // that no branch here has, newest first; at most 100
	Stat    []string  `json:"stat"`    // lines of git diff --stat, against where it left HEAD
}

// Written is a commit. Its texts are the agent's.
type Written struct {
	ID      string `json:"id"`
	Author  string `json:"author"`
	Subject string `json:"subject"`
}

// Pull fetches all branches of a bottle's repository into the one that dir is in, as
// refs/bottles/IDENTITY/*, and returns those that are other than before. transport is a
// command (a program and words, without "%") that speaks for git upload-pack on its standard
// streams; env is what it needs. tell, which may be nil, hears how far it is.
//
// Every object is checked (git-fsck(1)), and nothing that is fetched is run, checked out or
// interpreted. The fetch runs in a repository of its own that shares the objects, so that no
// configuration of the one at hand takes part in it.
func Pull(ctx context.Context, dir, identity string, transport, env []string, tell func(string)) (pulled []Pulled, err error) {
	if err := readable(ctx, dir); err != nil {
		return nil, err
	}
	out, err := git(ctx, dir, "rev-parse", "--path-format=absolute", "--git-common-dir", "--show-object-format")
	if err != nil {
		return nil, notFound("pull", dir, err)
	}
	common, format, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	scratch, err := os.MkdirTemp("", "bot-bottle-pull-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	p := &pull{dir: dir, common: common, scratch: scratch, prefix: "refs/bottles/" + identity + "/", env: env, tell: tell}
	if err := p.prepare(ctx, format); err != nil {
		return nil, err
	}
	if err := p.fetch(ctx, transport); err != nil {
		return nil, err
	}
	if pulled, err = p.news(ctx); err != nil {
		return nil, err
	}
	return pulled, p.keep(ctx, pulled)
}

type pull struct {
	dir, common, scratch, prefix string

	env    []string
	tell   func(string)
	before map[string]string // refs of the bottle, by name
	there  []string          // what they are to be called now
}

// git runs git in the scratch repository, on the objects of the one at hand.
func (p *pull) git(ctx context.Context, more, args []string) ([]byte, error) {
	env := append(gitEnv(), "GIT_DIR="+p.scratch, "GIT_OBJECT_DIRECTORY="+filepath.Join(p.common, "objects"))
	argv := slices.Concat([]string{"git"}, harmless(), more, args)
	c := hostcmd.Command{Env: append(env, p.env...), Argv: argv, Dir: p.scratch, Most: maxGitOutput, Grace: pullGrace}
	if p.tell != nil {
		c.Stderr = &progress{tell: p.tell}
	}
	return c.Output(ctx)
}

// pullGrace is for git to take its unfinished packs away, which are among the objects at hand,
// and for the transport to take the bottle's side away, when the operator gives up.
const pullGrace = 20 * time.Second

// prepare makes the scratch repository know the refs at hand: what they have is not
// fetched again.
func (p *pull) prepare(ctx context.Context, format string) error {
	if _, err := git(ctx, p.scratch, "init", "--quiet", "--bare", "--template=", "--object-format="+format, p.scratch); err != nil {
		return err
	}
	out, err := git(ctx, p.dir, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return err
	}
	p.before = make(map[string]string)
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if strings.HasPrefix(name, p.prefix) {
			p.before[name] = id
		}
	}
	if err := copyFile(filepath.Join(p.common, "shallow"), filepath.Join(p.scratch, "shallow")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(filepath.Join(p.scratch, "packed-refs"), out, 0o600)
}

// incoming is where branches arrive in the scratch repository: what they will be here may be in
// the way of what another one was.
const incoming = "refs/incoming/"

func (p *pull) fetch(ctx context.Context, transport []string) error {
	words := make([]string, len(transport))
	for i, word := range transport {
		words[i] = strings.NewReplacer("%", "%%", " ", "% ").Replace(word) // git-remote-ext(1)
	}
	more := []string{
		"-c", "protocol.ext.allow=always", "-c", "fetch.fsckObjects=true", "-c", "fetch.unpackLimit=1", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "transfer.bundleURI=false",
	}
	loud := "--quiet"
	if p.tell != nil {
		loud = "--progress"
	}
	_, err := p.git(ctx, more, []string{
		"fetch", loud, "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance", "--no-update-shallow", "--force",
		"ext::" + strings.Join(words, " "), "+refs/heads/*:" + incoming + "*",
	})
	if err != nil {
		return fmt.Errorf("cannot fetch from the bottle: %w", cause(err))
	}
	return nil
}

// cause is the first thing that a failed git or our own transport said: what follows is
// git's advice about servers and their access rights.
func cause(err error) error {
	failed := (*hostcmd.RunError)(nil)
	if !errors.As(err, &failed) || len(failed.Said) == 0 {
		return err
	}
	said := slices.DeleteFunc(slices.Clone(failed.Said), isProgress)
	if len(said) == 0 {
		return err
	}
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(said[0], "fatal: "), "bot-bottle: "))
}

// news looks at what was fetched.
func (p *pull) news(ctx context.Context) ([]Pulled, error) {
	out, err := p.git(ctx, nil, []string{"for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", incoming})
	if err != nil {
		return nil, err
	}
	var all []Pulled
	for line := range strings.Lines(string(out)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(fields) == 3 {
			fields[2] = p.prefix + strings.TrimPrefix(fields[2], incoming)
			p.there = append(p.there, fields[2])
		}
		if len(fields) != 3 || fields[1] != "commit" || p.before[fields[2]] == fields[0] {
			continue
		}
		one := Pulled{Ref: fields[2], Old: p.before[fields[2]], New: fields[0]}
		if err := p.describe(ctx, &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// describe lists the commits that no branch at hand has, and what they change.
func (p *pull) describe(ctx context.Context, one *Pulled) error {
	known := []string{"--not", "--branches", "--remotes"}
	if one.Old != "" {
		known = append(known, one.Old)
	}
	out, err := p.git(ctx, nil, append([]string{"log", "--max-count=100", "--format=%H%x00%an <%ae>%x00%s", "--no-show-signature", one.New}, known...))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(strings.TrimSuffix(line, "\n"), "\x00"); len(fields) == 3 {
			one.Commits = append(one.Commits, Written{fields[0], fields[1], fields[2]})
		}
	}
	base := one.Old
	if base == "" {
		if head, err := git(ctx, p.dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err == nil {
			if out, err := p.git(ctx, nil, []string{"merge-base", strings.TrimSpace(string(head)), one.New}); err == nil {
				base = strings.TrimSpace(string(out))
			}
		}
	}
	args := []string{"diff-tree", "-r", "--root", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--stat=100", "--stat-count=50"}
	if base != "" {
		args = append(args, base)
	}
	if out, err = p.git(ctx, nil, append(args, one.New)); err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		one.Stat = append(one.Stat, strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// keep writes the refs into the repository at hand: all, or none. What a ref was before is
// in its reflog.
func (p *pull) keep(ctx context.Context, pulled []Pulled) error {
	if len(pulled) == 0 {
		return nil
	}
	if err := p.makeRoom(ctx, pulled); err != nil {
		return err
	}
	var lines strings.Builder
	for _, one := range pulled {
		old := one.Old
		if old == "" {
			old = strings.Repeat("0", len(one.New))
		}
		_, _ = fmt.Fprintf(&lines, "update %s\x00%s\x00%s\x00", one.Ref, one.New, old)
	}
	return p.updateRefs(ctx, lines.String())
}

// makeRoom moves refs of branches that the bottle no longer has out of the way of new ones: a
// file of that name would be where a directory has to be, or the other way round. They are
// kept as @was/COMMIT.
func (p *pull) makeRoom(ctx context.Context, pulled []Pulled) error {
	var lines strings.Builder
	var kept []string
	for old, id := range p.before {
		inTheWay := slices.ContainsFunc(pulled, func(one Pulled) bool {
			return strings.HasPrefix(one.Ref, old+"/") || strings.HasPrefix(old, one.Ref+"/")
		})
		if !inTheWay || slices.Contains(p.there, old) {
			continue
		}
		_, _ = fmt.Fprintf(&lines, "delete %s\x00%s\x00", old, id)
		if !slices.Contains(kept, id) {
			kept = append(kept, id)
			_, _ = fmt.Fprintf(&lines, "update %s@was/%s\x00%s\x00\x00", p.prefix, id, id)
		}
	}
	if lines.Len() == 0 {
		return nil
	}
	return p.updateRefs(ctx, lines.String())
}

// updateRefs is one transaction (git-update-ref(1), -z --stdin).
func (p *pull) updateRefs(ctx context.Context, lines string) error {
	argv := slices.Concat([]string{"git", "-C", p.dir}, harmless(), []string{"-c", "core.logAllRefUpdates=always", "update-ref", "-m", "bot-bottle pull", "-z", "--stdin"})
	env := append(gitEnv(), "GIT_COMMITTER_NAME=bot-bottle", "GIT_COMMITTER_EMAIL=bot-bottle@localhost")
	_, err := hostcmd.Command{Env: env, Argv: argv, Stdin: strings.NewReader(lines)}.Output(ctx)
	return err
}
