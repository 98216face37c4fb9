package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func (a *App) cleanup() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what interrupted bottles left behind",
		Long: `Cleanup finds what is left of bottles that no longer run, on every backend: it shows it,
asks, and removes it. Running bottles, kept workspaces and everything that is not
bot-bottle's own are left alone.`,
		Example: "  bot-bottle cleanup\n  bot-bottle cleanup -y",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.runCleanup(c.Context(), yes) },
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (a *App) runCleanup(ctx context.Context, yes bool) error {
	usable, err := a.available(ctx)
	if err != nil {
		return err
	}
	var plans []bottle.PreparedCleanup
	for _, b := range usable {
		plan, err := b.PrepareCleanup(ctx)
		if err != nil {
			return fmt.Errorf("cannot look for leftovers of %s: %w", b.Name(), err)
		}
		if plan.Empty() {
			continue
		}
		_, _ = fmt.Fprintf(a.Stderr, "left on %s:\n", b.Name())
		if err := plan.WriteSummary(a.Stderr); err != nil {
			return err
		}
		plans = append(plans, plan)
	}
	if len(plans) == 0 {
		_, _ = fmt.Fprintln(a.Stderr, "nothing to clean up")
		return nil
	}
	return a.carryOut(ctx, plans, yes)
}

func (a *App) carryOut(ctx context.Context, plans []bottle.PreparedCleanup, yes bool) error {
	if !yes {
		ok, err := a.ask(ctx, "Remove it?")
		if err != nil {
			return err
		}
		if !ok {
			_, _ = fmt.Fprintln(a.Stderr, "bot-bottle: nothing was removed")
			return status(exitFailure)
		}
	}
	var failed []error
	for _, plan := range plans {
		failed = append(failed, plan.Run(ctx))
	}
	return errors.Join(failed...)
}
