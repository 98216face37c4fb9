package smolmachines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// lost are the faults of a smolvm that tells of no machine's labels.
func lost() map[string]string { return map[string]string{"labels": "none"} }

// smolvm has the stand-in do something that is not for a bottle.
func (h house) smolvm(args ...string) {
	h.t.Helper()
	c := exec.Command(filepath.Join(built.dir, "smolvm"), args...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "SMOLVM_DATA_DIR=" + h.data}
	if out, err := c.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// names are the machines that the stand-in has.
func (h house) names() string {
	h.t.Helper()
	all, err := h.machines(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
	}
	return strings.Join(names, " ")
}

// clean does what bot-bottle cleanup does, and returns what was to be done.
func (h house) clean() []bottle.Task {
	h.t.Helper()
	plan, err := h.PrepareCleanup(h.t.Context(), bottle.CleanupOptions{})
	if err == nil {
		err = h.Cleanup(h.t.Context(), plan, func(l bottle.Leftover, err error) {
			if err != nil {
				h.t.Errorf("%s %s: %v", l.Kind, l.Name, err)
			}
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return plan.All
}

// A machine whose labels smolvm has lost is still known by what was recorded before it was made: it
// is listed, stopped and removed, and never started again.
func TestAMachineThatLostItsLabels(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.faults(lost())
	if active, err := h.Active(t.Context()); err != nil || len(active) != 1 || active[0].Slug != b.Name() || active[0].AgentName != "a" || active[0].Status != bottle.Running {
		t.Errorf("got %+v, %v", active, err)
	}
	for _, task := range h.clean() {
		t.Errorf("while it runs: %+v", task)
	}
	found, err := h.Open(t.Context(), b.Name())
	if err == nil {
		err = found.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if m, _, err := h.find(t.Context(), b.Name()); err != nil || m.up() {
		t.Errorf("it was to be stopped: got %+v, %v", m, err)
	}
	spec := h.spec()
	spec.Identity, spec.Resume = b.Name(), true
	if _, err := bottle.Use(h.Driver).Prepare(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "labels") {
		t.Errorf("resumed: got %v", err)
	}
	h.remove(b)
}

// The same after a crash: cleanup stops the machine of a bottle that may hold work, and removes that
// of one that was started to be removed.
func TestCleanupKnowsAMachineWithoutLabels(t *testing.T) {
	for name, remove := range map[string]bool{"kept": false, "to be removed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			b := h.waiting()
			record, err := h.State.Read(b.Name())
			if err == nil {
				record.Remove = remove
				err = h.State.Write(record)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.crash(b)
			h.smolvm("machine", "start", "--name", b.machine) // without its bundle
			h.faults(lost())
			h.clean()
			m, there, err := h.find(t.Context(), b.Name())
			if err != nil || there == remove || m.up() && there {
				t.Errorf("got %+v, %t, %v", m, there, err)
			}
			h.remove(b)
		})
	}
}

// foreign makes a machine that is not ours, and a record of a bottle that has its name.
func (h house) foreign(image string, labels []string, r state.Metadata) {
	h.t.Helper()
	if err := h.State.Write(r); err != nil {
		h.t.Fatal(err)
	}
	args := []string{"machine", "create", "--name", machineName(r.Identity), "--image", image}
	for _, l := range labels {
		args = append(args, "--label", l)
	}
	h.smolvm(args...)
}

// A machine that is named as one of ours and cannot be shown to be it is somebody's own: another
// image, one that is older than the bottle, one of another home's. Nothing of ours ends or removes
// it, and cleanup says that it is there.
func TestAMachineOfSomebodyElseIsLeftAlone(t *testing.T) {
	h := open(t)
	image := filepath.Join(h.home, "image.tar")
	sha, err := hashFile(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	place, _ := h.Place(t.Context())
	now := time.Now().UTC()
	ended := now
	record := func(identity string, change func(*state.Metadata)) state.Metadata {
		r := state.Metadata{Identity: identity, Agent: "a", Backend: h.Name(), Place: place, ImageID: sha, Runs: 1, StartedAt: now.Add(-time.Minute), EndedAt: &ended}
		change(&r)
		return r
	}
	for identity, change := range map[string]func(*state.Metadata){
		"a-aaaaaa": func(r *state.Metadata) { r.ImageID = strings.Repeat("0", 64) },
		"a-bbbbbb": func(r *state.Metadata) { r.StartedAt = now.Add(time.Hour) },
		"a-cccccc": func(r *state.Metadata) { r.ImageID = "" },
		"a-dddddd": func(r *state.Metadata) { r.EndedAt = nil; r.ImageID = strings.Repeat("0", 64) }, // as an interrupted start
		"a-eeeeee": func(r *state.Metadata) { r.Runs = 2; r.StartedAt = now.Add(-time.Hour) },
		"a-ffffff": func(r *state.Metadata) { r.Place = "smolvm:/elsewhere" },
		"a-gggggg": func(r *state.Metadata) { r.Backend = "docker" },
	} {
		h.foreign(image, nil, record(identity, change))
	}
	h.foreign(image, []string{labelOwner + "=" + strings.Repeat("f", 32), labelIdentity + "=a-hhhhhh"}, record("a-hhhhhh", func(*state.Metadata) {}))
	before := len(strings.Fields(h.names()))
	told := map[string]string{}
	for _, task := range h.clean() {
		if task.Kind == bottle.LeftMachine && !task.Kept {
			t.Errorf("it would touch %+v", task)
		}
		if task.Kind == bottle.LeftMachine {
			told[task.Identity] = task.Why
		}
	}
	for _, identity := range []string{"a-aaaaaa", "a-bbbbbb", "a-cccccc", "a-dddddd", "a-eeeeee"} {
		if !strings.Contains(told[identity], "smolvm machine delete") {
			t.Errorf("%s: nothing is said of it: %q", identity, told[identity])
		}
		if err := h.Remove(t.Context(), identity); err == nil || !strings.Contains(err.Error(), "labels") {
			t.Errorf("%s was removed: %v", identity, err)
		}
		if _, err := h.State.Read(identity); err != nil {
			t.Errorf("the only trace of %s is gone: %v", identity, err)
		}
	}
	for _, letter := range "abcdefgh" {
		identity := "a-" + strings.Repeat(string(letter), 6)
		if m, ours, err := h.find(t.Context(), identity); err != nil || ours || m.Name == "" {
			t.Errorf("%s: got %+v, %t, %v", identity, m, ours, err)
		}
	}
	if err := h.Remove(t.Context(), "a-hhhhhh"); err != nil { // ours is gone, that is another's
		t.Error(err)
	}
	if active, err := h.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("got %+v, %v", active, err)
	}
	if after := len(strings.Fields(h.names())); after != before || before != 8 {
		t.Errorf("of %d machines there are %d: %s", before, after, h.names())
	}
}

// A machine of an image of ours that nothing is recorded of is told of, and not touched.
func TestAMachineWithoutLabelsAndRecord(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	h.faults(lost())
	if err := h.State.Remove(b.Name()); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, task := range h.clean() {
		if task.Kind == bottle.LeftMachine && task.Kept && strings.Contains(task.Why, "smolvm machine delete --name "+b.machine) {
			kept++
		}
	}
	if kept != 1 || h.names() != b.machine {
		t.Errorf("it was told of %d times; there is %q", kept, h.names())
	}
	h.faults(nil)
	h.remove(b)
}

// A machine that another product made by the name of a new bottle's is not taken down with a start
// that fails for it.
func TestAMachineOfTheSameNameOutlivesAFailedStart(t *testing.T) {
	h := open(t)
	spec := h.spec()
	spec.Identity = "a-aaaaaa"
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	h.smolvm("machine", "create", "--name", "bb-a-aaaaaa", "--image", filepath.Join(h.home, "image.tar"))
	if _, err := plan.Launch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "there is a machine bb-a-aaaaaa already") {
		t.Errorf("got %v", err)
	}
	if h.names() != "bb-a-aaaaaa" {
		t.Errorf("there is %q", h.names())
	}
	if identities, err := h.State.Identities(); err != nil || len(identities) > 0 {
		t.Errorf("records are left: %v, %v", identities, err)
	}
}
