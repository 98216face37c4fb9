package smolmachines

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// killGuest kills process 1 of a machine's workload. The machine goes on.
func (h house) killGuest() {
	h.t.Helper()
	for _, pid := range h.inMachine() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if words := strings.Split(string(command), "\x00"); slices.Contains(words, "guest") && slices.Contains(words, "machine") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				h.t.Fatal(err)
			}
			return
		}
	}
	h.t.Fatal("the machine has no guest")
}

// A bottle whose guest does not answer any more, in a machine that runs, can be ended all the same.
func TestABottleWithoutItsGuestIsEnded(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.killGuest()
	d := bottle.Use(h.Driver)
	if active, err := d.Active(t.Context()); err != nil || len(active) != 1 || active[0].Status != bottle.Silent {
		t.Errorf("it is listed as %+v, %v", active, err)
	}
	found, err := d.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := found.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Run: got %v", err)
	}
	if _, err := found.Agent(t.Context(), bottle.IO{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Agent: got %v", err)
	}
	if _, err := found.Watch(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Watch: got %v", err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	if active, err := d.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("got %v, %v", active, err)
	}
	if r, err := h.State.Read(b.Name()); err != nil || r.EndedAt == nil {
		t.Errorf("got %+v, %v", r, err)
	}
	h.remove(b)
}

// Who looks at a bottle whose guest is killed is not told that its session goes on.
func TestAViewerOfADeadGuest(t *testing.T) {
	h := open(t)
	b := h.waiting()
	found, err := bottle.Use(h.Driver).Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	in, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	shown, ended := &once{seen: make(chan struct{})}, make(chan error, 1)
	go func() {
		_, err := found.Agent(t.Context(), bottle.IO{Stdin: in, Stdout: shown, Stderr: shown, TTY: true})
		ended <- err
	}()
	<-shown.seen
	h.killGuest()
	if err := <-ended; err == nil || strings.Contains(err.Error(), "goes on") || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	h.remove(b)
}

// once closes seen at the first byte.
type once struct {
	seen chan struct{}
	do   sync.Once
}

func (o *once) Write(p []byte) (int, error) {
	o.do.Do(func() { close(o.seen) })
	return len(p), nil
}

// A machine that is suspended, whether or not smolvm notices, is listed as what it is. Nobody who wants
// something of it waits for ever, each is told what to do, and that helps.
func TestAFrozenMachineIsNotWaitedFor(t *testing.T) {
	for state, status := range map[string]string{"running": bottle.Silent, "": "its machine is unreachable"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			b := h.waiting()
			found, err := h.Open(t.Context(), b.Name())
			if err != nil {
				t.Fatal(err)
			}
			h.freeze()
			h.faults(map[string]string{"state": state})
			h.patience = 6 * time.Second // smolvm itself waits for 3
			active, err := h.Active(t.Context())
			if err != nil || len(active) != 1 || active[0].Status != status {
				t.Errorf("it is listed as %+v, %v", active, err)
			}
			again, err := h.Open(t.Context(), b.Name())
			if err != nil {
				t.Fatal(err)
			}
			said := map[string]error{}
			_, said["exec"] = again.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{})
			_, said["attach"] = again.Agent(t.Context(), bottle.IO{})
			_, said["watch"] = again.Watch(t.Context())
			spec := h.spec()
			spec.Identity, spec.Resume = b.Name(), true
			_, said["resume"] = bottle.Use(h.Driver).Prepare(t.Context(), spec)
			if state == "running" { // else smolvm says itself that it is not
				_, said["cp"] = h.Files(t.Context(), b.Name())
				_, said["pull"] = h.UploadPack(t.Context(), b.Name(), ".", bottle.IO{Stdout: io.Discard, Stderr: io.Discard})
			}
			for verb, err := range said {
				if err == nil || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(bottle.HintOf(err), "bot-bottle stop "+b.Name()) {
					t.Errorf("%s: got %v; %s", verb, err, bottle.HintOf(err))
				}
			}
			h.patience = 0
			if err := errors.Join(again.Close(), found.Detach()); err != nil {
				t.Error(err)
			}
			h.faults(nil)
			if m, _, err := h.find(t.Context(), b.Name()); err != nil || m.up() {
				t.Errorf("got %+v, %v", m, err)
			}
			resumed := h.again(b)
			h.crash(resumed)
			h.remove(resumed)
		})
	}
}

// A smolvm that hangs when it is asked, or in an end, is given up after a while, and what to do is said. What it
// did not do is left for a cleanup, which does it once smolvm works again.
func TestNoHangingVerbIsWaitedForWithoutEnd(t *testing.T) {
	closed := func(h house, b *Bottle) error {
		found, err := h.Open(h.t.Context(), b.Name())
		if err != nil {
			h.t.Fatal(err)
		}
		return found.Close()
	}
	ran := func(h house, b *Bottle) error {
		h.endMachine("x\n")
		_, err := b.Run(h.t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{})
		return err
	}
	removed := func(h house, b *Bottle) error {
		h.crash(b)
		return h.Remove(h.t.Context(), b.Name())
	}
	listed := func(h house, _ *Bottle) error { _, err := h.Active(h.t.Context()); return err }
	looked := func(h house, _ *Bottle) error {
		_, err := h.PrepareCleanup(h.t.Context(), bottle.CleanupOptions{})
		return err
	}
	opened := func(h house, b *Bottle) error { _, err := h.Open(h.t.Context(), b.Name()); return err }
	for name, c := range map[string]struct {
		verb string
		do   func(house, *Bottle) error
		want string
	}{
		"list":        {"ls", listed, "smolvm machine ls: it is not done after"},
		"cleanup":     {"ls", looked, "smolvm machine ls: it is not done after"},
		"open":        {"status", opened, "smolvm machine status: it is not done after"},
		"stop":        {"stop", closed, "could not be stopped: smolvm machine stop: it is not done after"},
		"rm":          {"delete", removed, "could not be removed: smolvm machine delete: it is not done after"},
		"its console": {"data-dir", ran, "agent operation failed: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			b := h.waiting()
			h.patience = 5 * time.Second
			h.faults(map[string]string{c.verb: "hang"})
			began := time.Now()
			err := c.do(h, b)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			} else {
				printable(t, name, err)
			}
			if c.verb == "ls" { // who asked for a list says why the backend cannot be used (Available)
				err = h.Available(t.Context())
			}
			if c.verb != "data-dir" && bottle.HintOf(err) == "" {
				t.Errorf("nothing is said about what to do: %v", err)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("it took %s", took)
			}
			h.patience = 0
			h.faults(nil)
			if name != "rm" && name != "its console" { // those are down
				if r, err := h.State.Read(b.Name()); err != nil || r.EndedAt != nil {
					t.Errorf("its record says that it has ended: %+v, %v", r, err)
				}
			}
			if name != "rm" && name != "stop" {
				h.crash(b)
			}
			h.clean()
			if m, _, err := h.find(t.Context(), b.Name()); err != nil || m.up() {
				t.Errorf("got %+v, %v", m, err)
			}
			h.remove(b)
		})
	}
}

// Between an agent's end and that of its bundle, which hears of it, list and cleanup say the same: it does
// not run.
func TestListAndCleanupAgreeOnAnAgentThatHasEnded(t *testing.T) {
	h := open(t)
	b := h.waiting()
	bundle, err := listenerOf(filepath.Join(b.dir, controlSocket))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(bundle, syscall.SIGSTOP); err != nil { // it hears of nothing
		t.Fatal(err)
	}
	h.endAgentOf(b)
	if active, err := h.Active(t.Context()); err != nil || len(active) > 0 {
		t.Errorf("it is listed as %+v, %v", active, err)
	}
	if tasks := h.clean(); len(tasks) != 3 { // the machine, the bundle and the record
		t.Errorf("got %+v", tasks)
	}
	if bundleLives(b.dir) {
		t.Error("its bundle lives")
	}
	h.remove(b)
}

// Bottles that another process is at work on are counted while the guests of others are asked.
func TestGuestsAreAskedBesideTheCount(t *testing.T) {
	h := open(t)
	for range 5 { // each time in another order
		c := census{machines: map[string]machine{}, records: map[string]record{}, alive: map[string]bool{}, unused: map[string]bool{}}
		busy := map[string]bool{}
		for i := range 12 {
			identity := bottle.NewIdentity("a")
			c.machines[identity] = machine{Name: machineName(identity), State: running}
			if busy[identity] = i%3 > 0; busy[identity] {
				release, err := h.State.Lock(identity)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(release)
			}
		}
		h.lookAtLives(t.Context(), &c, "")
		for identity, want := range busy {
			if c.alive[identity] != want {
				t.Errorf("%s: locked %t, alive %t", identity, want, c.alive[identity])
			}
		}
	}
}
