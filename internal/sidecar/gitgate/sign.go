package gitgate

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// sign puts signed copies in the place of the commits and tags of a push that has passed its
// checks, and makes the push one of these. Copies differ from what was checked in nothing but
// the signature and the ids of their parents.
func (p *push) sign(ctx context.Context, g git, v *verdict, say func(string)) error {
	if p.mirror.signer == nil || len(v.seen.commits)+len(v.seen.tags) == 0 {
		return nil
	}
	renamed, err := g.signed(ctx, p.mirror.signer, v.updates, v.seen.tags)
	if err != nil {
		return err
	}
	for i, u := range v.updates {
		if to := renamed[u.New]; to != "" {
			v.updates[i].New = to
			v.renamed = append(v.renamed, policy.RefUpdate{Ref: u.Ref, Old: u.New, New: to})
		}
	}
	for i, c := range v.seen.commits {
		if to := renamed[c.id]; to != "" {
			v.seen.commits[i].id = to
		}
	}
	if len(v.renamed) == 0 {
		return nil
	}
	var what []string
	if n := len(v.seen.commits); n > 0 {
		what = append(what, plain.Count(n, "commit"))
	}
	if n := len(v.seen.tags); n > 0 {
		what = append(what, plain.Count(n, "tag"))
	}
	say("signed " + strings.Join(what, ", ") + " with the operator's key: upstream they have other ids")
	return nil
}

// signed makes the copies, those of parents first, and of tags those that are new. It returns the
// ids of all by those of the originals.
func (g git) signed(ctx context.Context, signer ssh.Signer, updates []policy.RefUpdate, fresh []string) (map[string]string, error) {
	var tips strings.Builder
	for _, u := range updates {
		if u.New != "" {
			tips.WriteString(u.New + "\n")
		}
	}
	objects, err := g.list(ctx, tips.String(), "--topo-order", "--reverse")
	if err != nil {
		return nil, err
	}
	tags, err := g.newTags(ctx, updates, fresh)
	if err != nil {
		return nil, err
	}
	to, _ := strings.CutPrefix(g.extra[0], "GIT_OBJECT_DIRECTORY=")
	renamed := make(map[string]string, len(objects))
	return renamed, g.each(ctx, append(objects, tags...), func(o object, kind string, data []byte) error {
		made, err := signCommit, error(nil)
		if kind == "tag" {
			made = signTag
		} else if kind != "commit" {
			return errors.New("only commits and tags can be signed")
		}
		copied, err := made(signer, data, renamed)
		if err != nil {
			return err
		}
		renamed[o.id], err = writeObject(to, kind, copied)
		return err
	}, func(object, io.Reader, int64) error { return errors.New("a commit is too large to be signed") })
}

// list lists the commits that the upstream does not have.
func (g git) list(ctx context.Context, tips string, how ...string) ([]object, error) {
	args := append(append([]string{"rev-list"}, how...), "--stdin", "--not", "--all")
	out, err := g.run(ctx, strings.NewReader(tips), args...)
	if err != nil {
		return nil, err
	}
	var all []object
	for _, id := range strings.Fields(string(out)) {
		all = append(all, object{id: id})
	}
	return all, nil
}

// newTags are the fresh tag objects that refs are to name. One that the upstream has already stays
// whosever it is.
func (g git) newTags(ctx context.Context, updates []policy.RefUpdate, fresh []string) ([]object, error) {
	var all []object
	for _, u := range updates {
		if !slices.Contains(fresh, u.New) {
			continue
		}
		named, err := g.run(ctx, nil, "rev-parse", "--verify", "--quiet", u.New+"^{commit}")
		if err != nil {
			return nil, err
		}
		tag, err := g.run(ctx, nil, "cat-file", "tag", u.New)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(tag, []byte("object "+strings.TrimSpace(string(named))+"\n")) {
			return nil, errors.New("a tag of a tag cannot be signed")
		}
		all = append(all, object{id: u.New})
	}
	return all, nil
}

// writeObject writes a loose object (gitformat-loose), and returns its id.
func writeObject(dir, kind string, data []byte) (string, error) {
	whole := append(fmt.Appendf(nil, "%s %d\x00", kind, len(data)), data...)
	sum := sha1.Sum(whole)
	id := hex.EncodeToString(sum[:])
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, err := z.Write(whole)
	if err = errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	path := filepath.Join(dir, id[:2], id[2:])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); err == nil {
		return id, nil // it was pushed before
	}
	return id, os.WriteFile(path, packed.Bytes(), 0o400)
}

// takeOver makes the mirror's refs what the upstream has, where git has just made them what
// was pushed. The mirror is locked.
func (m *mirror) takeOver(ctx context.Context, renamed []policy.RefUpdate) error {
	var lines strings.Builder
	for _, u := range renamed {
		_, _ = fmt.Fprintf(&lines, "update %s %s %s\n", u.Ref, u.New, u.Old)
	}
	_, err := m.local.run(ctx, strings.NewReader(lines.String()), "update-ref", "--stdin")
	return err
}
