package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func (a *App) stop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop IDENTITY…",
		Short: "Stop bottles; their home and workspace stay",
		Long: `Stop asks each agent to end, ends it if it does not, and removes the bottle's containers.
Home and workspace stay, unless the bottle was started with --rm: bot-bottle resume goes on.`,
		Example:           "  bot-bottle stop implementer-k7x2m4",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRunning,
		RunE: func(c *cobra.Command, args []string) error {
			return a.each(c.Context(), unique(args), a.stopOne)
		},
	}
}

// atOnce is how many bottles a verb is at work on.
const atOnce = 8

// each does all it can, several at a time, and reports every failure. It prints those that
// were done, in the order in which they were named.
func (a *App) each(ctx context.Context, identities []string, do func(context.Context, string) error) error {
	failed := make([]error, len(identities))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, identity := range identities {
		group.Go(func() error {
			failed[i] = do(ctx, identity)
			return nil
		})
	}
	_ = group.Wait()
	for i, identity := range identities {
		if failed[i] == nil {
			_, _ = fmt.Fprintln(a.Stdout, identity)
		}
	}
	return errors.Join(failed...)
}

func (a *App) stopOne(ctx context.Context, identity string) error {
	running, err := a.find(ctx, identity)
	if err != nil {
		return err
	}
	if err := running.Close(); err != nil {
		return fmt.Errorf("cannot stop %s: %w", identity, err)
	}
	return nil
}
