package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func (a *App) attach() *cobra.Command {
	return &cobra.Command{
		Use:               "attach IDENTITY",
		Short:             "Connect this terminal with a running agent",
		Long:              "Attach connects this terminal with an agent that runs. Leave with ctrl-p ctrl-q.",
		Example:           "  bot-bottle attach implementer-k7x2m4",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRunning,
		RunE:              func(c *cobra.Command, args []string) error { return a.runAttach(c.Context(), args[0]) },
	}
}

func (a *App) runAttach(ctx context.Context, identity string) (err error) {
	if !a.onTerminal() {
		return &usageError{what: "attach needs a terminal", hint: "to run a command in the bottle: bot-bottle exec " + identity + " -- CMD"}
	}
	running, err := a.find(ctx, identity)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	a.share()
	done.Go(func() { a.announceHere(following, identity) })
	code, err := bottle.ExecAgent(ctx, running, &operator{app: a})
	if err != nil {
		err = errors.Join(err, running.Detach())
	} else {
		err = running.Close()
	}
	if errors.Is(err, bottle.ErrDetached) {
		_, _ = fmt.Fprintf(a.Stderr, "\nbot-bottle: left %s running\n", identity)
		return nil
	}
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}
