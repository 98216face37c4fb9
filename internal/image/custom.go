package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const customName = "bot-bottle/custom"

// baseArgument is the build argument that names the template's image.
const baseArgument = "BOT_BOTTLE_BASE"

// EnsureCustom builds the operator's own Dockerfile, whose directory is the context. A
// Dockerfile without FROM builds on the named image of ours; one with it finds that
// image's reference in the build argument BOT_BOTTLE_BASE. The tag is a hash of
// everything in the context.
//
// The directory may be a repository, so its content is hostile: no link leads out of it,
// and files that look like credentials stay behind.
func (b Builder) EnsureCustom(ctx context.Context, base, file string, say func(string)) (Image, error) {
	on, err := b.Ensure(ctx, base, say)
	if err != nil {
		return Image{}, err
	}
	sent, left, err := customContext(file, on.Ref)
	if err != nil {
		return Image{}, err
	}
	// What was hashed is what is sent: the directory may change meanwhile.
	ref := customRef(on, sent)
	return b.ensure(ctx, ref, say, func() (job, error) {
		if len(left) > 0 {
			say("left out of the build, since they may hold credentials: " + summary(left))
		}
		return job{context: bytes.NewReader(sent), arguments: map[string]string{baseArgument: on.Ref}}, nil
	})
}

func customRef(on Image, sent []byte) string { return customName + ":" + hash([]byte(on.ID), sent) }

// CustomRef names the image that EnsureCustom would build now, "" while the base is
// missing. It builds nothing.
func (b Builder) CustomRef(ctx context.Context, base, file string) (string, error) {
	ref, err := b.Ref(base)
	if err != nil {
		return "", err
	}
	on, err := b.find(ctx, ref)
	if err != nil || on.ID == "" {
		return "", err
	}
	sent, _, err := customContext(file, on.Ref)
	if err != nil {
		return "", err
	}
	return customRef(on, sent), nil
}

// customContext returns what a build of the Dockerfile sees, and the names of the files
// that stayed behind.
func customContext(file, base string) (sent []byte, left []string, err error) {
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the directory of %s: %w", file, err)
	}
	defer func() { _ = dir.Close() }()
	content, err := dir.ReadFile(filepath.Base(file))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the bottle's Dockerfile: %w", err)
	}
	c := newContext()
	if left, err = c.addTree(dir.FS()); err != nil {
		return nil, nil, fmt.Errorf("cannot read the directory of %s: %w", file, err)
	}
	if err := c.add("Dockerfile", onBase(content, base)); err != nil {
		return nil, nil, err
	}
	sent, err = c.bytes()
	return sent, left, err
}

// onBase has a Dockerfile without FROM build on the base, and tells one with FROM what
// the base is.
func onBase(content []byte, base string) []byte {
	first := "FROM " + base + "\n"
	if hasFrom(string(content)) {
		first = "ARG " + baseArgument + "=" + base + "\n"
	}
	return append([]byte(first), content...)
}

// hasFrom reports whether a Dockerfile begins with FROM. Only comments and arguments may
// stand before it; a line that begins with "from" further on is part of a command.
func hasFrom(content string) bool {
	continued := false
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word := strings.ToUpper(strings.Fields(line)[0])
		if !continued && word != "ARG" {
			return word == "FROM"
		}
		continued = strings.HasSuffix(line, `\`)
	}
	return false
}

// summary lists a few names.
func summary(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
