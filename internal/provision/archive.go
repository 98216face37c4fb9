// Package provision puts into a bottle what its agent needs: trust for the bottle's
// own CA, the prompt, skills, the git identity and the way to supervise (DESIGN §6, in
// this order). Each step is a function in a file of its own.
//
// The steps only collect files and environment; a backend carries them in as one
// archive before the first process starts. They must never see a secret.
package provision

import (
	"archive/tar"
	"cmp"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Archive is what a bottle starts with. The zero Archive is empty and ready.
type Archive struct {
	files map[string]entry
	env   map[string]string
}

type entry struct {
	mode int64
	uid  int
	data []byte
}

// Add writes a file; the last one at a path wins.
func (a *Archive) Add(f provider.File) {
	if a.files == nil {
		a.files = make(map[string]entry)
	}
	a.files[path.Clean("/"+f.Path)] = entry{f.Mode, f.UID, f.Data}
}

// Setenv sets a variable for every process in the bottle.
func (a *Archive) Setenv(name, value string) {
	if a.env == nil {
		a.env = make(map[string]string)
	}
	a.env[name] = value
}

// Env returns NAME=value, sorted.
func (a *Archive) Env() []string {
	list := make([]string, 0, len(a.env))
	for name, value := range a.env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// Tar writes the files, and the directories that only they need, relative to "/".
func (a *Archive) Tar(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, dir := range a.directories() {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755, Uid: owner(dir), Gid: owner(dir)}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		e := a.files[name]
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.data))}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(e.data); err != nil {
			return err
		}
	}
	return t.Close()
}

// directories lists the parents to make, outermost first. Those that every image has
// are left as the image made them.
func (a *Archive) directories() []string {
	set := make(map[string]bool)
	for name := range a.files {
		for dir := path.Dir(name); private(dir); dir = path.Dir(dir) {
			set[dir] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
}

// private reports whether dir is ours to make: below the agent's home, /etc/bot-bottle, or a
// command line's own directory of /etc. An engine would make one that is missing writable for
// everybody.
func private(dir string) bool {
	return strings.HasPrefix(dir, provider.Home+"/") || strings.HasPrefix(dir, "/etc/") && !strings.HasPrefix(dir, "/etc/ssl")
}

// owner is who a made directory belongs to.
func owner(dir string) int {
	if strings.HasPrefix(dir, provider.Home+"/") {
		return provider.UID
	}
	return 0
}

// etc is where the bottle's own files are: root's, so not the agent's to change.
const etc = "/etc/bot-bottle"
