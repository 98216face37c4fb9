package smolmachines

import (
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
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
