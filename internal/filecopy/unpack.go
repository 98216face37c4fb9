package filecopy

import (
	"archive/tar"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
)

// Options of Unpack.
type Options struct {
	// Repositories brings what git would take for a repository, too: .git, and files called
	// HEAD. The configuration of one that an agent wrote runs programs as soon as git, or a
	// prompt, looks at the directory.
	Repositories bool
	MaxBytes     int64 // of all files; 0 is no limit
	MaxFiles     int64 // entries; 0 is no limit
	Progress     func(Summary)
}

// Summary is what came.
type Summary struct {
	Files, Bytes int64
	Left         []Left // out, the first of them; a directory stands for what is in it
	LeftOut      int64  // how many that were
}

// Left is something that was left out.
type Left struct{ Name, Why string }

const maxLeft = 20

// ErrTooMuch is the end of an archive that holds more than was allowed.
var ErrTooMuch = errors.New("there is more than was allowed")

// Unpack reads an archive of one file or tree and puts it at name in dir, an existing
// directory. A file takes the place of a file or a link; a directory is merged with one that is
// there. On error what came before it stays.
func Unpack(archive io.Reader, dir, name string, o Options) (Summary, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Summary{}, err
	}
	defer func() { _ = root.Close() }()
	u := &unpacking{root: root, name: name, options: o, in: tar.NewReader(archive)}
	err = u.run()
	return u.sum, errors.Join(err, u.finish())
}

// UnpackFile copies the one file of an archive to w.
func UnpackFile(archive io.Reader, w io.Writer) (int64, error) {
	in := tar.NewReader(archive)
	h, err := in.Next()
	if err != nil {
		return 0, unreadable(err)
	}
	if h.Typeflag != tar.TypeReg {
		return 0, errors.New("it is not a file")
	}
	return io.Copy(w, in)
}

type unpacking struct {
	root    *os.Root
	name    string // of the top
	options Options
	in      *tar.Reader
	top     string // what the archive calls it
	gone    string // what a directory that was left out has below it begins so
	sum     Summary
	made    []madeDir
}

// madeDir is a directory that gets its mode when everything is in it.
type madeDir struct {
	name string
	mode fs.FileMode
	when time.Time
}

func (u *unpacking) run() error {
	for {
		h, err := u.in.Next()
		if errors.Is(err, io.EOF) && u.top != "" {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
		if err := u.entry(h); err != nil {
			return err
		}
		if u.options.Progress != nil {
			u.options.Progress(u.sum)
		}
	}
}

func unreadable(err error) error { return fmt.Errorf("cannot read what the bottle sends: %w", err) }

// entry unpacks one. An error ends it all; what may not be is left out.
func (u *unpacking) entry(h *tar.Header) error {
	clean := path.Clean("/" + h.Name)[1:]
	if u.top == "" {
		if u.top = clean; clean == "" || strings.Contains(clean, "/") {
			return fmt.Errorf("the bottle sends %q first", h.Name)
		}
	}
	below, ok := strings.CutPrefix(clean, u.top)
	if !ok || below != "" && below[0] != '/' || strings.Contains("/"+h.Name+"/", "/../") {
		return fmt.Errorf("the bottle sends %q, which is not below %q", h.Name, u.top)
	}
	if u.sum.Files++; u.options.MaxFiles > 0 && u.sum.Files > u.options.MaxFiles {
		return fmt.Errorf("%w: more than %d files", ErrTooMuch, u.options.MaxFiles)
	}
	if u.gone != "" && strings.HasPrefix(below, u.gone) { // told of already
		u.sum.Files--
		return nil
	}
	if why := u.unwanted(h, below); why != "" {
		u.leave(u.name+below, why)
		if h.Typeflag == tar.TypeDir {
			u.gone = below + "/"
		}
		return nil
	}
	target := u.name + below
	if why := u.crooked(target); why != "" {
		u.leave(target, why)
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(target, h)
	case tar.TypeReg:
		return u.file(target, h)
	case tar.TypeLink:
		return u.again(target, h)
	default:
		return u.replace(target, func(as string) error { return u.root.Symlink(h.Linkname, as) })
	}
}

func (u *unpacking) leave(name, why string) {
	u.sum.Files--
	if u.sum.LeftOut++; len(u.sum.Left) < maxLeft {
		u.sum.Left = append(u.sum.Left, Left{name, why})
	}
}

// unwanted says why an entry is not brought, "" if it is.
func (u *unpacking) unwanted(h *tar.Header, below string) string {
	for part := range strings.SplitSeq(strings.TrimPrefix(below, "/"), "/") {
		if !u.options.Repositories && gits(part) {
			return "git would take it for a repository, and do what it says"
		}
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeReg, tar.TypeLink:
		return ""
	case tar.TypeSymlink:
		if below == "" || leadsOut(path.Dir(below), h.Linkname) {
			return "a link that leads out of what is copied"
		}
		return ""
	}
	return "neither a file nor a directory"
}

// gits reports whether a name makes git, on any file system, take the directory that it is in
// for a repository, or for a part of one.
func gits(name string) bool {
	plain := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1 // file systems of macOS do not see it
		}
		return unicode.ToLower(r)
	}, name)
	plain = strings.TrimRight(plain, ". ") // nor Windows these
	return plain == ".git" || plain == "git~1" || plain == "head"
}

// leadsOut reports whether a link in a directory, absolute below the tree, may lead out of the
// tree. It must go up first and down then: on the way down it may pass other links, from which
// up is not where it seems to be.
func leadsOut(dir, link string) bool {
	if link == "" || path.IsAbs(link) || strings.Contains(link, "\\") {
		return true
	}
	depth, down := strings.Count(path.Clean(dir), "/"), false
	if path.Clean(dir) == "/" {
		depth = 0
	}
	for part := range strings.SplitSeq(link, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down:
			return true
		default:
			depth--
		}
	}
	return depth < 0
}

// crooked says why nothing may be written under a name: a directory on the way to it is none.
func (u *unpacking) crooked(target string) string {
	for i := range target {
		if target[i] != '/' {
			continue
		}
		if info, err := u.root.Lstat(target[:i]); err != nil || !info.IsDir() {
			return "it would go through something that is no directory"
		}
	}
	return ""
}

func (u *unpacking) directory(target string, h *tar.Header) error {
	err := u.root.Mkdir(target, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := u.root.Lstat(target); statErr == nil && info.IsDir() {
			return nil
		}
		if target == u.name {
			return fmt.Errorf("%s is there and no directory", target)
		}
		u.leave(target, "something of this name is there and no directory")
		return nil
	}
	if err == nil {
		u.made = append(u.made, madeDir{target, mode(h) | 0o700, h.ModTime})
	}
	return err
}

// mode is what of an entry's mode is kept: nothing that gives rights to others.
func mode(h *tar.Header) fs.FileMode { return fs.FileMode(h.Mode) & 0o755 }

func (u *unpacking) file(target string, h *tar.Header) error {
	if u.options.MaxBytes > 0 && h.Size > u.options.MaxBytes-u.sum.Bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooMuch, u.options.MaxBytes)
	}
	return u.replace(target, func(as string) error {
		f, err := u.root.OpenFile(as, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(&counted{f, u}, u.in)
		if err := errors.Join(err, f.Chmod(mode(h)), f.Close()); err != nil {
			return err
		}
		_ = u.root.Chtimes(as, h.ModTime, h.ModTime)
		return nil
	})
}

// counted counts what is written.
type counted struct {
	io.Writer
	u *unpacking
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if c.u.sum.Bytes += int64(n); c.u.options.Progress != nil {
		c.u.options.Progress(c.u.sum)
	}
	return n, err
}

// again makes another name of a file that has come before.
func (u *unpacking) again(target string, h *tar.Header) error {
	clean := path.Clean("/" + h.Linkname)[1:]
	below, ok := strings.CutPrefix(clean, u.top+"/")
	from := u.name + "/" + below
	if !ok || u.crooked(from) != "" {
		u.leave(target, "another name of something that is not there")
		return nil
	}
	if info, err := u.root.Lstat(from); err != nil || !info.Mode().IsRegular() {
		u.leave(target, "another name of something that is not there")
		return nil
	}
	return u.replace(target, func(as string) error { return u.root.Link(from, as) })
}

// replace makes something beside target and puts it in its place, in one step that follows no
// link. A directory is not replaced.
func (u *unpacking) replace(target string, make func(as string) error) error {
	if info, err := u.root.Lstat(target); err == nil && info.IsDir() {
		if target == u.name {
			return fmt.Errorf("%s is a directory", target)
		}
		u.leave(target, "a directory of this name is there")
		return nil
	}
	var b [8]byte
	_, _ = rand.Read(b[:])
	as := path.Join(path.Dir(target), ".bot-bottle-"+hex.EncodeToString(b[:]))
	err := make(as)
	if err == nil {
		err = u.root.Rename(as, target)
	}
	_ = u.root.Remove(as) // after an error; and a name of the very same file is not renamed to it
	return err
}

// finish gives directories their modes, the deepest first.
func (u *unpacking) finish() (err error) {
	for i := len(u.made) - 1; i >= 0; i-- {
		d := u.made[i]
		_ = u.root.Chtimes(d.name, d.when, d.when)
		err = errors.Join(err, u.root.Chmod(d.name, d.mode))
	}
	return err
}
