package bottletest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// kept describes a bottle whose home and workspace stay. The caller removes it.
func (h Harness) kept(t *testing.T, script string) bottle.Spec {
	spec := h.Spec(t, script)
	spec.Remove = false
	return spec
}

// resumed describes the bottle of an identity again.
func (h Harness) resumed(t *testing.T, identity, script string) bottle.Spec {
	spec := h.kept(t, script)
	spec.Identity, spec.Resume = identity, true
	return spec
}

// A bottle that was stopped keeps home and workspace, which can be read meanwhile; it is resumed
// with both, and once removed it is gone for good.
func stoppedResumedRemoved(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.kept(t, wait))
	made := `cd /workspace && git init -q -b main r && cd r && git -c user.name=n -c user.email=e commit -q --allow-empty -m first && echo home > /home/node/kept`
	if r, err := b.Exec(t.Context(), made, bottle.Node); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if h.runs(t, b.Name()) {
		t.Error("a stopped bottle runs")
	}
	if _, err := h.Backend.Transcript(t.Context(), b.Name()); !errors.Is(err, bottle.ErrNotRunning) && !errors.Is(err, bottle.ErrNoTerminal) {
		t.Errorf("Transcript: got %v", err)
	}
	h.readsTheStopped(t, b.Name())
	again := h.launchSpec(t, h.resumed(t, b.Name(), wait))
	if r, err := again.Exec(t.Context(), `cat /home/node/kept; git -C /workspace/r log --format=%s; echo more > /workspace/more`, bottle.Node); err != nil || string(r.Stdout) != "home\nfirst\n" {
		t.Errorf("resumed: got %+v, %v", r, err)
	}
	h.uploads(t, b.Name())
	if _, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait)); !errors.Is(err, bottle.ErrRunning) {
		t.Errorf("resumed while it runs: got %v, want ErrRunning", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Backend.Remove(t.Context(), b.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Backend.Files(t.Context(), b.Name()); !errors.Is(err, bottle.ErrGone) {
		t.Errorf("Files of a removed one: got %v, want ErrGone", err)
	}
	if code, err := h.Backend.UploadPack(t.Context(), b.Name(), "r", bottle.IO{Stdin: strings.NewReader("0000"), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}); !errors.Is(err, bottle.ErrGone) {
		t.Errorf("UploadPack of a removed one: got %d, %v, want ErrGone", code, err)
	}
	if _, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait)); err == nil {
		t.Error("a removed bottle was resumed")
	}
}

// readsTheStopped reads a file and a repository of a bottle that does not run.
func (h Harness) readsTheStopped(t *testing.T, identity string) {
	t.Helper()
	files, err := h.Backend.Files(t.Context(), identity)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := files.Stat(t.Context(), "/home/node/kept"); err != nil || got != (bottle.FileInfo{Path: "/home/node/kept"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	h.uploads(t, identity)
	if h.runs(t, identity) {
		t.Error("it runs after it was read from")
	}
}

// uploads asks for the refs of a repository, and of one that is not there.
func (h Harness) uploads(t *testing.T, identity string) {
	t.Helper()
	for repository, there := range map[string]bool{"r": true, "../../r": true, "none": false} {
		var refs, said bytes.Buffer
		code, err := h.Backend.UploadPack(t.Context(), identity, repository, bottle.IO{Stdin: strings.NewReader("0000"), Stdout: &refs, Stderr: &said})
		if err != nil || (code == 0) != there || strings.Contains(refs.String(), "refs/heads/main") != there {
			t.Errorf("upload-pack of %s: got %d, %v, %q, %q", repository, code, err, refs.String(), said.String())
		}
	}
}

// An agent is asked to end, and has a moment for what it wants to leave behind.
func closeAsksTheAgent(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.kept(t, `trap 'echo asked > /workspace/asked; exit 0' TERM; echo ready > /workspace/ready; sleep 1000 & wait`))
	for {
		if r, err := b.Exec(t.Context(), `cat /workspace/ready`, bottle.Node); err != nil {
			t.Fatal(err)
		} else if string(r.Stdout) == "ready\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := h.Backend.Files(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Stat(t.Context(), "/workspace/asked"); err != nil {
		t.Errorf("it was not asked: %v", err)
	}
	if err := errors.Join(files.Close(), h.Backend.Remove(t.Context(), b.Name())); err != nil {
		t.Error(err)
	}
}

// While somebody has the files of a bottle that is stopped, nobody can start it.
func filesKeepItStopped(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.kept(t, `echo work > /workspace/work`))
	if code, err := b.Agent(t.Context(), bottle.IO{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}); err != nil || code != 0 {
		t.Errorf("got %d, %v", code, err)
	}
	if n := h.clean(t, b.Name(), nil); n != 0 {
		t.Errorf("of a bottle that is held, %d things are left over", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := h.Backend.Files(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := plan.Launch(t.Context(), nil); err == nil {
		t.Error("it was started under who has its files")
		_ = second.Close()
	}
	if _, err := files.Stat(t.Context(), "/workspace/work"); err != nil {
		t.Error(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	again := h.launchSpec(t, h.resumed(t, b.Name(), wait))
	if err := errors.Join(again.Close(), h.Backend.Remove(t.Context(), b.Name())); err != nil {
		t.Error(err)
	}
}

// A resume that is interrupted leaves the bottle as it was before.
func aFailedResumeHarmsNothing(t *testing.T, h Harness) {
	b := h.launchSpec(t, h.kept(t, wait))
	if r, err := b.Exec(t.Context(), `echo work > /workspace/work; echo home > /home/node/kept`, bottle.Node); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, late := range []time.Duration{0, 40 * time.Millisecond, 100 * time.Millisecond} {
		plan, err := h.Backend.Prepare(t.Context(), h.resumed(t, b.Name(), wait))
		if err != nil {
			t.Fatalf("after %s: %v", late, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), late)
		again, err := plan.Launch(ctx, nil)
		cancel()
		if err == nil { // it was faster
			err = again.Close()
		} else if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		if err != nil {
			t.Errorf("after %s: %v", late, err)
		}
		if h.runs(t, b.Name()) {
			t.Errorf("after %s: it runs", late)
		}
		if n := h.clean(t, b.Name(), nil); n != 0 {
			t.Errorf("after %s: %d things are left", late, n)
		}
	}
	last := h.launchSpec(t, h.resumed(t, b.Name(), wait))
	if r, err := last.Exec(t.Context(), `cat /workspace/work /home/node/kept`, bottle.Node); err != nil || string(r.Stdout) != "work\nhome\n" {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := errors.Join(last.Close(), h.Backend.Remove(t.Context(), b.Name())); err != nil {
		t.Error(err)
	}
}

// The repository at hand comes along: its history and what is staged, not what is not.
func aRepositoryComesAlong(t *testing.T, h Harness) {
	spec := h.Spec(t, `git log --format=%s; git status --porcelain; cat staged; ls; id -un; stat -c %U staged`)
	spec.Cwd, spec.CopyCwd = t.TempDir(), true
	for _, script := range []string{
		"git init -q -b main . && echo first > file && git add file && git -c user.name=n -c user.email=e commit -q -m first",
		"echo staged > staged && git add staged && echo not > not",
	} {
		c := exec.Command("sh", "-c", script)
		c.Dir = spec.Cwd
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	b := h.launchSpec(t, spec)
	var stdout, stderr bytes.Buffer
	code, err := b.Agent(t.Context(), bottle.IO{Stdout: &stdout, Stderr: &stderr})
	if want := "first\nA  staged\nstaged\nfile\nstaged\nnode\nnode\n"; err != nil || code != 0 || stdout.String() != want {
		t.Errorf("got %d, %v, %q, %q, want %q", code, err, stdout.String(), stderr.String(), want)
	}
}

// ended launches a bottle that nobody holds and whose agent ends by itself, with status 6.
func (h Harness) ended(t *testing.T) string {
	t.Helper()
	spec := h.kept(t, `echo work > /workspace/work; exit 6`)
	spec.Detached, spec.Stdin = true, false
	b := h.launchSpec(t, spec)
	if err := b.Detach(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		open, err := h.Backend.Open(t.Context(), b.Name())
		if err == nil {
			_ = open.Detach()
		} else if !errors.Is(err, bottle.ErrNotRunning) {
			t.Fatal(err)
		} else if !h.runs(t, b.Name()) { // its services may take a moment to end
			return b.Name()
		}
		if time.Now().After(deadline) {
			t.Fatalf("its agent does not end: %v", err)
		}
	}
}

// An agent that ends while nobody holds its bottle is found out about: how it ended, what is left
// of it, and nothing of another bottle. Its work stays.
func theEndThatNobodySaw(t *testing.T, h Harness) {
	other := h.launch(t, wait)
	identity := h.ended(t)
	var end *bottle.EndedError
	if _, err := h.Backend.Open(t.Context(), identity); !errors.As(err, &end) || end.Code != 6 {
		t.Errorf("Open: got %v, want status 6", err)
	}
	plan, err := h.Backend.PrepareCleanup(t.Context(), bottle.CleanupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range plan.Leftovers() {
		if l.Identity == other.Name() && !l.Kept {
			t.Errorf("of a bottle that runs: %s %s (%s)", l.Kind, l.Name, l.Why)
		}
	}
	if n := h.clean(t, identity, nil); n == 0 {
		t.Error("nothing was left of it")
	}
	if n := h.clean(t, identity, nil); n != 0 {
		t.Errorf("after a cleanup %d things are left", n)
	}
	again := h.launchSpec(t, h.resumed(t, identity, wait))
	if r, err := again.Exec(t.Context(), `cat /workspace/work`, bottle.Node); err != nil || string(r.Stdout) != "work\n" {
		t.Errorf("its work: got %+v, %v", r, err)
	}
	if err := errors.Join(again.Close(), h.Backend.Remove(t.Context(), identity)); err != nil {
		t.Error(err)
	}
	if !h.runs(t, other.Name()) {
		t.Error("the other bottle was ended")
	}
}

// clean plans a cleanup of one bottle and carries it out, with something between. It returns how
// much was planned.
func (h Harness) clean(t *testing.T, identity string, between func()) (planned int) {
	t.Helper()
	plan, err := h.Backend.PrepareCleanup(t.Context(), bottle.CleanupOptions{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	var want error
	if between != nil {
		between()
		want = bottle.ErrCameToLife
	}
	told := 0
	for _, l := range plan.Leftovers() {
		if !l.Kept {
			planned++
		}
	}
	err = plan.Run(t.Context(), func(l bottle.Leftover, err error) {
		told++
		if l.Identity != identity || !errors.Is(err, want) {
			t.Errorf("%s %s of %s: got %v, want %v", l.Kind, l.Name, l.Identity, err, want)
		}
	})
	if err != nil || told != planned {
		t.Errorf("of %d things planned %d were told of, %v", planned, told, err)
	}
	return planned
}

// A bottle that is ended from elsewhere is ended as by who holds it: its agent is asked, and whoever is
// connected with that hears how it ended.
func endedFromElsewhere(t *testing.T, h Harness) {
	held := h.launch(t, `trap 'echo asked; exit 9' TERM; echo ready; sleep 1000 & wait`)
	var elsewhere sync.WaitGroup
	defer elsewhere.Wait()
	out := &awaited{word: "ready", then: func() {
		elsewhere.Go(func() {
			other, err := h.Backend.Open(t.Context(), held.Name())
			if err == nil {
				err = other.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}}
	if code, err := held.Agent(t.Context(), bottle.IO{Stdout: out, Stderr: out}); err != nil || code != 9 || !out.has("asked") {
		t.Errorf("got %d, %v, %q", code, err, out.all.String())
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if h.runs(t, held.Name()) {
		t.Error("it still runs")
	}
}

// What came to life after a cleanup was planned is left alone.
func cleanupLeavesTheLiving(t *testing.T, h Harness) {
	identity := h.ended(t)
	var again bottle.Bottle
	n := h.clean(t, identity, func() { again = h.launchSpec(t, h.resumed(t, identity, wait)) })
	if n == 0 {
		t.Error("nothing was left of it")
	}
	if r, err := again.Exec(t.Context(), `cat /workspace/work`, bottle.Node); err != nil || string(r.Stdout) != "work\n" {
		t.Errorf("it was harmed: got %+v, %v", r, err)
	}
	if err := errors.Join(again.Close(), h.Backend.Remove(t.Context(), identity)); err != nil {
		t.Error(err)
	}
}
