package e2e

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/prove"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// proof runs prove and reads its report.
func (h house) proof(code int, args ...string) prove.Report {
	h.t.Helper()
	var r prove.Report
	out := h.run(code, "", append([]string{"prove", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		h.t.Fatalf("%v: %s", err, out.Stdout)
	}
	return r
}

// broken are the attacks that got through, by name.
func broken(r prove.Report) map[string]bool {
	all := map[string]bool{}
	for _, o := range r.Outcomes {
		if o.Missing == "" && !o.Held() {
			all[o.ID+" "+o.Name] = true
		}
	}
	return all
}

// Invariants 1 to 5. Attacks A1, A2, A4 to A9, A11, A12, A15, A17, B, C1, C3, C6, C7, C10, C13, E5,
// E8, F1, F4, F5, F6, F7, F11, G6, G12, H1, H2, H3, I3, I4, I6: root and node in the bottle, with a program of
// their own, look for any way out, and for any way to talk the services into something. None
// is left out.
func TestAttackA9_RootFindsNoWayOut(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	page := filepath.Join(h.Home, "proof.html")
	runtime := cmp.Or(os.Getenv(lab.Runtime), "auto")
	r := h.proof(0, "--html", page, "--runtime", runtime)
	if r.Runtime == "" || runtime != "auto" && r.Runtime != runtime {
		t.Errorf("it ran on %q, not on %s", r.Runtime, runtime)
	}
	tried := map[string]int{}
	for _, o := range r.Outcomes {
		tried[o.ID+" "+o.Name]++
		if !o.Held() {
			t.Errorf("%s %s as %s: %s: %+v", o.ID, o.Name, o.User, o.Missing, o.Attempts)
		}
	}
	for _, a := range inside.All() {
		if tried[a.ID+" "+a.Name] != 2 {
			t.Errorf("%s %s was tried %d times, and should be as root and as node", a.ID, a.Name, tried[a.ID+" "+a.Name])
		}
	}
	if held, broken, missing := r.Count(); held != 2*len(inside.All())+9 || broken != 0 || missing != 0 {
		t.Errorf("got %d held, %d broken, %d missing", held, broken, missing)
	}
	if data, err := os.ReadFile(page); err != nil || !strings.Contains(string(data), "0 broken") || strings.Contains(string(data), "<script") {
		t.Errorf("the page: %v, %d bytes", err, len(data))
	}
}

// The attacks are real: on the two usual set-ups they get through to the host and the kernel.
func TestProveCanFail(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	for _, against := range []string{"docker-run", "docker-internal-network"} {
		got := broken(h.proof(1, "--against", against, "--only", "A,H"))
		for _, want := range []string{"H1 terminal", "A7 datagrams", "A8 host", "A8 host, from outside", "A15 families", "A15 interfaces", "A15 privileges", "A15 calls", "A15 mounts"} {
			if !got[want] {
				t.Errorf("%s: %s did not get through; these did: %v", against, want, got)
			}
		}
	}
}

// An agent of the manifest is attacked in its own bottle, and its program is not started.
func TestProveAnAgentOfTheManifest(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	if r := h.proof(0, "claude", "--only", "A0,C10,I3"); len(r.Outcomes) != 6 {
		t.Errorf("got %+v", r.Outcomes)
	}
	for only, want := range map[string]int{"e5": 1, "F6": 3} { // from outside alone; from both sides
		if r := h.proof(0, "claude", "--only", only); len(r.Outcomes) != want {
			t.Errorf("--only %s: got %+v", only, r.Outcomes)
		}
	}
	if got := h.Standin.Requests(); len(got) != 0 {
		t.Errorf("the agent's program ran: %v", got)
	}
	if r := h.run(2, "", "prove", "--only", "Z9"); !strings.Contains(r.Stderr, `there is no attack "Z9"`) {
		t.Errorf("got %s", r.Stderr)
	}
}
