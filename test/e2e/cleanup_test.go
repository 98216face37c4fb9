package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// found is what cleanup --json says of a leftover.
type found struct {
	bottle.Leftover
	Removed bool
	Error   string
}

func (h house) cleanup(args ...string) []found {
	h.t.Helper()
	var all []found
	r := h.run(0, "", append([]string{"cleanup", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		h.t.Fatalf("%v: %s", err, r.Stdout)
	}
	return slices.DeleteFunc(all, func(f found) bool { return f.Kind == bottle.LeftNetwork }) // everybody's: another test may just have made a second one
}

func names(all []found) []string {
	var list []string
	for _, f := range all {
		list = append(list, string(f.Kind)+" "+f.Name)
	}
	slices.Sort(list)
	return list
}

// plant makes what a bottle would have, without one: containers that never run and volumes.
func (h house) plant(image, owner, identity string, more map[string]string, roles ...string) {
	h.t.Helper()
	for _, role := range roles {
		labels := map[string]string{"bot-bottle.owner": owner, "bot-bottle.identity": identity, "bot-bottle.role": role, "bot-bottle.remove": "false"}
		maps.Copy(labels, more)
		name := "bot-bottle-" + identity + "-" + role
		var err error
		if role == "agent" || role == "sidecar" {
			_, err = h.Engine.ContainerCreate(h.t.Context(), client.ContainerCreateOptions{
				Name: name, Config: &container.Config{Image: image, Labels: labels, Cmd: []string{"true"}},
				HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "bot-bottle-" + identity + "-sockets", Target: "/mnt", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{
					"bot-bottle.owner": owner, "bot-bottle.identity": identity, "bot-bottle.role": "sockets",
				}}}}},
			})
		} else {
			_, err = h.Engine.VolumeCreate(h.t.Context(), client.VolumeCreateOptions{Name: name, Labels: labels})
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h house) owner() string {
	h.t.Helper()
	owner, err := os.ReadFile(filepath.Join(h.Home, "state", "owner"))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(owner)
}

// Every kind of leftover is found, with why and how large it is; what runs, what another
// home owns, and what has no label of ours is not. A dry run removes nothing, a second run
// finds nothing.
func TestCleanupFindsEveryKind(t *testing.T) {
	dockerOnly(t, "it makes leftovers of an engine, one of each kind")
	t.Parallel()
	h := open(t, standin.Options{})
	running := h.idle()
	paused := h.idle()
	if _, err := h.Engine.ContainerPause(t.Context(), "bot-bottle-"+paused+"-agent", client.ContainerPauseOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = h.Engine.ContainerUnpause(context.Background(), "bot-bottle-"+paused+"-agent", client.ContainerUnpauseOptions{})
	})
	inspected, err := h.Engine.ContainerInspect(t.Context(), "bot-bottle-"+running+"-agent", client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image := inspected.Container.Image
	mine, other, own := h.owner(), "another-owner-00", bottle.NewIdentity("x")[1:] // nobody else's names
	h.plant(image, mine, "crashed"+own, nil, "agent", "sidecar", "home", "workspace")
	h.plant(image, mine, "halfway"+own, nil, "agent", "home", "workspace")
	h.plant(image, mine, "nostate"+own, nil, "home", "workspace", "sockets")
	h.plant(image, other, "foreign"+own, nil, "agent", "sidecar", "home")
	h.plant(image, "", "nolabel"+own, map[string]string{"bot-bottle.role": ""}, "home")
	t.Cleanup(func() {
		ctx := context.Background()
		for _, identity := range []string{"crashed", "nostate", "foreign", "nolabel", "halfway"} {
			for _, role := range []string{"agent", "sidecar"} {
				_, _ = h.Engine.ContainerRemove(ctx, "bot-bottle-"+identity+own+"-"+role, client.ContainerRemoveOptions{Force: true})
			}
			for _, role := range []string{"home", "workspace", "sockets"} {
				_, _ = h.Engine.VolumeRemove(ctx, "bot-bottle-"+identity+own+"-"+role, client.VolumeRemoveOptions{})
			}
		}
	})
	record := `{"version": 2, "identity": %q, "agent": "x", "backend": "docker", "started_at": "2026-01-02T03:04:05Z", "runs": %d}`
	if err := errors.Join(
		h.Write("state/crashed"+own+"/metadata.json", fmt.Sprintf(record, "crashed"+own, 2)),
		h.Write("state/halfway"+own+"/metadata.json", fmt.Sprintf(record, "halfway"+own, 1)),
		h.Write("state/nobottl"+own+"/metadata.json", fmt.Sprintf(record, "nobottl"+own, 1)),
		h.Write("state/logonly"+own+"/audit.jsonl", "{}\n"),
		h.Write("state/damaged"+own+"/metadata.json", "{"),
		h.Write("state/.removed-00/audit.jsonl", "x"),
	); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"container bot-bottle-crashed" + own + "-agent", "container bot-bottle-crashed" + own + "-sidecar", "container bot-bottle-halfway" + own + "-agent",
		"state .removed-00", "state crashed" + own, "state halfway" + own, "state logonly" + own, "state nobottl" + own,
		"volume bot-bottle-crashed" + own + "-sockets", "volume bot-bottle-halfway" + own + "-home", "volume bot-bottle-halfway" + own + "-sockets", "volume bot-bottle-halfway" + own + "-workspace",
		"volume bot-bottle-nostate" + own + "-home", "volume bot-bottle-nostate" + own + "-sockets", "volume bot-bottle-nostate" + own + "-workspace",
	}
	for range 2 { // a dry run changes nothing
		dry := h.cleanup("--dry-run")
		if got := names(dry); !slices.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		for _, f := range dry {
			if f.Why == "" || f.Bytes == nil || f.Removed {
				t.Errorf("got %+v", f)
			}
		}
	}
	if r := h.run(2, "", "cleanup"); !strings.Contains(r.Stderr, "cannot ask") || !strings.Contains(r.Stderr, "whose agent never ran") {
		t.Errorf("got %s", r.Stderr)
	}
	for _, f := range h.cleanup("-y") {
		if f.Removed == f.Kept || f.Error != "" {
			t.Errorf("got %+v", f)
		}
	}
	if got := names(h.cleanup("-y")); !slices.Equal(got, []string{"state logonly" + own, "volume bot-bottle-nostate" + own + "-home", "volume bot-bottle-nostate" + own + "-workspace"}) {
		t.Errorf("a second cleanup found %q", got)
	}
	for _, name := range []string{"bot-bottle-crashed" + own + "-home", "bot-bottle-foreign" + own + "-home", "bot-bottle-nolabel" + own + "-home", "bot-bottle-foreign" + own + "-sockets"} {
		if _, err := h.Engine.VolumeInspect(t.Context(), name, client.VolumeInspectOptions{}); err != nil {
			t.Error(err)
		}
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(r.Stdout, paused) || !strings.Contains(r.Stdout, "paused") || !strings.Contains(r.Stderr, "was set aside") {
		t.Errorf("got %s%s", r.Stdout, r.Stderr)
	}
	h.run(0, "", "rm", "--force", "nostate"+own, "logonly"+own, "damaged"+own, "crashed"+own)
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("got %s", r.Stderr)
	}
	if r := h.inside(running, "echo alive"); r.Stdout != "alive\n" {
		t.Errorf("the running one was touched: %+v", r)
	}
}

// Only what is old goes with --older-than, and then bottles that ended long ago, too.
func TestCleanupOlderThan(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list") // makes the owner
	mine, own := h.owner(), bottle.NewIdentity("x")[1:]
	h.plant("", mine, "old"+own, nil, "home", "workspace")
	h.plant("", mine, "young"+own, nil, "home", "workspace", "sockets")
	record := `{"version": 2, "identity": %q, "agent": "x", "backend": "docker", "started_at": "2026-01-02T03:04:05Z", "ended_at": %q}`
	if err := errors.Join(
		h.Write("state/old"+own+"/metadata.json", fmt.Sprintf(record, "old"+own, "2026-01-03T03:04:05Z")),
		h.Write("state/young"+own+"/metadata.json", fmt.Sprintf(record, "young"+own, "2099-01-03T03:04:05Z")),
	); err != nil {
		t.Fatal(err)
	}
	if got := names(h.cleanup("-y", "--older-than", "30d")); !slices.Equal(got, []string{"state old" + own, "volume bot-bottle-old" + own + "-home", "volume bot-bottle-old" + own + "-workspace"}) {
		t.Errorf("got %q", got)
	}
	if r := h.run(0, "", "list", "all"); strings.Contains(r.Stdout, "old"+own) || !strings.Contains(r.Stdout, "young"+own) {
		t.Errorf("got %s", r.Stdout)
	}
	h.run(2, "", "cleanup", "--older-than", "yesterday")
	h.run(0, "", "rm", "--force", "young"+own)
}

// An image that no bottle of the manifest uses any more goes; one of another owner stays.
func TestCleanupRemovesUnusedImages(t *testing.T) {
	dockerOnly(t, "a machine has no image of the engine")
	t.Parallel()
	h := open(t, standin.Options{})
	mark := filepath.Base(h.Home) // an image of this test alone
	dockerfile := filepath.Join(h.Home, "own", "Dockerfile")
	if err := errors.Join(
		h.Write("own/Dockerfile", "USER root\nRUN echo "+mark+h.Home+" > /etc/mark && printf '#!/bin/sh\\nexec sleep infinity\\n' > /usr/local/bin/claude\n"),
		h.Write("bottles/own.md", "---\nextends: dev\nagent_provider: {dockerfile: "+dockerfile+"}\n---\n"),
		h.Write("agents/own.md", "---\nbottle: own\n---\n"),
	); err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "own").Stdout)
	var record struct {
		Image    string            `json:"image"`
		ImageID  string            `json:"image_id"`
		Runs     int               `json:"runs"`
		Versions map[string]string `json:"versions"`
	}
	data, err := os.ReadFile(filepath.Join(h.Home, "state", identity, "metadata.json"))
	if err := errors.Join(err, json.Unmarshal(data, &record)); err != nil || !strings.HasPrefix(record.Image, "bot-bottle/custom:") || !strings.HasPrefix(record.ImageID, "sha256:") || record.Runs != 1 {
		t.Fatalf("got %s, %v", data, err)
	}
	h.run(0, "", "stop", identity)
	if got := h.cleanup("-y"); len(got) > 0 {
		t.Errorf("an image in use was taken for an orphan: %+v", got)
	}
	if err := errors.Join(os.Remove(filepath.Join(h.Home, "bottles", "own.md")), os.Remove(filepath.Join(h.Home, "agents", "own.md"))); err != nil {
		t.Fatal(err)
	}
	got := h.cleanup("-y")
	if !slices.Equal(names(got), []string{"image " + record.Image}) || !got[0].Removed || *got[0].Bytes == 0 {
		t.Errorf("got %+v", got)
	}
	if _, err := h.Engine.ImageInspect(t.Context(), record.Image); err == nil {
		t.Error("the image is still there")
	}
}

// Starts in progress and cleanups disturb each other in nothing.
func TestCleanupBesideStarts(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "undisturbed"})
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello") // images and the program are there
	var starts, sweeps sync.WaitGroup
	done := make(chan struct{})
	sweeps.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r, err := h.Run(t.Context(), nil, "cleanup", "-y", "--json")
				if err != nil || r.Code != 0 || strings.Contains(r.Stdout, `"removed": true`) {
					t.Errorf("cleanup: %v %+v", err, r)
				}
			}
		}
	})
	for range 6 {
		starts.Go(func() {
			r, err := h.Run(t.Context(), nil, "start", "-y", "--rm", "claude", "--", "-p", "hello")
			if err != nil || r.Code != 0 || strings.TrimSpace(r.Stdout) != "undisturbed" {
				t.Errorf("start: %v %+v", err, r)
			}
		})
	}
	starts.Wait()
	close(done)
	sweeps.Wait()
}

// rm asks for all at once, and touches none if one of them may not go.
func TestRemoveSeveral(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	one := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	two := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "stop", one)
	if r := h.run(2, "", "rm", "-y", one, two, "sleeper-aaaaaa"); !strings.Contains(r.Stderr, two+": the bottle is running") || !strings.Contains(r.Stderr, "there is no bottle sleeper-aaaaaa") {
		t.Errorf("got %s", r.Stderr)
	}
	if r := h.run(2, "", "rm", one); !strings.Contains(r.Stderr, "cannot ask") || !strings.Contains(r.Stderr, one) {
		t.Errorf("got %s", r.Stderr)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(r.Stdout, one) || !strings.Contains(r.Stdout, two) {
		t.Errorf("got %s", r.Stdout)
	}
	if r := h.run(0, "", "rm", "--force", two, one, two); r.Stdout != two+"\n"+one+"\n" {
		t.Errorf("got %q", r.Stdout)
	}
	if r := h.run(0, "", "list", "all"); strings.Contains(r.Stdout, one) || strings.Contains(r.Stdout, two) {
		t.Errorf("got %s", r.Stdout)
	}
	h.run(2, "", "rm", "--force", one)
}
