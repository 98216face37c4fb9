package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Invariant 6: each call to the engine that a start makes fails, one after the other, in
// each way. The start says so or does without; a cleanup leaves nothing.
func TestEveryEngineCallFails(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	proxy, err := faults.Start(t.TempDir(), strings.TrimPrefix(lab.Endpoint(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	h.sleeper()
	p := h.at("DOCKER_HOST=" + proxy.Host)
	p.run(0, "", "stop", strings.TrimSpace(p.run(0, "", "start", "-y", "--detach", "--rm", "sleeper").Stdout)) // all that is shared is there
	calls, last := 0, ""
	for after := 0; ; after++ {
		mode := faults.Modes()[after%4]
		proxy.Fail(after, mode)
		r, err := p.Run(t.Context(), nil, "start", "-y", "--detach", "--rm", "sleeper")
		if err != nil {
			t.Fatal(err)
		}
		fired := proxy.Fired()
		proxy.Fail(1<<30, mode)
		if r.Code == 0 {
			p.run(0, "", "stop", strings.TrimSpace(r.Stdout))
		} else if !strings.Contains(r.Stderr, "\nbot-bottle: cannot ") && !strings.HasPrefix(r.Stderr, "bot-bottle: ") {
			t.Errorf("%s %s: got %q", fired, mode, r.Stderr)
		}
		if fired == "" {
			break
		}
		calls, last = calls+1, fired
		p.settle()
		p.run(0, "", "cleanup", "-y")
		if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%s %s: left %v, %v", fired, mode, left, err)
		}
	}
	if calls < 12 {
		t.Errorf("only %d calls failed, the last was %s", calls, last)
	}
}

// tiny is a home with almost no room, on a file system of its own.
func (h house) tiny(t *testing.T, kilobytes int) house {
	t.Helper()
	if os.Geteuid() != 0 {
		need.Lacking(t, need.Dockerd, "a small file system cannot be mounted without root")
	}
	home := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk,mode=700", kilobytes), "tmpfs", home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", home).Run() })
	if out, err := exec.Command("cp", "-a", h.Home+"/.", home).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	l := *h.Lab
	l.Home = home
	return house{&l, t, onDocker}
}

// A full disk at the start: it is said, nothing runs that is not recorded, nothing is left,
// and with room again all goes on.
func TestTheDiskIsFull(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list") // the owner
	h = h.tiny(t, 2048)
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
	room := h.fill()
	if r := h.run(125, "", "start", "-y", "--rm", "claude", "--", "-p", "hello"); !strings.Contains(r.Stderr, "no space left on device") || !strings.Contains(r.Stderr, "make room there") {
		t.Errorf("got %s", r.Stderr)
	}
	if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	h.run(0, "", "list", "all")
	room()
	h.run(0, "", "cleanup", "-y")
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
}

// A home that cannot be written to: it is said, and what only looks works.
func TestTheHomeIsReadOnly(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list")
	h = h.tiny(t, 4096)
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
	if out, err := exec.Command("mount", "-o", "remount,ro", h.Home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	if r := h.run(125, "", "start", "-y", "--rm", "claude", "--", "-p", "hello"); !strings.Contains(r.Stderr, "read-only file system") {
		t.Errorf("got %s", r.Stderr)
	}
	for _, args := range [][]string{{"list"}, {"list", "all"}, {"list", "agents"}, {"list", "backends"}} {
		h.run(0, "", args...)
	}
	if out, err := exec.Command("mount", "-o", "remount,rw", h.Home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
}

// Two at once on one bottle: one of them has it, the other is told.
func TestTwoOnOneBottle(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "stop", identity)
	results := make(chan lab.Result, 2)
	for range 2 {
		go func() {
			r, _ := h.Run(t.Context(), nil, "resume", "-y", "--detach", identity)
			results <- r
		}()
	}
	one, two := <-results, <-results
	if one.Code != 0 {
		one, two = two, one
	}
	if one.Code != 0 || two.Code == 0 || !strings.Contains(two.Stderr, "another bot-bottle is at work on it") && !strings.Contains(two.Stderr, "is running") {
		t.Errorf("got %+v and %+v", one, two)
	}
	h.run(0, "", "rm", "--force", identity)
}

// A bottle whose volume somebody removed cannot go on, and says so.
func TestAMissingVolume(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "stop", identity)
	if _, err := h.Engine.VolumeRemove(t.Context(), "bot-bottle-"+identity+"-home", client.VolumeRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := h.run(2, "", "resume", "-y", identity); !strings.Contains(r.Stderr, "its home and workspace are gone") || !strings.Contains(r.Stderr, "begins anew") {
		t.Errorf("got %s", r.Stderr)
	}
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "rm", "-y", identity)
}

// The disk fills up while a bottle runs: what cannot be recorded does not happen, the bottle
// is taken down, and with room again its log is whole.
func TestTheDiskFillsUp(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list") // the owner
	h.sleeper()
	h = h.tiny(t, 2048)
	c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "sleeper")
	var stderr lockedBuffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitRunning(&stderr)
	room := h.fill()
	for range 40 { // requests until one cannot be recorded, and the bottle goes
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do curl -sk -m 5 -o /dev/null https://api.anthropic.com/$(seq -s/ 80); done")
		if err != nil || r.Code != 0 {
			break
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the bottle goes on although nothing can be recorded")
	}
	if code := c.ProcessState.ExitCode(); code != 125 || !strings.Contains(stderr.String(), "no space left on device") {
		t.Errorf("got status %d: %s", code, stderr.String())
	}
	room()
	h.run(0, "", "cleanup", "-y")
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "rm", "--force", identity)
}

// fill leaves no room on the disk of a house; what it returns makes some.
func (h house) fill() (room func()) {
	h.t.Helper()
	path := filepath.Join(h.Home, "filler")
	f, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	for block := make([]byte, 512); err == nil; {
		_, err = f.Write(block)
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			h.t.Fatal(err)
		}
	}
}
