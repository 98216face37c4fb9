package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

type attachFlags struct {
	view           viewFlags
	readOnly, only bool
	history        int
}

func (a *App) attach() *cobra.Command {
	var f attachFlags
	c := &cobra.Command{
		Use:   "attach IDENTITY",
		Short: "Connect this terminal with a running agent",
		Long: `Attach shows the screen of an agent that runs, as it is now and as it changes, and types to it.
Any number of terminals may be attached to one agent; its screen has the size of the one that
was typed on last. Leave with ctrl-p ctrl-q: the agent goes on, as it does when the terminal is
closed or the connection breaks.`,
		Example: `  bot-bottle attach implementer-k7x2m4
  bot-bottle attach --read-only implementer-k7x2m4`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRunning,
		RunE:              func(c *cobra.Command, args []string) error { return a.runAttach(c.Context(), args[0], f) },
	}
	f.view.register(c)
	c.Flags().BoolVar(&f.readOnly, "read-only", false, "look, and type nothing; ctrl-C leaves as well")
	c.Flags().BoolVar(&f.only, "only", false, "nobody else types for as long as this terminal is attached")
	c.Flags().IntVar(&f.history, "history", -1, "show so many lines of what has scrolled off (default: all that is kept)")
	c.Flags().Lookup("history").DefValue = "0" // or help would say -1 as well
	c.MarkFlagsMutuallyExclusive("read-only", "only")
	return c
}

func (a *App) runAttach(ctx context.Context, identity string, f attachFlags) (err error) {
	if !a.onTerminal() {
		return &usageError{what: "attach needs a terminal", hint: "to run a command in the bottle: bot-bottle exec " + identity + " -- CMD"}
	}
	view, err := a.view(f.view)
	if err != nil {
		return err
	}
	view.ReadOnly, view.Only = f.readOnly, f.only
	if f.history >= 0 {
		view.History = f.history
	}
	running, err := a.find(ctx, identity)
	if err != nil {
		return a.howItEnded(identity, err)
	}
	following, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	a.share()
	done.Go(func() { a.announceHere(following, identity) })
	done.Go(func() { a.keepLogins(following) })
	code, err := bottle.ExecAgent(ctx, running, &operator{app: a, view: view})
	if err != nil {
		err = errors.Join(err, running.Detach())
	} else {
		err = running.Close()
	}
	if errors.Is(err, bottle.ErrDetached) {
		_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: left %s running\n", identity)
		return nil
	}
	if err == nil {
		a.tellEnded(identity)
	}
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

// tellEnded says to whoever was at an agent's terminal that it has ended, and how to go on with
// it: the last words there are the agent's program's, which knows of no bottle.
func (a *App) tellEnded(identity string) {
	m, err := a.store().Read(identity)
	if err == nil && !m.Remove {
		_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: %s has ended\n  to go on with it: bot-bottle resume %[1]s\n", identity)
		return
	}
	_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: %s has ended\n", identity)
}

// howItEnded says of a bottle that does not run how it ended, if that is known.
func (a *App) howItEnded(identity string, err error) error {
	resume := "to go on with it: bot-bottle resume " + identity
	if ended := (*bottle.EndedError)(nil); errors.As(err, &ended) {
		return &usageError{what: ended.Error(), hint: resume}
	}
	if !errors.Is(err, bottle.ErrNotRunning) || !bottle.ValidIdentity(identity) {
		return err
	}
	m, readErr := a.store().Read(identity)
	switch {
	case readErr != nil:
	case m.EndedAt != nil && m.ExitCode != nil:
		return &usageError{what: fmt.Sprintf("%s has ended, with status %d", identity, *m.ExitCode), hint: resume}
	case m.EndedAt == nil && a.store().Locked(identity):
		return &usageError{what: identity + " starts or ends just now", hint: "try again in a moment; bot-bottle list all says what becomes of it"}
	}
	return err
}
