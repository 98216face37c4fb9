package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// image prune takes what nobody needs, says how much space that has made, and takes nothing else: not
// what the manifest names, what runs, what a bottle that is kept may come back to, or what another
// $BOT_BOTTLE_HOME has had built. In the end nothing of this one's is on the engine, named or not.
func TestImagePrune(t *testing.T) {
	dockerOnly(t, "its images are the engine's")
	t.Parallel()
	h := open(t, standin.Options{})
	others := open(t, standin.Options{})
	for _, name := range []string{"named", "gone", "runs", "kept"} {
		h.dockerfile(t, name, "RUN head -c 20000000 /dev/urandom > /blob # "+lab.NewKey())
	}
	program, _ := pipelockProgram(t)
	h.pipelockOf(t, program, "")
	others.dockerfile(t, "others", "RUN echo "+lab.NewKey()+" > /mark")
	others.run(0, "", "build", "others")
	h.run(0, "", "build", "named", "gone", "guarded")
	running := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "runs").Stdout)
	t.Cleanup(func() { _, _ = h.Run(context.WithoutCancel(t.Context()), nil, "stop", running) })
	kept := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "kept").Stdout)
	h.run(0, "", "stop", kept)
	t.Cleanup(func() { _, _ = h.Run(context.WithoutCancel(t.Context()), nil, "rm", "-y", kept) })
	before := h.images(t)
	if unused := unusedOf(before); len(unused) > 0 {
		t.Fatalf("unused before anything has changed: %v", unused)
	}

	for _, name := range []string{"gone", "runs", "kept"} {
		h.dockerfile(t, name, "RUN true # "+lab.NewKey())
	}
	h.pipelockOf(t, program, "another")
	h.run(0, "", "build", "guarded", "gone")
	after := h.images(t)
	unused := unusedOf(after)
	var pipelocks, customs int
	for _, ref := range unused {
		switch name, _, _ := strings.Cut(ref, ":"); name {
		case "bot-bottle/pipelock":
			pipelocks++
		case "bot-bottle/custom":
			customs++
		}
	}
	if len(unused) != 2 || pipelocks != 1 || customs != 1 {
		t.Fatalf("unused are %v of %v", unused, after)
	}
	if r := h.run(2, "", "image", "prune"); !strings.Contains(r.Stderr, unused[0]) || !strings.Contains(r.Stderr, "standard input is not a terminal") {
		t.Errorf("it did not ask: %s", r.Stderr)
	}
	if !slices.Equal(unusedOf(h.images(t)), unused) {
		t.Fatal("something has changed without a yes")
	}
	pruned := h.run(0, "", "image", "prune", "-y")
	freed := regexp.MustCompile(`2 images removed, which has freed (\d+) MB`).FindStringSubmatch(pruned.Stderr)
	if freed == nil {
		t.Fatalf("got %s", pruned.Stderr)
	}
	if mb, _ := strconv.Atoi(freed[1]); mb < 25 { // the blob and the program, about: others may build meanwhile
		t.Errorf("it says %s", pruned.Stderr)
	}
	left := h.images(t)
	for ref := range after {
		if _, there := left[ref]; there == slices.Contains(unused, ref) {
			t.Errorf("%s: there %t, and unused were %v", ref, there, unused)
		}
	}
	if r := h.run(0, "", "image", "prune", "-y"); !strings.Contains(r.Stderr, "every image is used") {
		t.Errorf("got %s", r.Stderr)
	}
	h.run(0, "", "resume", "-y", "--detach", kept)

	h.run(0, "", "stop", running, kept)
	h.run(0, "", "rm", "-y", kept)
	for _, name := range []string{"named", "gone", "runs", "kept", "guarded"} {
		for _, file := range []string{"bottles/" + name + ".md", "agents/" + name + ".md"} {
			if err := os.Remove(filepath.Join(h.Home, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.run(0, "", "image", "prune", "-y")
	h.noImages(t)
	if r := h.run(0, "", "image", "list"); !strings.Contains(r.Stdout, "perhaps, by another $BOT_BOTTLE_HOME") {
		t.Errorf("another's are not told apart: %s", r.Stdout)
	}
	if err := os.Remove(filepath.Join(others.Home, "bottles/others.md")); err != nil {
		t.Fatal(err)
	}
	if r := others.run(0, "", "image", "prune", "-y"); !strings.Contains(r.Stderr, "every image is used") {
		t.Errorf("with a manifest that has problems, nobody can tell what it names: %s", r.Stderr)
	}
	if err := os.Remove(filepath.Join(others.Home, "agents/others.md")); err != nil {
		t.Fatal(err)
	}
	others.run(0, "", "image", "prune", "-y")
	others.noImages(t)
}

// What a Dockerfile made whose path begins where the bottle is started is kept from any other
// directory: nobody can tell there what it makes.
func TestImagePruneFromAnotherDirectory(t *testing.T) {
	dockerOnly(t, "its images are the engine's")
	t.Parallel()
	h := open(t, standin.Options{})
	h.dockerfile(t, "far", "RUN echo "+lab.NewKey()+" > /mark")
	if err := h.Write("bottles/far.md", "---\nextends: dev\nagent_provider: {dockerfile: far/Dockerfile}\n---\n"); err != nil {
		t.Fatal(err)
	}
	in := func(dir string, args ...string) string {
		c := h.Command(t.Context(), args...)
		c.Dir = dir
		said, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, said)
		}
		return string(said)
	}
	in(h.Home, "build", "far")
	defer in(h.Home, "image", "prune", "-y")
	defer func() { _ = h.Write("bottles/far.md", "---\nextends: dev\n---\n") }() // so that it takes the image, too
	before := len(h.own(t))
	if said := in(t.TempDir(), "image", "prune", "-y"); !strings.Contains(said, "every image is used") || len(h.own(t)) != before {
		t.Errorf("got %s", said)
	}
	if said := in(t.TempDir(), "image", "list"); !strings.Contains(said, "perhaps, by bottle far: its Dockerfile is not in this directory") {
		t.Errorf("got %s", said)
	}
}

// dockerfile gives a bottle of this name, and its agent, an image of its own that waits.
func (h house) dockerfile(t *testing.T, name, line string) {
	t.Helper()
	h.sleeper()
	content, err := os.ReadFile(filepath.Join(h.Home, "sleeper/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		name + "/Dockerfile":      string(content) + line + "\n",
		"bottles/" + name + ".md": "---\nextends: dev\nagent_provider: {dockerfile: " + filepath.Join(h.Home, name, "Dockerfile") + "}\n---\n",
		"agents/" + name + ".md":  "---\nbottle: " + name + "\n---\n",
	} {
		if err := h.Write(file, text); err != nil {
			t.Fatal(err)
		}
	}
}

// pipelockOf has bottle guarded name a copy of a pipelock, of its own by what is behind its end.
func (h house) pipelockOf(t *testing.T, program, end string) {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.Home, "pipelock")
	if err := os.WriteFile(path, append(data, h.Home+end...), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"bottles/guarded.md": "---\nextends: dev\npipelock: {binary: " + path + "}\n---\n", "agents/guarded.md": "---\nbottle: guarded\n---\n"} {
		if err := h.Write(file, text); err != nil {
			t.Fatal(err)
		}
	}
}

// images are what image list shows, but for those of others, which come and go.
func (h house) images(t *testing.T) map[string]image.Built {
	t.Helper()
	var all []image.Built
	if err := json.Unmarshal([]byte(h.run(0, "", "image", "list", "--json").Stdout), &all); err != nil {
		t.Fatal(err)
	}
	own := map[string]image.Built{}
	ids := h.own(t)
	for _, b := range all {
		if slices.ContainsFunc(ids, func(s imagetypes.Summary) bool { return s.ID == b.Ref || slices.Contains(s.RepoTags, b.Ref) }) {
			own[b.Ref] = b
		} else if b.Unused() {
			t.Errorf("it would take %s, which is not its own", b.Ref)
		}
	}
	return own
}

func unusedOf(all map[string]image.Built) (refs []string) {
	for ref, b := range all {
		if b.Unused() {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return refs
}

// own are the images that this home has had built, by their label.
func (h house) own(t *testing.T) []imagetypes.Summary {
	t.Helper()
	owner, err := os.ReadFile(filepath.Join(h.Home, "state/owner"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := h.Engine.ImageList(t.Context(), client.ImageListOptions{Filters: client.Filters{}.Add("label", "bot-bottle.owner="+strings.TrimSpace(string(owner)))})
	if err != nil {
		t.Fatal(err)
	}
	return found.Items
}

// noImages fails the test for each that is left, but of those that all homes share.
func (h house) noImages(t *testing.T) {
	t.Helper()
	for _, s := range h.own(t) {
		if !slices.ContainsFunc(s.RepoTags, func(tag string) bool {
			return strings.HasPrefix(tag, "bot-bottle/") && !strings.HasPrefix(tag, "bot-bottle/custom") && !strings.HasPrefix(tag, "bot-bottle/pipelock")
		}) {
			t.Errorf("left behind: %s %v", s.ID, s.RepoTags)
		}
	}
}
