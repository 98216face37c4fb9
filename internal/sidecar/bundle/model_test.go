//go:build linux

package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Whatever is asked, edited, decided, used up, taken back, and whoever crashes in between, in
// whatever order: what egress and the gate let through is what was shown under the digest that was
// approved, and has not ended (invariant 7; ATTACKS G2, G3, G4, G9, G13). The desk, the ledger,
// the links and the log are the real ones; of the services, it is the configuration that they have
// taken over that is looked at, with the code that they decide by.
func TestOnlyWhatWasShownAndNotEnded(t *testing.T) {
	approvals := 0
	for seed := range uint64(40) {
		home := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, r: rand.New(rand.NewPCG(seed, 7)), state: state.Open(home), granted: make(map[string]*given), shown: make(map[string]requests.Shown)}
			w.boot()
			defer func() { w.crash(); approvals += len(w.granted) }()
			for step := range 80 {
				what := w.step()
				synctest.Wait()
				if wrong := w.compare(); wrong != "" {
					t.Fatalf("seed %d, step %d, after %s: %s", seed, step, what, wrong)
				}
			}
		})
	}
	if approvals < 150 {
		t.Errorf("only %d requests were approved: this proves little", approvals)
	}
}

// given is the model: what an approval gave, as it was shown, and until when.
type given struct {
	requests.Request
	left  int64 // uses; -1: any number
	until time.Time
	of    string
	ended bool
}

func (g *given) live(now time.Time) bool {
	return !g.ended && g.left != 0 && (g.until.IsZero() || now.Before(g.until))
}

// world is a bottle's bundle, its services, and what should be so.
type world struct {
	t     *testing.T
	r     *rand.Rand
	state state.Store

	o         *operator
	gate, out *sink
	end       context.CancelFunc
	keeping   sync.WaitGroup
	granted   map[string]*given
	shown     map[string]requests.Shown // by digest
	last      []string                  // digests, as they were shown
}

// sink is a service that takes configurations over.
type sink struct {
	*service
	mu      sync.Mutex
	applied []byte
	ending  func()
}

func (s *sink) apply(data json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = slices.Clone(data)
	return nil
}

func (s *sink) now() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// start starts the process, with the configuration that its parent has for it.
func (s *sink) start() {
	ours, theirs := net.Pipe()
	config := s.current()
	_ = s.apply(config)
	ended := make(chan struct{})
	go func() { defer close(ended); hear(theirs, s.apply) }()
	s.ending = func() { _, _ = ours.Close(), theirs.Close(); <-ended }
	s.connect(config, ours, func(error) {})
}

// stop kills it.
func (s *sink) stop() {
	s.ending()
	s.connect(nil, nil, nil)
}

const modelled = "dev-abcdef"

// boot starts the bundle, with what its earlier runs have left in the log.
func (w *world) boot() {
	if err := os.MkdirAll(w.state.Dir(modelled), 0o700); err != nil {
		w.t.Fatal(err)
	}
	var known []requests.Request
	if _, err := os.Stat(w.state.AuditFile(modelled)); err == nil {
		if known, err = w.state.Requests(modelled); err != nil {
			w.t.Fatal(err)
		}
	}
	file, err := os.OpenFile(filepath.Clean(w.state.AuditFile(modelled)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	c := control.BundleConfig{
		Bottle: modelled, Requests: known,
		Egress: &control.EgressConfig{Bottle: modelled, Routes: []policy.Route{{Host: "api.example"}}},
		Git:    &control.GitConfig{Bottle: modelled, Repositories: []control.GitRepository{{Name: "widget", Upstream: "ssh://git@git.example/acme/widget", Places: []string{"widget"}, Key: "k"}}},
	}
	egress, _ := json.Marshal(c.Egress)
	git, _ := json.Marshal(c.Git)
	w.out, w.gate = &sink{service: &service{name: control.Egress, config: egress}}, &sink{service: &service{name: control.GitGate, config: git}}
	out := newLog(file, c, func(err error) { w.t.Error(err) })
	w.o = newOperator(c, []*service{w.out.service, w.gate.service}, out)
	w.o.rewrites = filepath.Join(w.state.Dir(modelled), "gitconfig")
	if err := out.begin(nil); err != nil {
		w.t.Fatal(err)
	}
	w.out.start()
	w.gate.start()
	ctx, cancel := context.WithCancel(context.Background())
	w.keeping.Go(func() { w.o.keep(ctx) })
	w.end = func() { cancel(); w.keeping.Wait(); _ = file.Close() }
}

// crash ends the bundle without a word.
func (w *world) crash() {
	w.out.stop()
	w.gate.stop()
	w.end()
}

// step does something, and says what.
func (w *world) step() string {
	time.Sleep(time.Duration(1+w.r.IntN(40)) * time.Second)
	synctest.Wait() // what is over by now has ended
	ids, _ := w.o.List(w.t.Context())
	id := ""
	if len(ids) > 0 {
		id = ids[w.r.IntN(len(ids))].ID
	}
	switch w.r.IntN(11) {
	case 0, 1, 2:
		return w.ask()
	case 3:
		w.look()
		return "a look"
	case 4, 5:
		return w.decide()
	case 6:
		return w.edit()
	case 7:
		return w.use(id)
	case 8:
		if _, err := w.o.Revoke(id); err == nil {
			w.granted[id].ended = true
		}
		return "a revocation of " + id
	case 9:
		_, _ = w.o.Cancel(w.t.Context(), id)
		return "a cancellation of " + id
	}
	return w.breakDown()
}

func (w *world) breakDown() string {
	switch w.r.IntN(3) {
	case 0:
		w.out.stop()
		w.out.start()
		return "a crash of egress"
	case 1:
		w.gate.stop()
		w.gate.start()
		return "a crash of the gate"
	}
	w.crash()
	for _, g := range w.granted { // those without an end of their own, and what nobody kept
		if g.left < 0 && g.until.IsZero() || g.Kind == requests.Secret {
			g.ended = true
		}
	}
	w.boot()
	return "a crash of the bundle"
}

var (
	methods = []string{"GET", "POST"}
	targets = []string{"/0", "/1"}
	refs    = []string{"refs/heads/a", "refs/heads/b"}
)

func (w *world) ask() string {
	pick := func(from []string) []string { return []string{from[w.r.IntN(len(from))]} }
	a := requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example", Methods: pick(methods), Paths: pick(targets)}}
	switch w.r.IntN(6) {
	case 0:
		a = requests.Ask{Kind: requests.Repo, Git: &requests.Git{Repository: "widget", Push: policy.Push{Refs: pick(refs), Force: w.r.IntN(3) == 0}}}
	case 1, 2:
		a = requests.Ask{Kind: requests.Repo, Git: &requests.Git{Repository: "ssh://git@git.example/acme/tools", Push: policy.Push{Refs: pick(refs)}}}
	case 3:
		a.Kind, a.Auth = requests.Secret, &policy.Auth{Scheme: policy.Bearer, Secret: fmt.Sprintf("K%d", w.r.IntN(2))}
		a.Route.Host = "keys.example"
	}
	r, err := w.o.Ask(w.t.Context(), a)
	return fmt.Sprintf("an ask: %s %v", r.ID, err)
}

// look is what an operator sees.
func (w *world) look() {
	for _, s := range w.o.Requests(w.t.Context(), -1).Requests {
		if s.State == requests.Pending {
			w.shown[s.Digest] = s
			w.last = append(w.last, s.Digest)
		}
	}
}

// decide decides about something that was shown, now or long ago.
func (w *world) decide() string {
	if w.r.IntN(2) == 0 {
		w.look()
	}
	if len(w.last) == 0 {
		return "nothing"
	}
	s := w.shown[w.last[max(0, len(w.last)-1-w.r.IntN(6))]]
	scope := requests.Scope{Uses: int64(w.r.IntN(3)), For: policy.Span(time.Duration(w.r.IntN(3)) * time.Minute)}
	d := requests.Decision{Approve: w.r.IntN(5) > 0, Digest: s.Digest, Scope: scope}
	if s.Kind == requests.Secret {
		d.Secret = "value-of-a-credential"
	}
	if _, err := w.o.Decide(s.ID, d); err != nil {
		if !errors.Is(err, requests.ErrChanged) {
			return fmt.Sprintf("a decision about %s: %v", s.ID, err)
		}
		return "a stale decision about " + s.ID
	}
	if !d.Approve {
		return "a rejection of " + s.ID
	}
	g := &given{Request: s.Request, left: -1}
	if scope.Uses > 0 {
		g.left = scope.Uses
	}
	if scope.For > 0 {
		g.until = time.Now().Add(time.Duration(scope.For))
	}
	if s.Git != nil {
		g.of = s.Git.Of
	}
	w.granted[s.ID] = g
	return fmt.Sprintf("an approval of %s for %s", s.ID, scope)
}

func (w *world) edit() string {
	w.look()
	if len(w.last) == 0 {
		return "nothing"
	}
	s := w.shown[w.last[len(w.last)-1]]
	to := requests.Change{Push: &policy.Push{Refs: refs}}
	if len(s.Routes) > 0 {
		to.Routes = []policy.Route{{Host: s.Routes[0].Host, Methods: methods, Paths: targets[:1], Auth: s.Routes[0].Auth}}
	}
	_, err := w.o.Edit(s.ID, s.Digest, to)
	return fmt.Sprintf("an edit of %s: %v", s.ID, err)
}

// use is one that a service let through.
func (w *world) use(id string) string {
	g := w.granted[id]
	if g == nil || !w.live(g) {
		return "nothing"
	}
	e := audit.Event{Kind: audit.Request, Decision: audit.Allow, Grant: id}
	w.o.log.record(string(control.Egress), e)
	w.o.hear(e)
	if g.left > 0 {
		g.left--
	}
	return "a use of " + id
}

// live reports whether a grant should hold now; what is of a repository goes with it.
func (w *world) live(g *given) bool {
	if g.of != "" && (w.granted[g.of] == nil || !w.live(w.granted[g.of])) {
		g.ended = true
	}
	return g.live(time.Now())
}

// compare says what is let through and should not be, or the other way round.
func (w *world) compare() string {
	var egress control.EgressConfig
	var git control.GitConfig
	if err := errors.Join(json.Unmarshal(w.out.now(), &egress), json.Unmarshal(w.gate.now(), &git)); err != nil {
		return err.Error()
	}
	set, err := policy.New(egress.Policy())
	if err != nil {
		return err.Error()
	}
	for _, host := range []string{"docs.example", "keys.example"} {
		for _, method := range methods {
			for _, target := range targets {
				want := w.any(func(g *given) bool {
					return slices.ContainsFunc(g.Routes, func(r policy.Route) bool {
						return r.Host == host && slices.Contains(r.Methods, method) && slices.Contains(r.Paths, target)
					})
				})
				got := set.Request(policy.Request{Protocol: policy.HTTPS, Host: host, Port: 443, Method: method, Target: target})
				if got.Allowed != want {
					return fmt.Sprintf("%s %s%s: let through %t, want %t", method, host, target, got.Allowed, want)
				}
			}
		}
	}
	for _, name := range []string{"K0", "K1"} {
		want := w.any(func(g *given) bool { return g.Kind == requests.Secret && g.Routes[0].Auth.Secret == name })
		if got := slices.ContainsFunc(egress.Secrets, func(s control.Secret) bool { return s.Name == name }); got != want {
			return fmt.Sprintf("egress holds %s: %t, want %t", name, got, want)
		}
	}
	return w.compareGit(git)
}

func (w *world) any(holds func(*given) bool) bool {
	for _, g := range w.granted {
		if w.live(g) && holds(g) {
			return true
		}
	}
	return false
}

func (w *world) compareGit(git control.GitConfig) string {
	for _, repository := range []string{"widget", "git.example/acme/tools"} {
		i := slices.IndexFunc(git.Repositories, func(r control.GitRepository) bool { return r.Name == repository })
		if want := repository == "widget" || w.any(func(g *given) bool { return g.Git != nil && g.Git.Repository == repository && g.of == "" }); (i >= 0) != want {
			return fmt.Sprintf("%s is there: %t, want %t", repository, i >= 0, want)
		}
		for _, ref := range refs {
			for _, forced := range []bool{false, true} {
				want := w.any(func(g *given) bool {
					return g.Git != nil && g.Git.Repository == repository && slices.Contains(g.Git.Push.Refs, ref) && (g.Git.Push.Force || !forced)
				})
				got := i >= 0 && slices.ContainsFunc(git.Repositories[i].More, func(m requests.PushGrant) bool {
					return (m.Uses == 0 || m.Used < m.Uses) && m.Push.CheckUpdate(policy.RefUpdate{Ref: ref, Old: "1", New: "2", Forced: forced}, policy.Refs{}) == nil
				})
				if got != want {
					return fmt.Sprintf("push of %s to %s (forced %t): let through %t, want %t", ref, repository, forced, got, want)
				}
			}
		}
	}
	return ""
}
