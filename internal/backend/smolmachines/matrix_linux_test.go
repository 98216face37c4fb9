package smolmachines

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// printable fails the test unless an error can be shown to an operator.
func printable(t *testing.T, what string, err error) {
	t.Helper()
	if text := err.Error(); strings.ContainsAny(text, "\x1b\x07\x00") || strings.HasSuffix(strings.TrimSpace(text), ":") || len(text) > 2000 {
		t.Errorf("%s: got %q", what, text)
	}
}

// Whatever any verb of smolvm does in its place, at any time of a bottle's life: either the bottle
// does what it is for, or an error says why not; and once smolvm is itself again, a cleanup and rm leave
// nothing.
func TestEachVerbFailsInEachWay(t *testing.T) {
	for _, verb := range slices.Sorted(maps.Keys(needed())) {
		for _, fault := range []string{"garbage", "huge", "empty", "silent", "killed", "broken", "broken once", "after broken"} {
			t.Run(verb+" "+fault, func(t *testing.T) {
				t.Parallel()
				h := open(t)
				plan, err := bottle.Use(h.Driver).Prepare(t.Context(), h.spec())
				if err != nil {
					t.Fatal(err)
				}
				h.faults(map[string]string{verb: fault})
				b, err := plan.Launch(t.Context(), nil)
				if err != nil {
					printable(t, "launch", err)
				} else {
					h.lives(b)
				}
				h.faults(nil)
				h.clean()
				identities, err := h.State.Identities()
				if err != nil {
					t.Fatal(err)
				}
				for _, identity := range identities {
					if err := bottle.Use(h.Driver).Remove(context.WithoutCancel(t.Context()), identity); err != nil {
						t.Error(err)
					}
				}
				h.nothingLeft("afterwards")
			})
		}
	}
}

// lives has a bottle run, be listed, and end, in spite of what is wrong with smolvm.
func (h house) lives(b bottle.Bottle) {
	h.t.Helper()
	var out strings.Builder
	code, err := b.Agent(h.t.Context(), bottle.IO{Stdout: &out, Stderr: io.Discard})
	switch {
	case err != nil:
		printable(h.t, "agent", err)
	case code != 0 || !strings.Contains(out.String(), "bot-bottle"):
		h.t.Errorf("the agent ended with %d and no error: %q", code, out.String())
	}
	if _, err := h.Active(h.t.Context()); err != nil {
		printable(h.t, "list", err)
	}
	if _, err := h.PrepareCleanup(h.t.Context(), bottle.CleanupOptions{}); err != nil {
		printable(h.t, "cleanup", err)
	}
	err = b.Close()
	if err != nil {
		printable(h.t, "close", err)
	}
	r, readErr := h.State.Read(b.Name())
	if readErr != nil || err == nil && r.EndedAt == nil || err != nil && r.EndedAt != nil {
		h.t.Errorf("it ended with %v, and its record says %v, %v", err, r.EndedAt, readErr)
	}
	if m, _, _ := h.find(h.t.Context(), b.Name()); err == nil && m.Name != "" && m.up() {
		h.t.Errorf("it ended, and its machine is %s", m.State)
	}
}

// A machine in a state that is none to work with is listed as what it is, with words that are safe to
// show; nothing is run in it, and stop and cleanup stop it.
func TestAMachineInAStateOfItsOwn(t *testing.T) {
	for _, state := range []string{"unreachable", "frozen", "failed", "\x1b]0;owned\x07" + strings.Repeat("x", 200)} {
		h := open(t)
		b := h.waiting()
		h.faults(map[string]string{"state": state})
		active, err := h.Active(t.Context())
		if err != nil || len(active) != 1 || !strings.HasPrefix(active[0].Status, "its machine is ") ||
			strings.ContainsAny(active[0].Status, "\x1b\x07") || len(active[0].Status) > 60 {
			t.Errorf("%q: got %+v, %v", state, active, err)
		}
		found, err := h.Open(t.Context(), b.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := found.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{}); err == nil || !strings.Contains(err.Error(), "does not answer: its machine is ") || strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%q: got %v", state, err)
		}
		if byStop := state == "unreachable"; byStop {
			err = found.Close()
		} else {
			h.clean()
		}
		if err != nil {
			t.Errorf("%q: %v", state, err)
		}
		h.faults(nil)
		if m, _, err := h.find(t.Context(), b.Name()); err != nil || m.up() {
			t.Errorf("%q: got %+v, %v", state, m, err)
		}
		h.remove(b)
	}
}

// A slow smolvm makes a slow bottle, and that is all.
func TestASlowSmolvmIsWaitedFor(t *testing.T) {
	for _, verb := range []string{"all", "create", "start", "status", "exec", "stop", "ls", "delete"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			h.faults(map[string]string{"slow": verb + " 300ms"})
			b, err := h.launch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if r, err := b.Exec(t.Context(), "x", bottle.Node); err != nil || r.Code == 0 { // there is no shell
				t.Errorf("got %+v, %v", r, err)
			}
			if code, err := b.(*Bottle).Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{}); code != 0 || err != nil {
				t.Errorf("got %d, %v after %s", code, err, time.Since(began))
			}
			if err := errors.Join(b.Close(), bottle.Use(h.Driver).Remove(t.Context(), b.Name())); err != nil {
				t.Error(err)
			}
			h.nothingLeft(verb)
		})
	}
}
