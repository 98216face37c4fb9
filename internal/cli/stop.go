package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

func (a *App) stop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop IDENTITY…",
		Short: "Stop bottles; their home and workspace stay",
		Long: `Stop asks each agent to end, ends it if it does not, and takes the bottle down.
Home and workspace stay, unless the bottle was started with --rm: bot-bottle resume goes on.
Of a bottle whose agent has ended by itself, it takes down what is left.`,
		Example:           "  bot-bottle stop implementer-k7x2m4",
		Args:              asUsed,
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
	if errors.Is(err, bottle.ErrNotRunning) {
		return a.stopRest(ctx, identity, err)
	}
	if err != nil {
		return err
	}
	if err := running.Close(); err != nil {
		return fmt.Errorf("cannot stop %s: %w", identity, err)
	}
	return nil
}

// stopRest takes down what is left of a bottle whose agent does not run any more: its bundle may
// hold secrets and connections still.
func (a *App) stopRest(ctx context.Context, identity string, why error) error {
	if !bottle.ValidIdentity(identity) {
		return why
	}
	sweeps, err := a.lookForLeftovers(ctx, bottle.CleanupOptions{Identity: identity})
	if err != nil {
		return fmt.Errorf("cannot stop %s: %w", identity, err)
	}
	if _, removable := count(sweeps); removable == 0 {
		if a.store().Locked(identity) {
			return fmt.Errorf("cannot stop %s: %w", identity, state.ErrLocked)
		}
		if m, err := a.store().Read(identity); err == nil && m.EndedAt == nil && a.elsewhere(ctx, m) {
			return &usageError{what: fmt.Sprintf("cannot stop %s: %v", identity, bottle.ErrElsewhere), hint: elsewhereHint(m.Backend)}
		}
		return a.howItEnded(identity, why)
	}
	freed, err := a.carryOut(ctx, sweeps)
	if err != nil {
		return fmt.Errorf("cannot stop %s: %w", identity, err)
	}
	if freed.things == 0 { // somebody else takes it down, or resumes it
		return fmt.Errorf("cannot stop %s: %w", identity, state.ErrLocked)
	}
	_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: %s did not run any more%s; what was left of it is taken down\n", identity, a.endedHow(identity))
	return nil
}

// endedHow is how an agent ended, in words behind others; "" if that is not on record.
func (a *App) endedHow(identity string) string {
	if m, err := a.store().Read(identity); err == nil && m.ExitCode != nil {
		return fmt.Sprintf(": its agent had ended with status %d", *m.ExitCode)
	}
	return ""
}
