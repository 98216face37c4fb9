package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// maxContext bounds what a Dockerfile of the operator's may bring along, in bytes.
const maxContext = 256 << 20

// buildContext collects what a build may see. Nothing in it depends on the time or on
// the host's users, so equal content makes equal bytes.
type buildContext struct {
	data   bytes.Buffer
	tar    *tar.Writer
	secret func([]byte) bool // nil: nothing is
}

func newContext() *buildContext {
	c := &buildContext{}
	c.tar = tar.NewWriter(&c.data)
	return c
}

func (c *buildContext) add(name string, data []byte) error { return c.addMode(name, data, 0o644) }

func (c *buildContext) addMode(name string, data []byte, mode int64) error {
	if err := c.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := c.tar.Write(data)
	return err
}

func (c *buildContext) bytes() ([]byte, error) {
	if err := c.tar.Close(); err != nil {
		return nil, err
	}
	return c.data.Bytes(), nil
}

// leftOut are the names of files that a build does not see.
type leftOut struct {
	private []string // that are called like credentials
	secret  []string // that hold a secret of the bottle's
}

// hiddenName stands for a file whose name holds a secret.
const hiddenName = "(a file whose name is one)"

// addTree adds the regular files of a directory but its Dockerfile and those that are ignored, and
// returns the names of those that it left out because they are, or look like, credentials. Links are
// left out as well: they could lead anywhere on the host.
func (c *buildContext) addTree(dir fs.FS, ignored *patternmatcher.PatternMatcher) (left leftOut, err error) {
	var total int64
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if skipped, matchErr := ignored.MatchesOrParentMatches(name); matchErr == nil && skipped && name != ignoreFile {
			if d.IsDir() && !ignored.Exclusions() {
				return fs.SkipDir
			}
			if err != nil || !d.IsDir() {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if name != "." && private(d) {
			left.private = append(left.private, name)
			return skip(d)
		}
		if c.secret != nil && c.secret([]byte(name)) {
			left.secret = append(left.secret, hiddenName)
			return skip(d)
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() || name == "Dockerfile" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxContext {
			return fmt.Errorf("it is larger than %d MiB; give the Dockerfile a directory of its own, or name in .dockerignore what it does not need", maxContext>>20)
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		if c.secret != nil && c.secret(data) {
			left.secret = append(left.secret, name)
			return nil
		}
		return c.addMode(name, data, int64(info.Mode().Perm()))
	})
	return left, err
}

// ignoreFile names what of a directory no build is sent, as docker's own command reads it. It is sent
// itself: the engine looks in it for its own name and the Dockerfile's.
const ignoreFile = ".dockerignore"

// ignoredIn reads a Dockerfile's own, agent.Dockerfile.dockerignore, or else its directory's.
func ignoredIn(dir fs.FS, dockerfile string) (*patternmatcher.PatternMatcher, error) {
	for _, name := range []string{dockerfile + ignoreFile, ignoreFile} {
		data, err := fs.ReadFile(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
		var ignored *patternmatcher.PatternMatcher
		if err == nil {
			ignored, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", name, err)
		}
		return ignored, nil
	}
	return patternmatcher.New(nil)
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// private reports whether an entry's name is one under which people keep credentials. No
// ignore file can bring such a file back in (ATTACKS D8).
func private(d fs.DirEntry) bool {
	name := strings.ToLower(d.Name()) // some file systems do not care for case
	if d.IsDir() {
		return slices.Contains([]string{".ssh", ".aws", ".gnupg", ".kube", ".docker"}, name)
	}
	return slices.Contains([]string{".env", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".envrc"}, name) ||
		strings.HasPrefix(name, ".env.") || slices.Contains([]string{".pem", ".key", ".p12", ".pfx"}, path.Ext(name)) ||
		slices.Contains([]string{"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"}, name)
}
