package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
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
			return a.each(c.Context(), args, a.stopOne)
		},
	}
}

// each does all it can and reports every failure.
func (a *App) each(ctx context.Context, identities []string, do func(context.Context, string) error) error {
	var failed []error
	for _, identity := range identities {
		if err := do(ctx, identity); err != nil {
			failed = append(failed, err)
			continue
		}
		_, _ = fmt.Fprintln(a.Stdout, identity)
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
