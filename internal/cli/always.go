package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// manifestChange is one file of the manifest, before and after.
type manifestChange struct {
	file          string
	before, after []byte
}

// forGood is the change of a bottle's manifest that a request comes to.
func (a *App) forGood(s requests.Shown) (manifestChange, error) {
	switch s.Kind {
	case requests.Capability:
		return a.dockerfileForGood(s)
	case requests.Egress:
	default:
		return manifestChange{}, errors.New("only routes and changes of the image go into the manifest")
	}
	b, err := a.manifestOf(s.Bottle)
	if err != nil {
		return manifestChange{}, err
	}
	for _, r := range s.Routes {
		sameHost := func(have policy.Route) bool { return strings.EqualFold(have.Host, r.Host) }
		if len(s.SoFar) > 0 && !slices.ContainsFunc(b.Routes, sameHost) {
			return manifestChange{}, fmt.Errorf("the route to %s that there is comes with the agent, and one in the manifest would take its place: write both there by hand", r.Host)
		}
	}
	before, err := os.ReadFile(b.File)
	if err != nil {
		return manifestChange{}, err
	}
	after, err := manifest.AddRoutes(b.File, before, s.Routes, fmt.Sprintf("approved %s, %s", a.Now().Format(time.DateOnly), s.ID))
	if err != nil {
		return manifestChange{}, fmt.Errorf("cannot change %s: %w", b.File, err)
	}
	return manifestChange{b.File, before, after}, nil
}

// manifestOf is what the manifest says now of the bottle that an identity was started as.
func (a *App) manifestOf(identity string) (manifest.Bottle, error) {
	record, err := a.store().Read(identity)
	if err != nil {
		return manifest.Bottle{}, fmt.Errorf("cannot read the record of %s: %w", identity, err)
	}
	m, err := a.manifest()
	if err != nil {
		return manifest.Bottle{}, err
	}
	return m.Bottle(record.Bottle)
}

// dockerfileForGood is the change of the Dockerfile that the bottle's manifest names.
func (a *App) dockerfileForGood(s requests.Shown) (manifestChange, error) {
	b, err := a.manifestOf(s.Bottle)
	if err != nil {
		return manifestChange{}, err
	}
	file := b.Provider.Dockerfile
	if file == "" {
		return manifestChange{}, fmt.Errorf("bottle %s has no Dockerfile: name one with agent_provider: {dockerfile: …}, an empty one will do", b.Name)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(a.cwd, file)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		return manifestChange{}, err
	}
	layer := image.Layer{Packages: s.Image.Packages, Dockerfile: s.Image.Dockerfile}
	after, err := layer.AddTo(before, s.ID, a.Now().Format(time.DateOnly))
	if err != nil {
		return manifestChange{}, fmt.Errorf("cannot add to %s: %w", file, err)
	}
	return manifestChange{file, before, after}, nil
}

// diff shows the lines that come in, with what is around them, on a terminal so wide; 0 is none.
func (c manifestChange) diff(width int) string {
	const around = 2
	before, after := strings.Split(string(c.before), "\n"), strings.Split(string(c.after), "\n")
	first := 0
	for first < len(before) && first < len(after) && before[first] == after[first] {
		first++
	}
	last := first + len(after) - len(before)
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", c.file)
	for i := max(0, first-around); i < min(len(after), last+around); i++ {
		sign := " "
		if i >= first && i < last {
			sign = "+"
		}
		fmt.Fprintf(&b, "  %s %s\n", sign, folded(after[i], width, len("  + ")))
	}
	return b.String()
}

// write puts the change in place, all of it or nothing, unless the file is another one by
// now.
func (c manifestChange) write() error {
	now, err := os.ReadFile(c.file)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, c.before) {
		return fmt.Errorf("%s has changed meanwhile", c.file)
	}
	path, err := filepath.EvalSymlinks(c.file) // people keep their manifest in a repository of dotfiles
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".bot-bottle-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(c.after)
	if err := errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
