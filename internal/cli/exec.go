package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func (a *App) exec() *cobra.Command {
	var root bool
	c := &cobra.Command{
		Use:   "exec IDENTITY [flags] -- CMD [ARGS…]",
		Short: "Run a command in a running bottle",
		Long: `Exec runs a command in a running bottle as the agent's user, with the same environment,
network (none) and limits. The exit status is the command's own.`,
		Example: `  bot-bottle exec implementer-k7x2m4 -- git log --oneline -5
  bot-bottle exec implementer-k7x2m4 -- bash`,
		Args:              execArgs,
		ValidArgsFunction: a.completeRunning,
		RunE: func(c *cobra.Command, args []string) error {
			user := bottle.Node
			if root {
				user = bottle.Root
			}
			return a.runExec(c.Context(), args[0], args[1:], user)
		},
	}
	c.Flags().BoolVar(&root, "root", false, "as root (who has no capability in there either)")
	return c
}

func execArgs(_ *cobra.Command, args []string) error {
	if len(args) < 2 {
		return errors.New("exec needs a bottle and a command: bot-bottle exec IDENTITY -- CMD")
	}
	return nil
}

func (a *App) runExec(ctx context.Context, identity string, argv []string, user bottle.User) (err error) {
	running, err := a.find(ctx, identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	if err := a.renewLoginsOf(ctx, identity); err != nil {
		a.note(fmt.Errorf("%s goes on with an old login: %w", identity, err))
	}
	code, err := a.run(ctx, running, argv, user)
	if errors.Is(err, bottle.ErrDetached) {
		return nil
	}
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

func (a *App) run(ctx context.Context, running bottle.Bottle, argv []string, user bottle.User) (code int, err error) {
	view, err := a.view(viewFlags{})
	if err != nil {
		return 0, err
	}
	streams, release, err := a.streams(a.onTerminal(), view)
	if err != nil {
		return 0, err
	}
	defer func() { release(err) }()
	return running.Run(ctx, argv, user, streams)
}
