package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func (a *App) rm() *cobra.Command {
	return &cobra.Command{
		Use:               "rm IDENTITY…",
		Short:             "Remove stopped bottles for good: home, workspace and record",
		Example:           "  bot-bottle rm implementer-k7x2m4",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRecorded,
		RunE: func(c *cobra.Command, args []string) error {
			return a.each(c.Context(), args, a.removeOne)
		},
	}
}

func (a *App) removeOne(ctx context.Context, identity string) error {
	m, err := a.store().Read(identity)
	if !bottle.ValidIdentity(identity) || err != nil {
		return &usageError{what: "there is no bottle " + identity, hint: "bot-bottle list all shows them"}
	}
	backend, err := a.backend(m.Backend)
	if err != nil {
		return err
	}
	if err := backend.Remove(ctx, identity); err != nil {
		if errors.Is(err, bottle.ErrRunning) {
			return &usageError{what: err.Error(), hint: "stop it first: bot-bottle stop " + identity}
		}
		return fmt.Errorf("cannot remove %s: %w", identity, err)
	}
	return nil
}
