package smolmachines

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// A machine is started only while it is as it was made: for the sockets of its bottle, in our format,
// and not running for whoever has started it meanwhile.
func TestWhatIsStartedIsAsItWasMade(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	record, err := h.State.Read(b.Name())
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Dir: b.dir}
	p.Identity = b.Name()
	if err := h.check(t.Context(), p, record.ImageID); err != nil {
		t.Errorf("as it was made: %v", err)
	}
	elsewhere := p
	elsewhere.Dir = b.dir + "x"
	if err := h.check(t.Context(), elsewhere, record.ImageID); err == nil || !strings.Contains(err.Error(), "made for other sockets") {
		t.Errorf("elsewhere: got %v", err)
	}
	h.smolvm("machine", "start", "--name", b.machine)
	if err := h.check(t.Context(), p, record.ImageID); err == nil || !strings.Contains(err.Error(), "is running already") {
		t.Errorf("started by somebody: got %v", err)
	}
	h.smolvm("machine", "stop", "--name", b.machine)
	h.remove(b)

	other := Plan{Dir: b.dir}
	other.Identity, other.Owner, other.Agent = "a-aaaaaa", mustOwner(t, h), "a"
	args := []string{"machine", "create", "--name", "bb-a-aaaaaa", "--image", filepath.Join(h.home, "image.tar")}
	for key, value := range other.labels() {
		if key == labelSchema {
			value = "0"
		}
		args = append(args, "--label", key+"="+value)
	}
	h.smolvm(args...)
	if err := h.check(t.Context(), other, "of another format"); err == nil || !strings.Contains(err.Error(), "made for other sockets") {
		t.Errorf("another format: got %v", err)
	}
}

func mustOwner(t *testing.T, h house) string {
	t.Helper()
	owner, err := h.State.Owner()
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

// What the guest finds when it looks around is heeded: here a service that does not answer.
func TestTheSelfCheckIsAskedFor(t *testing.T) {
	h := open(t)
	h.faults(map[string]string{"slow": "start 1s"})
	spec := h.spec()
	spec.Identity = "a-aaaaaa"
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := h.directory(mustOwner(t, h), "a-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		h.called(`"machine","start","--name"`) // its services are ready by then
		gone <- os.Remove(filepath.Join(dir, string(control.Egress)+".sock"))
	}()
	b, err := plan.Launch(t.Context(), nil)
	if err == nil {
		t.Fatal(errors.Join(errors.New("it was launched"), b.Close()))
	}
	if removed := <-gone; removed != nil || !strings.Contains(err.Error(), "its self-check failed") {
		t.Errorf("got %v, %v", err, removed)
	}
	h.nothingLeft("silent")
}

// The program is looked for on PATH alone, by absolute names, and has to be one; its rootfs has to be a
// directory; and the wall around its machines is off only by the one word.
func TestOnlyThePathIsLookedAt(t *testing.T) {
	h := open(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for name, mode := range map[string]os.FileMode{"smolvm": 0o755, "data/smolvm": 0o644} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"", ".", ":", "data", filepath.Join(dir, "data"), filepath.Join(dir, "none")} {
		if found, err := lookPath(path); !errors.Is(err, bottle.ErrAbsent) {
			t.Errorf("%q: found %s, %v", path, found, err)
		}
	}
	if found, err := lookPath(filepath.Join(dir, "data") + ":" + dir); err != nil || found != filepath.Join(dir, "smolvm") {
		t.Errorf("found %s, %v", found, err)
	}
	for rootfs, ok := range map[string]bool{"": true, dir: true, filepath.Join(dir, "smolvm"): false, filepath.Join(dir, "none"): false} {
		h.env["SMOLVM_AGENT_ROOTFS"] = rootfs
		var told interface{ Hint() string }
		if err := h.rootfs(); (err == nil) != ok || !ok && !errors.As(err, &told) {
			t.Errorf("rootfs %q: got %v", rootfs, err)
		}
	}
	for word, walls := range map[string]int{"": 1, "on": 1, "OFF ": 1, "off": 0} {
		h.env[envLandlock] = word
		if got := h.landlock(); len(got) != walls {
			t.Errorf("%q: got %v", word, got)
		}
	}
}

// A bottle's sockets are where nobody else gets, and nowhere else: somebody may have made a directory,
// or a link, in a place that others write to.
func TestPlacesForSocketsArePrivate(t *testing.T) {
	base := t.TempDir()
	for name, c := range map[string]struct {
		make func(dir string) error
		ok   bool
	}{
		"nothing yet":       {func(string) error { return nil }, true},
		"one of ours":       {func(dir string) error { return os.Mkdir(dir, 0o700) }, true},
		"open to a group":   {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o710)) }, false},
		"open to others":    {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o701)) }, false},
		"somebody else's":   {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 12345, 12345)) }, false},
		"a link to ours":    {func(dir string) error { return errors.Join(os.Mkdir(dir+"-ours", 0o700), os.Symlink(dir+"-ours", dir)) }, false},
		"a link to nowhere": {func(dir string) error { return os.Symlink(dir+"-none", dir) }, false},
		"a file":            {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, false},
	} {
		dir := filepath.Join(base, strings.ReplaceAll(name, " ", "-"))
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		if err := makePrivate(dir); (err == nil) != c.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	h := open(t)
	owner := mustOwner(t, h)
	for dir, ok := range map[string]bool{filepath.Join(h.bases()[0], directoryName(owner, "a-aaaaaa")): true, filepath.Join(h.bases()[0], directoryName(owner, "a-bbbbbb")): false, "/etc": false, "": false} {
		m := machine{Labels: map[string]string{labelIdentity: "a-aaaaaa", labelSockets: dir}}
		if got, err := h.keptDirectory(m); (err == nil) != ok || ok && got != dir {
			t.Errorf("%q: got %q, %v", dir, got, err)
		}
	}
}

// smolvm's list has to be one: null is none, and a bottle that runs is not taken for one that ended
// while its bundle is gone.
func TestWhatIsAListAndWhatRuns(t *testing.T) {
	h := open(t)
	b := h.waiting()
	if log, err := h.Audit(t.Context(), b.Name(), false); err != nil {
		t.Errorf("its log: %v", err)
	} else {
		_ = log.Close()
	}
	record, err := h.State.Read(b.Name())
	if err != nil {
		t.Fatal(err)
	}
	now, ended := time.Now(), record
	ended.EndedAt = &now // and its bundle is about to end
	if err := h.State.Write(ended); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Audit(t.Context(), b.Name(), false); !errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("the log of what has ended: %v", err)
	}
	if err := errors.Join(h.State.Write(record), endBundle(t.Context(), b.dir)); err != nil {
		t.Fatal(err)
	}
	for _, task := range h.clean() {
		if task.Kind != bottle.LeftBundle {
			t.Errorf("it is cut off, and runs: %+v", task)
		}
	}
	if active, err := h.Active(t.Context()); err != nil || len(active) != 1 || active[0].Status != bottle.CutOff {
		t.Errorf("got %+v, %v", active, err)
	}
	if _, err := h.Audit(t.Context(), b.Name(), false); !errors.Is(err, bottle.ErrNotRunning) {
		t.Errorf("the log of what does not run: %v", err)
	}
	if err := h.stop(t.Context(), b.machine); err != nil {
		t.Fatal(err)
	}
	if err := h.State.End(b.Name(), state.Ending{At: time.Now(), How: unheld}); err != nil {
		t.Fatal(err)
	}
	h.faults(map[string]string{"ls": "null"})
	if _, err := h.machines(context.WithoutCancel(t.Context())); err == nil || !strings.Contains(err.Error(), "no list of machines") {
		t.Errorf("null: got %v", err)
	}
	h.faults(nil)
	h.remove(b)
}
