package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// maxContext bounds what a Dockerfile of the operator's may bring along, in bytes.
const maxContext = 256 << 20

var fromLine = regexp.MustCompile(`(?im)^\s*FROM\s`)

// EnsureCustom builds the operator's own Dockerfile, whose directory is the context. A
// Dockerfile without FROM builds on the named image of ours; one with it finds that
// image's reference in the build argument BOT_BOTTLE_BASE. The tag is a hash of
// everything in the context.
func (b Builder) EnsureCustom(ctx context.Context, base, file string, say func(string)) (Image, error) {
	on, err := b.Ensure(ctx, base, say)
	if err != nil {
		return Image{}, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return Image{}, fmt.Errorf("cannot read the bottle's Dockerfile: %w", err)
	}
	if !fromLine.Match(content) {
		content = slices.Concat([]byte("FROM "+on.Ref+"\n"), content)
	} else {
		content = slices.Concat([]byte("ARG BOT_BOTTLE_BASE="+on.Ref+"\n"), content)
	}
	c := &buildContext{}
	c.tar = tar.NewWriter(&c.data)
	if err := errors.Join(addTree(c, filepath.Dir(file)), c.add("Dockerfile", content), c.tar.Close()); err != nil {
		return Image{}, fmt.Errorf("cannot read the directory of %s: %w", file, err)
	}
	ref := "bot-bottle/custom:" + hash(c.data.Bytes())
	return b.ensure(ctx, ref, say, func(fresh *buildContext) error {
		return errors.Join(addTree(fresh, filepath.Dir(file)), fresh.add("Dockerfile", content))
	})
}

// addTree adds every regular file of a directory but its Dockerfile. Links are not
// followed: they could lead anywhere on the host.
func addTree(c *buildContext, root string) error {
	var total int64
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		relative, err := filepath.Rel(root, name)
		if err != nil || !d.Type().IsRegular() || relative == "Dockerfile" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxContext {
			return fmt.Errorf("it is larger than %d MiB; give the Dockerfile a directory of its own", maxContext>>20)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return c.addMode(filepath.ToSlash(relative), data, int64(info.Mode().Perm()))
	})
}
