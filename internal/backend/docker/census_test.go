package docker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Attack J1: whoever may use the same engine gives a container our owner's label, and a path
// for an identity. A cleanup would lock, and then remove, that directory of the operator's.
func TestAttackJ1_AnIdentityOnALabelIsNoPath(t *testing.T) {
	for _, identity := range []string{"../../../home/op", "/etc", "..", "dev-aaaaaa/..", "dev-aaaaaa\n", "-aaaaaa", "DEV-aaaaaa"} {
		if wellNamed(map[string]string{labelIdentity: identity}) {
			t.Errorf("%q was taken for an identity", identity)
		}
	}
	for _, identity := range []string{"", "dev-aaaaaa"} {
		if !wellNamed(map[string]string{labelIdentity: identity}) {
			t.Errorf("%q was not taken", identity)
		}
	}
}

// What has processes is alive, whether or not they run at the moment.
func TestWhoIsAlive(t *testing.T) {
	labels := map[string]string{labelIdentity: "dev-aaaaaa", labelRole: string(roleAgent)}
	for s, want := range map[container.ContainerState]bool{
		container.StateRunning: true, container.StatePaused: true, container.StateRestarting: true, container.StateExited: false, container.StateCreated: false, container.StateDead: false,
	} {
		c := census{containers: []container.Summary{{Labels: labels, State: s}}, busy: func(string) bool { return false }, place: "here", records: map[string]record{}}
		if c.alive("dev-aaaaaa") != want {
			t.Errorf("%s: got %t", s, !want)
		}
		c.records["dev-aaaaaa"] = record{Metadata: state.Metadata{Place: "there"}}
		if !c.alive("dev-aaaaaa") {
			t.Errorf("%s: a bottle of another engine is none of ours", s)
		}
	}
}

// The program of another version goes together with the last dead container that uses it, so a
// second cleanup finds nothing; one that only looks at what is old leaves it to younger ones.
func TestAnotherVersionsProgramGoesAtOnce(t *testing.T) {
	using := func(state container.ContainerState) census {
		return census{records: map[string]record{}, current: "bot-bottle-bin-new", busy: func(string) bool { return false }, containers: []container.Summary{{
			State: state, Labels: map[string]string{labelIdentity: "dev-aaaaaa", labelRole: string(roleAgent)}, Mounts: []container.MountPoint{{Name: "bot-bottle-bin-old"}},
		}}}
	}
	old := volume.Volume{Name: "bot-bottle-bin-old", Labels: map[string]string{labelRole: string(roleBinary)}}
	for name, c := range map[string]struct {
		state container.ContainerState
		byAge bool
		want  bool
	}{
		"runs": {container.StateRunning, false, false}, "paused": {container.StatePaused, false, false}, "dead": {container.StateExited, false, true}, "dead, by age": {container.StateExited, true, false},
	} {
		if _, got := using(c.state).volume(old, func(string) bool { return false }, c.byAge); got != c.want {
			t.Errorf("%s: left over is %t", name, got)
		}
	}
	if _, got := using(container.StateExited).volume(volume.Volume{Name: "bot-bottle-bin-new", Labels: old.Labels}, nil, false); got {
		t.Error("the program of this version is left over")
	}
}

// An image whose name a later build has taken goes by its id: older engines say <none>:<none> of it,
// which is no name.
func TestAnImageWithoutANameIsRemovedByItsID(t *testing.T) {
	d := &Driver{Images: image.Builder{}, State: state.Open(t.TempDir())}
	for name, tags := range map[string][]string{"sha256:a": {"<none>:<none>"}, "sha256:b": nil, "bot-bottle/custom:c": {"bot-bottle/custom:c"}} {
		c := census{images: []imagetypes.Summary{{ID: name[:8], RepoTags: tags}}}
		all, err := d.unusedImages(t.Context(), c, bottle.CleanupOptions{Manifest: &manifest.Manifest{}})
		if err != nil || len(all) != 1 || all[0].ID != name || all[0].Name != name {
			t.Errorf("%s: got %+v, %v", name, all, err)
		}
	}
}

// What a Dockerfile has made that lies in another directory may be needed there.
func TestADockerfileThatIsNotHere(t *testing.T) {
	here := t.TempDir()
	if err := os.WriteFile(filepath.Join(here, "here.Dockerfile"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &Driver{Images: image.Builder{}, State: state.Open(t.TempDir())}
	for file, left := range map[string]int{"": 5, "here.Dockerfile": 5, "/nowhere/Dockerfile": 5, "there.Dockerfile": 2} {
		c := census{}
		for _, name := range []string{"bot-bottle/custom:a", "bot-bottle/layer:a", "<none>:<none>", "bot-bottle/claude:old", "bot-bottle/pipelock:old"} {
			c.images = append(c.images, imagetypes.Summary{ID: "sha256:" + name, RepoTags: []string{name}})
		}
		m := &manifest.Manifest{Bottles: map[string]manifest.Bottle{"dev": {Name: "dev", Provider: manifest.Provider{Template: "none", Dockerfile: file}}}}
		all, err := d.unusedImages(t.Context(), c, bottle.CleanupOptions{Manifest: m, Cwd: here})
		if err != nil || len(all) != left {
			t.Errorf("%q: got %d of %d, %+v, %v", file, len(all), left, all, err)
		}
	}
}
