package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dashboard"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

func (a *App) dashboard() *cobra.Command {
	var open string
	c := &cobra.Command{
		Use:   "dashboard",
		Short: "See all agents at once, and decide what they ask for",
		Long: `Dashboard shows every bottle: who works, who waits for you, what was refused; what agents ask
for, with the keys to decide it; the traffic as it goes; pushes with their diffs. It keeps nothing
itself: close it and open it again at will, also several times at once. Press ? in it for its keys.

Inside tmux, terminals and logs are opened in a pane beside it; elsewhere they take its place
until you leave them (ctrl-p ctrl-q in an agent's terminal).`,
		Example: `  bot-bottle dashboard
  bot-bottle dashboard --open window    # inside tmux: a window for each terminal`,
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return a.runDashboard(c.Context(), open) },
	}
	c.Flags().StringVar(&open, "open", dashboard.OpenPane, "inside tmux, open terminals in: pane (the same one each time), split or window")
	_ = c.RegisterFlagCompletionFunc("open", cobra.FixedCompletions(dashboard.Opens(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *App) runDashboard(ctx context.Context, open string) error {
	if !slices.Contains(dashboard.Opens(), open) {
		return &usageError{what: fmt.Sprintf("--open %q is none of %s", open, strings.Join(dashboard.Opens(), ", ")), hint: "see bot-bottle dashboard --help"}
	}
	if !a.onTerminal() {
		return &usageError{what: "the dashboard needs a terminal", hint: "for scripts there are bot-bottle list, requests, logs, each with --json"}
	}
	self, err := a.Executable()
	if err != nil {
		return err
	}
	seen, err := a.quiet()
	if err != nil {
		return err
	}
	prices, err := a.prices("")
	if err != nil {
		return err
	}
	ctx, stop := untilEnded(ctx)
	defer stop()
	s := &sight{App: seen, loud: a, self: self}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer stop()
	keeping.Go(func() { seen.keepLogins(ctx) })
	return dashboard.Run(ctx, dashboard.Options{
		Bottles: s, Desks: s, Logs: s, Screens: s, Terminal: s,
		Prices: prices, PricesOf: prices.AsOf,
		By: a.whoami(), Open: open, Now: a.Now, Getenv: a.Getenv, Stdin: a.Stdin, Stdout: a.Stdout, Env: a.terminalEnv(),
	})
}

// untilEnded is a context that an interrupt does not end: while a program has the terminal in
// the dashboard's place, ctrl-c is meant for that.
func untilEnded(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	end, interrupt := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(interrupt, os.Interrupt) // or the second one would end us
	go func() {
		select {
		case <-end:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(end)
		signal.Stop(interrupt)
		cancel()
	}
}

// quiet is the same App that writes nothing over the screen, and looks for its backends once.
func (a *App) quiet() (*App, error) {
	q := *a
	q.Stderr, q.log = io.Discard, slog.New(slog.DiscardHandler)
	backends, err := q.backends()
	if err != nil {
		return nil, err
	}
	q.Backends = func(*App) ([]bottle.Backend, error) { return slices.Clone(backends), nil }
	return &q, nil
}

// terminalEnv is what tells how to draw on the terminal.
func (a *App) terminalEnv() []string {
	var env []string
	for _, name := range []string{"TERM", "COLORTERM", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TMUX", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "WT_SESSION", "SSH_TTY"} {
		if v, ok := a.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// sight is what the dashboard sees of the bottles of this host.
type sight struct {
	*App
	loud *App // for what has the terminal
	self string
}

// maxEnded is how many bottles that have ended are shown.
const maxEnded = 20

// Bottles implements dashboard.Bottles. A backend that does not answer is missed if a bottle of it
// may run, or if no other answers either.
func (s *sight) Bottles(ctx context.Context) ([]dashboard.Found, error) {
	backends, err := s.sorted()
	if err != nil {
		return nil, err
	}
	running, silent := askAll(ctx, backends)
	ended, missed := s.ended(ctx, running, silent)
	var failed error
	for _, b := range backends {
		if why := silent[b.Name()]; why != nil && (missed[b.Name()] || len(silent) == len(backends)) {
			failed = errors.Join(failed, why)
		}
	}
	return append(running, ended...), failed
}

// grace is how long the others are waited for once a backend has answered: one that hangs is not
// to hold up what is shown of the rest.
const grace = 3 * time.Second

var errLate = fmt.Errorf("no answer for %s, and others have answered", grace)

// askAll asks backends for what runs, side by side: what those know that answer in time is told,
// however many hang. silent says why one did not answer.
func askAll(ctx context.Context, backends []bottle.Backend) (running []dashboard.Found, silent map[string]error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	active, failed := make([][]bottle.ActiveAgent, len(backends)), make([]error, len(backends))
	var group sync.WaitGroup
	for i, b := range backends {
		group.Go(func() {
			if failed[i] = b.Available(ctx); failed[i] == nil {
				active[i], failed[i] = b.Active(ctx)
			}
			if failed[i] == nil {
				time.AfterFunc(grace, func() { cancel(errLate) })
			}
		})
	}
	group.Wait()
	silent = map[string]error{}
	for i, b := range backends {
		for _, one := range active[i] {
			running = append(running, dashboard.Found{ActiveAgent: one, Running: true})
		}
		if failed[i] != nil {
			silent[b.Name()] = fmt.Errorf("cannot list the bottles of %s: %w", b.Name(), cmp.Or(context.Cause(ctx), failed[i]))
		}
	}
	return running, silent
}

// ended are the bottles on record that do not run, the latest first. One that may run where
// nobody answers, or in another place, is none of them; missed are the backends of the former.
func (s *sight) ended(ctx context.Context, running []dashboard.Found, silent map[string]error) (all []dashboard.Found, missed map[string]bool) {
	missed = map[string]bool{}
	far := map[[2]string]bool{}             // places of backends that are not at hand
	identities, _ := s.store().Identities() // without them those that run are shown all the same
	for _, identity := range identities {
		m, err := s.store().Read(identity)
		runs := slices.ContainsFunc(running, func(f dashboard.Found) bool { return f.Slug == identity })
		switch {
		case err != nil, runs, m.Remove && m.EndedAt != nil, s.store().Locked(identity):
			continue
		case m.EndedAt == nil && silent[m.Backend] != nil:
			missed[m.Backend] = true
			continue
		}
		if where := [2]string{m.Backend, m.Place}; m.EndedAt == nil {
			if _, asked := far[where]; !asked {
				far[where] = s.elsewhere(ctx, m)
			}
			if far[where] {
				continue
			}
		}
		f := dashboard.Found{ActiveAgent: bottle.ActiveAgent{Backend: m.Backend, Slug: identity, AgentName: m.Agent}, Ended: m.StartedAt, Code: m.ExitCode}
		if m.EndedAt != nil {
			f.Ended = *m.EndedAt
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(x, y dashboard.Found) int { return y.Ended.Compare(x.Ended) })
	return all[:min(len(all), maxEnded)], missed
}

// Stop implements dashboard.Bottles.
func (s *sight) Stop(ctx context.Context, identity string) error { return s.stopOne(ctx, identity) }

// Agents implements dashboard.Bottles.
func (s *sight) Agents() ([]string, error) {
	m, err := s.manifest()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(m.Agents)), nil
}

// at asks a bottle's control API.
func (s *sight) at(ctx context.Context, identity string, do func(control.Client) error) (err error) {
	running, err := s.find(ctx, identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	client, end := control.Client{Dial: running.Control}.Session()
	defer end()
	return do(client)
}

// Watch implements dashboard.Desks.
func (s *sight) Watch(ctx context.Context, identity string, tell func(control.Requests)) error {
	return s.at(ctx, identity, func(desk control.Client) error {
		for after := -1; ; {
			now, err := desk.Requests(ctx, after)
			if err != nil {
				return err
			}
			after = now.Revision
			tell(now)
		}
	})
}

// Decide implements dashboard.Desks.
func (s *sight) Decide(ctx context.Context, identity, id string, d requests.Decision) (done requests.Shown, err error) {
	err = s.at(ctx, identity, func(desk control.Client) error {
		done, err = desk.Decide(ctx, id, d)
		if err == nil && done.State == requests.Rejected {
			err = s.keepDecision(done)
		}
		return err
	})
	return done, err
}

// Revoke implements dashboard.Desks.
func (s *sight) Revoke(ctx context.Context, identity, id string) error {
	return s.at(ctx, identity, func(desk control.Client) error {
		done, err := desk.Revoke(ctx, id)
		if err == nil {
			err = s.keepDecision(done)
		}
		return err
	})
}

// Diff implements dashboard.Desks.
func (s *sight) Diff(ctx context.Context, identity, id string) (text string, err error) {
	err = s.at(ctx, identity, func(desk control.Client) error {
		text, err = desk.Diff(ctx, id)
		return err
	})
	return text, err
}

// Allow implements dashboard.Desks.
func (s *sight) Allow(ctx context.Context, identity string, r policy.Route) error {
	return s.rewrite(ctx, identity, func(p policy.Policy) (policy.Policy, error) { return grant(p, r), nil })
}

// Deny implements dashboard.Desks.
func (s *sight) Deny(ctx context.Context, identity, host string, port int) error {
	return s.rewrite(ctx, identity, func(p policy.Policy) (policy.Policy, error) { return revoke(p, host, port) })
}

func (s *sight) rewrite(ctx context.Context, identity string, change func(policy.Policy) (policy.Policy, error)) error {
	return s.at(ctx, identity, func(api control.Client) error {
		now, err := api.Policy(ctx)
		if err != nil {
			return err
		}
		wanted, err := change(now.Policy)
		if err == nil {
			_, err = api.SetPolicy(ctx, now.Revision, wanted)
		}
		return err
	})
}

// ForGood implements dashboard.Desks.
func (s *sight) ForGood(shown requests.Shown) (dashboard.Change, error) {
	change, err := s.forGood(shown)
	return dashboard.Change{Diff: change.diff(0), Write: change.write}, err
}

// Edit implements dashboard.Desks.
func (s *sight) Edit(ctx context.Context, shown requests.Shown) error {
	return s.at(ctx, shown.Bottle, func(desk control.Client) error {
		_, err := s.loud.edit(ctx, desk, shown)
		return err
	})
}

// Follow implements dashboard.Logs. What is out of its place is shown, as logs does; what is
// no event ends it.
func (s *sight) Follow(ctx context.Context, identity string, tell func(audit.Event)) error {
	m, err := s.onRecord(identity)
	if err != nil {
		return err
	}
	log, m, err := s.openLog(ctx, m, true)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	for reader := audit.NewReader(log, m.Identity); ; {
		e, line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if line == nil {
			return err
		}
		tell(e)
	}
}

// Look implements dashboard.Screens.
func (s *sight) Look(ctx context.Context, identity string) (dashboard.Look, error) {
	running, err := s.find(ctx, identity)
	if err != nil {
		return nil, err
	}
	watched, err := running.Watch(ctx)
	if err != nil {
		if errors.Is(err, bottle.ErrNoTerminal) {
			err = dashboard.ErrNoScreen
		}
		return nil, errors.Join(err, running.Detach())
	}
	return &look{watched, running, s.busy(identity), s.Now}, nil
}

// busy is what the program of a bottle shows while it works, "" if that is not known.
func (s *sight) busy(identity string) string {
	m, err := s.store().Read(identity)
	if err != nil {
		return ""
	}
	p, _ := provider.For(cmp.Or(m.Provider, "claude")) // of one that is not known, nothing is
	return p.Busy
}

// look is the dashboard's view of an agent's terminal.
type look struct {
	watched *session.Watcher
	running bottle.Bottle
	busy    string
	now     func() time.Time
}

// Screen implements dashboard.Look.
func (l *look) Screen(ctx context.Context) (dashboard.Screen, error) {
	s, err := l.watched.Snapshot(ctx)
	if err != nil {
		return dashboard.Screen{}, err
	}
	lines := s.Screen.Text()
	return dashboard.Screen{State: stateOf(s.State, lines, l.busy), Since: l.now().Add(-s.Quiet), Lines: lines}, nil
}

// busyRows is how many lines from the end of a screen a program may say that it works: above, it
// is what it has said.
const busyRows = 12

// stateOf is what a program does: what its terminal tells, unless it says itself that it works,
// though it prints nothing.
func stateOf(told session.State, lines []string, busy string) dashboard.State {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	last := lines[max(0, len(lines)-busyRows):]
	saysSo := busy != "" && slices.ContainsFunc(last, func(line string) bool { return strings.Contains(line, busy) })
	switch {
	case told == session.Exited:
		return dashboard.Exited
	case told == session.Working, saysSo:
		return dashboard.Working
	case told == session.Waiting:
		return dashboard.WaitsForText
	}
	return dashboard.Idle
}

// Close implements dashboard.Look.
func (l *look) Close() error { return errors.Join(l.watched.Close(), l.running.Detach()) }

// Self implements dashboard.Terminal.
func (s *sight) Self(args ...string) *exec.Cmd {
	c := exec.Command(s.self, args...)
	c.Dir = s.cwd
	return c
}

// Foreground implements dashboard.Terminal.
func (s *sight) Foreground(c *exec.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = s.loud.Stdin, s.loud.Stdout, s.loud.Stderr
	err := c.Run()
	if err != nil {
		_, _ = fmt.Fprint(s.loud.Stderr, "\nbot-bottle: back to the dashboard with enter ")
		_, _ = readBytes(s.loud.Stdin)
	}
	return err
}

// Passed implements dashboard.Terminal.
func (s *sight) Passed() []string { return s.transportEnv() }
