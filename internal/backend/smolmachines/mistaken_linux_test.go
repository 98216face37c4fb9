package smolmachines

import (
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// A smolvm that finds something else not (a library of its own, say) does not say that a machine is gone: a
// bottle whose machine runs is not taken for stopped, nor one with work on its disk for removed.
func TestWhatIsNotFoundIsNotTheMachine(t *testing.T) {
	h := open(t)
	b := h.waiting()
	d := bottle.Use(h.Driver)
	for _, verb := range []string{"stop", "status"} {
		h.faults(map[string]string{verb: "library"})
		if err := h.closed(b); err == nil || !strings.Contains(err.Error(), "libkrunfw.so.4") {
			t.Errorf("%s: stopped with %v", verb, err)
		}
		h.faults(nil)
		if m, _, err := h.find(t.Context(), b.Name()); err != nil || !m.up() {
			t.Fatalf("%s: got %+v, %v", verb, m, err)
		}
		if r, err := h.State.Read(b.Name()); err != nil || r.EndedAt != nil {
			t.Errorf("%s: its record says %v, %v", verb, r.EndedAt, err)
		}
	}
	if err := h.stop(t.Context(), b.machine); err != nil {
		t.Fatal(err)
	}
	h.clean()
	for _, verb := range []string{"status", "delete"} {
		h.faults(map[string]string{verb: "library"})
		if err := d.Remove(t.Context(), b.Name()); err == nil || !strings.Contains(err.Error(), "libkrunfw.so.4") {
			t.Errorf("%s: removed with %v", verb, err)
		}
		h.faults(nil)
		if _, there, err := h.find(t.Context(), b.Name()); err != nil || !there {
			t.Fatalf("%s: got %v, %v", verb, there, err)
		}
		if _, err := h.State.Read(b.Name()); err != nil {
			t.Errorf("%s: its record is gone: %v", verb, err)
		}
	}
	h.remove(b)
}

// A machine that smolvm does not reach for a moment, since its agent takes all that it has, is not one that is left
// over: its bundle lives. Nor is one left whose sockets are where this shell does not look, since it has no
// XDG_RUNTIME_DIR (cron's, say). Cleanup stops neither.
func TestCleanupLeavesABusyMachineAlone(t *testing.T) {
	for name, busy := range map[string]func(house){
		"unreachable": func(h house) { h.faults(map[string]string{"state": "unreachable"}) },
		"far off":     func(h house) { h.faults(map[string]string{"guest talk": "hang"}); delete(h.env, "XDG_RUNTIME_DIR") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			h.env["XDG_RUNTIME_DIR"] = h.data
			b := h.waiting()
			if !strings.HasPrefix(b.dir, h.data) {
				t.Fatalf("its sockets are in %s", b.dir)
			}
			busy(h)
			var releases []func()
			for _, other := range []string{"other-aaaaaa", "other-bbbbbb", "other-cccccc"} { // others are at work meanwhile
				release, err := h.State.Lock(other)
				if err != nil {
					t.Fatal(err)
				}
				releases = append(releases, func() { release(); _ = h.State.RemoveUnrecorded(other) })
			}
			h.patience = 3 * time.Second
			if tasks := h.clean(); len(tasks) > 0 {
				t.Errorf("cleaned up: %+v", tasks)
			}
			for _, release := range releases {
				release()
			}
			h.env["XDG_RUNTIME_DIR"] = h.data
			h.faults(nil)
			if now, err := h.condition(t.Context(), b.machine); err != nil || now.Ended || !bundleLives(b.dir) {
				t.Errorf("got %+v, %v, bundle %v", now, err, bundleLives(b.dir))
			}
			if err := h.closed(b); err != nil {
				t.Error(err)
			}
			h.remove(b)
		})
	}
}

// What smolvm itself complains of is no command's status, whatever part of it complains.
func TestSmolvmsFailureIsNoStatus(t *testing.T) {
	h := open(t)
	b := h.waiting()
	found, err := h.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{"lost", "broken"} {
		h.faults(map[string]string{"exec": fault})
		if code, err := found.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{}); err == nil {
			t.Errorf("%s: the command has ended with status %d", fault, code)
		}
	}
	h.faults(nil)
	if code, err := found.Run(t.Context(), []string{control.Binary, "no-such-verb"}, bottle.Node, bottle.IO{}); code == 0 || err != nil {
		t.Errorf("a command's own failure: got %d, %v", code, err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	h.remove(b)
}
