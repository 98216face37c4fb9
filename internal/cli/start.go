package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

type startFlags struct {
	backend, identity                            string
	yes, cwd, dirty, remote, detach, remove, dry bool
	view                                         viewFlags
}

func (a *App) start() *cobra.Command {
	var f startFlags
	c := &cobra.Command{
		Use:   "start AGENT [flags] [-- ARGS…]",
		Short: "Start an agent in a new bottle and open its terminal",
		Long: `Start shows what the agent would get, asks, starts it in a new bottle and connects your
terminal with it. What follows -- goes to the agent after the manifest's own arguments.
Leave with ctrl-p ctrl-q: the agent goes on, as it does when the terminal is closed or the
connection breaks. The exit status is the agent's own.`,
		Example: `  bot-bottle start implementer
  bot-bottle start -y --rm implementer -- -p "what does this repository do?" > answer.txt
  bot-bottle start --cwd --dirty implementer   # in a repository: it comes along
  bot-bottle start --detach implementer`,
		Args:              a.oneAgent,
		ValidArgsFunction: a.completeAgents,
		RunE:              func(c *cobra.Command, args []string) error { return a.runStart(c.Context(), args[0], args[1:], f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.backend, "backend", "", "what makes the bottle (default: $BOT_BOTTLE_BACKEND, else docker)")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.cwd, "cwd", false, "bring the repository at hand into the workspace: branches, tags, and what is staged")
	flags.BoolVar(&f.dirty, "dirty", false, "with --cwd: also the changes of tracked files that are not staged")
	flags.BoolVar(&f.remote, "remote-control", false, "let the agent be controlled from its vendor's app (claude)")
	flags.BoolVarP(&f.detach, "detach", "d", false, "start the agent and leave it running")
	flags.BoolVar(&f.remove, "rm", false, "remove home and workspace too when the agent ends")
	flags.BoolVar(&f.dry, "dry-run", false, "show what would be started, and start nothing")
	f.view.register(c)
	flags.StringVar(&f.identity, "identity", "", "call the bottle this, as the dashboard has shown it")
	_ = flags.MarkHidden("identity")
	_ = c.RegisterFlagCompletionFunc("backend", a.completeBackends)
	return c
}

// oneAgent wants exactly one argument before "--".
func (a *App) oneAgent(c *cobra.Command, args []string) error {
	before := len(args)
	if dash := c.ArgsLenAtDash(); dash >= 0 {
		before = dash
	}
	switch before {
	case 0:
		return a.whichAgent()
	case 1:
		return nil
	}
	return errors.New("start takes one agent; put -- before arguments that are meant for it")
}

// whichAgent says what could have been named, or how to get there.
func (a *App) whichAgent() error {
	m, err := a.manifest()
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(m.Agents))
	if len(names) == 0 && len(m.Problems) > 0 {
		return m.Problems
	}
	if len(names) == 0 {
		return &usageError{what: "start needs the name of an agent, and there is none yet", hint: "to write a first agent and bottle: bot-bottle init"}
	}
	more := ""
	if len(names) > fewAgents {
		names, more = names[:fewAgents], ", … (bot-bottle list agents)"
	}
	return errors.New("start needs the name of an agent: " + strings.Join(names, ", ") + more)
}

// fewAgents fit on the line of an error.
const fewAgents = 6

func (a *App) runStart(ctx context.Context, agent string, args []string, f startFlags) error {
	if f.dirty && !f.cwd {
		return &usageError{what: "--dirty is about the repository at hand", hint: "use it with --cwd"}
	}
	if _, err := a.store().Read(f.identity); f.identity != "" && !errors.Is(err, fs.ErrNotExist) {
		return &usageError{what: "there is a bottle " + f.identity + " already", hint: "leave --identity out: each start has a name of its own"}
	}
	backend, err := a.backend(f.backend)
	if err != nil {
		return err
	}
	spec, err := a.spec(agent, args, f)
	if err != nil {
		return err
	}
	spec.Identity = f.identity
	return a.launch(ctx, backend, spec, f)
}

// launch starts what a Spec describes and stays with it, as start and resume do.
func (a *App) launch(ctx context.Context, backend bottle.Backend, spec bottle.Spec, f startFlags) error {
	if f.dry {
		return a.dryRun(ctx, backend, spec)
	}
	view, err := a.view(f.view)
	if err != nil {
		return err
	}
	person := &operator{app: a, view: view, yes: f.yes, detach: f.detach, keep: !f.remove}
	person.launched = a.markLogins
	if !f.detach {
		a.share()
		freshening, stop := context.WithCancel(ctx)
		var done sync.WaitGroup
		defer done.Wait()
		defer stop()
		person.launched = func(identity string) {
			a.markLogins(identity)
			done.Go(func() { a.keepLogins(freshening) })
			done.Go(func() { a.keepFresh(freshening, identity) })
			done.Go(func() { a.announceHere(freshening, identity) })
		}
	}
	code, err := bottle.Start(ctx, backend, spec, person, f.detach)
	if errors.Is(err, bottle.ErrDetached) {
		_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: left %s running\n  to come back: bot-bottle attach %s\n", person.identity, person.identity)
		return nil
	}
	if err == nil && !f.detach && !spec.Remove && a.onTerminal() {
		a.tellEnded(person.identity)
	}
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

func (a *App) dryRun(ctx context.Context, backend bottle.Backend, spec bottle.Spec) error {
	plan, err := backend.Prepare(ctx, spec)
	if err != nil {
		return err
	}
	return preflight(a.Stdout, plan.WriteSummary)
}

// spec is the operator's intent.
func (a *App) spec(agent string, args []string, f startFlags) (bottle.Spec, error) {
	m, err := a.manifest()
	if err != nil {
		return bottle.Spec{}, err
	}
	tty := f.detach || a.onTerminal()
	return bottle.Spec{
		Manifest: m, Agent: agent, Cwd: a.cwd, CopyCwd: f.cwd, Dirty: f.dirty, RemoteControl: f.remote, Args: args,
		TTY: tty, Term: a.term(tty), Size: a.size(), Detached: f.detach, Stdin: !tty, Remove: f.remove,
		Secrets: a.resolver(),
	}, nil
}

// secretTimeout bounds a command that fetches a secret: it may ask for a fingerprint.
const secretTimeout = time.Minute

// term is the terminal that the agent is told of.
func (a *App) term(tty bool) string {
	if !tty {
		return ""
	}
	if t := a.Getenv("TERM"); t != "" && a.onTerminal() {
		return t
	}
	return "xterm-256color"
}

func (a *App) manifest() (*manifest.Manifest, error) {
	return manifest.Load(a.home, a.repository(), a.userHome)
}

// repository is the root of the repository at hand, "" if there is none. Its
// .bot-bottle/agents may add agents.
func (a *App) repository() string {
	for dir := a.cwd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			if filepath.Join(dir, ".bot-bottle") == a.home {
				return ""
			}
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
