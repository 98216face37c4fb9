// Package prove attacks a bottle and says what happened: the attack suite as a product
// feature. It starts a bottle on the user's own backend, manifest and runtime, with stand-ins
// around it, has the attacks of package inside tried in it as root and as node, and compares
// with what the stand-ins saw.
//
// It must never harm what it proves on: the bottle is one of its own, removed at the end, and
// nothing but its stand-ins is connected to, should a wall be missing.
package prove

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// Options say what is proved.
type Options struct {
	Manifest *manifest.Manifest
	Agent    string // whose bottle is attacked; its program is not started
	Cwd      string
	Only     []string // attacks or groups; none: all
	Address  string   // at which bundles reach this host; "": Address()
	Secrets  bottle.SecretResolver
	Command  func(context.Context, ...string) (*exec.Cmd, error) // bot-bottle itself, as the operator runs it
	Runtime  func(identity string) string                        // on which a bottle runs
	Say      bottle.Progress
	Now      func() time.Time
}

// supervised reports whether the agent that is attacked may ask.
func (o Options) supervised() bool {
	return o.Manifest.Bottles[o.Manifest.Agents[o.Agent].Bottle].Supervise
}

// Report is what came of it.
type Report struct {
	On       string           `json:"on"` // backend, or the set-up that was compared with
	Runtime  string           `json:"runtime,omitempty"`
	Identity string           `json:"identity,omitempty"`
	Started  time.Time        `json:"started"`
	Took     time.Duration    `json:"took"` // nanoseconds
	Outcomes []inside.Outcome `json:"outcomes"`
}

// Where is what was attacked, in words.
func (r Report) Where() string {
	if r.Runtime == "" {
		return r.On
	}
	return r.On + " with " + r.Runtime
}

// Count is how many attacks held, broke, and were not tried.
func (r Report) Count() (held, broken, missing int) {
	for _, o := range r.Outcomes {
		switch {
		case o.Missing != "":
			missing++
		case o.Held():
			held++
		default:
			broken++
		}
	}
	return held, broken, missing
}

// Bottle attacks a bottle on a backend. An error is a bottle that could not be attacked; what
// broke is in the report.
func Bottle(ctx context.Context, b bottle.Backend, o Options) (r Report, err error) {
	r = Report{On: b.Name(), Started: o.Now()}
	defer func() { r.Took = o.Now().Sub(r.Started) }()
	address := cmp.Or(o.Address, Address())
	if address == "" {
		return r, errors.New("this host has no address at which a bottle's services could reach the stand-ins: name one with --address")
	}
	s, err := newStage(ctx, address)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	running, err := s.launch(ctx, b, o)
	if err != nil {
		return r, err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, running.Close())
		}
	}()
	r.Identity = running.Name()
	r.Runtime = o.Runtime(r.Identity)
	r.Outcomes = look([]view{o.drawn(ctx, r.Identity)}, o.Only)
	for _, user := range []bottle.User{bottle.Root, bottle.Node} {
		o.Say.Say("attacking as " + string(user))
		found, err := s.attack(ctx, running, user, o)
		if err != nil {
			return r, err
		}
		r.Outcomes = append(r.Outcomes, found...)
	}
	r.Outcomes = append(r.Outcomes, look(s.views(ctx, running, o), o.Only)...)
	closed = true
	if err := running.Close(); err != nil {
		return r, err
	}
	sortOutcomes(r.Outcomes)
	return r, nil
}

// sortOutcomes orders by group, then number.
func sortOutcomes(all []inside.Outcome) {
	slices.SortStableFunc(all, func(x, y inside.Outcome) int {
		a, b := x.ID, y.ID
		return cmp.Or(cmp.Compare(a[:1], b[:1]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b), cmp.Compare(x.Name, y.Name))
	})
}

func (s *stage) launch(ctx context.Context, b bottle.Backend, o Options) (bottle.Bottle, error) {
	plan, err := b.Prepare(ctx, bottle.Spec{
		Manifest: s.guarded(o.Manifest, o.Agent), Agent: o.Agent, Cwd: o.Cwd, TTY: true, Term: "xterm-256color", Size: bottle.Size{Width: 80, Height: 24},
		Detached: true, Remove: true, Instead: speaker(), Secrets: s.resolver(o.Secrets),
	})
	if err != nil {
		return nil, err
	}
	return plan.Launch(ctx, o.Say)
}

// maxSaid bounds what an attack prints: it is hostile where a bottle's program was replaced.
const maxSaid = 16 << 20

// attack runs the attacks in the bottle as a user.
func (s *stage) attack(ctx context.Context, running bottle.Bottle, user bottle.User, o Options) ([]inside.Outcome, error) {
	arena := s.arena()
	arena.User, arena.Only = string(user), withControl(o.Only)
	arena.Supervise = o.supervised()
	return Inside(arena, func(stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		return running.Run(ctx, []string{control.Binary, "guest", "prove"}, user, bottle.IO{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	})
}

// Inside has run start the attacks' program somewhere, and reads what it found.
func Inside(arena inside.Arena, run func(stdin io.Reader, stdout, stderr io.Writer) (int, error)) ([]inside.Outcome, error) {
	in, err := json.Marshal(arena)
	if err != nil {
		return nil, err
	}
	stdout, stderr := &bounded{}, &bounded{}
	code, err := run(bytes.NewReader(in), stdout, stderr)
	if err != nil {
		return nil, fmt.Errorf("cannot attack as %s: %w", arena.User, err)
	}
	if code != 0 {
		return nil, fmt.Errorf("cannot attack as %s: status %d: %s", arena.User, code, bytes.TrimSpace(stderr.kept.Bytes()))
	}
	outcomes, err := outcomesOf(&stdout.kept, arena)
	if err != nil {
		return nil, fmt.Errorf("cannot read what the attacks as %s found: %w", arena.User, err)
	}
	return outcomes, nil
}

// outcomesOf reads the outcomes, and misses none: each attack that was wanted is there.
func outcomesOf(from io.Reader, arena inside.Arena) (all []inside.Outcome, err error) {
	decoder := json.NewDecoder(from)
	for _, a := range inside.Wanted(arena.Only) {
		var o inside.Outcome
		if err := decoder.Decode(&o); err != nil {
			return nil, fmt.Errorf("%s (%s) is missing: %w", a.ID, a.Name, err)
		}
		if o.ID != a.ID || o.Name != a.Name {
			return nil, fmt.Errorf("%s (%s) is there in the place of %s (%s)", o.ID, o.Name, a.ID, a.Name)
		}
		all = append(all, o)
	}
	return all, nil
}

// bounded keeps what is written to it, up to maxSaid bytes.
type bounded struct{ kept bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > maxSaid {
		return 0, errors.New("it prints too much")
	}
	return b.kept.Write(p)
}
