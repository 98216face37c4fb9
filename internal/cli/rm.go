package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

func (a *App) rm() *cobra.Command {
	var yes, force bool
	c := &cobra.Command{
		Use:   "rm IDENTITY…",
		Short: "Remove stopped bottles for good: home, workspace and record",
		Long: `Rm shows what goes, asks, and removes it: home, workspace, record and audit log. With --force
it does not ask, stops bottles that run, and also removes one whose record is damaged or gone.`,
		Example: `  bot-bottle rm implementer-k7x2m4
  bot-bottle rm --force implementer-k7x2m4 reviewer-q5w3e2`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRecorded,
		RunE: func(c *cobra.Command, args []string) error {
			if force {
				return a.each(c.Context(), unique(args), a.forceRemove)
			}
			return a.runRemove(c.Context(), unique(args), yes)
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVarP(&force, "force", "f", false, "do not ask, stop what runs, remove what has no readable record")
	return c
}

// unique leaves out what was named twice.
func unique(args []string) []string {
	var all []string
	for _, arg := range args {
		if !slices.Contains(all, arg) {
			all = append(all, arg)
		}
	}
	return all
}

// runRemove refuses all of them if one is not there or runs, before it asks.
func (a *App) runRemove(ctx context.Context, identities []string, yes bool) error {
	backends := map[string]bottle.Backend{}
	t := table{columns: []column{{"IDENTITY", whole}, {"AGENT", 2}, {"STARTED", 3}, {"STATUS", 1}}}
	var failed []error
	for _, identity := range identities {
		m, backend, err := a.removable(ctx, identity)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		backends[identity] = backend
		_, words := a.fate(m, nil)
		t.rows = append(t.rows, []string{identity, m.Agent, a.ago(m.StartedAt.Format(time.RFC3339)), words})
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if !yes {
		if err := t.write(a.Stderr, a.errWidth()); err != nil {
			return err
		}
	}
	if ok, err := a.confirmed(ctx, "Remove for good, with home, workspace and audit log?", yes); err != nil || !ok {
		return err
	}
	return a.each(ctx, identities, func(ctx context.Context, identity string) error {
		return notRemoved(identity, backends[identity].Remove(ctx, identity))
	})
}

// removable finds a bottle that may be removed.
func (a *App) removable(ctx context.Context, identity string) (state.Metadata, bottle.Backend, error) {
	m, err := a.recordOf(identity)
	if err != nil {
		return m, nil, err
	}
	backend, err := a.backend(m.Backend)
	if err != nil {
		return m, nil, err
	}
	if place, err := backend.Place(ctx); err != nil {
		return m, nil, notRemoved(identity, err)
	} else if m.Place != "" && m.Place != place {
		return m, nil, &usageError{what: fmt.Sprintf("cannot remove %s: %v", identity, bottle.ErrElsewhere), hint: elsewhereHint(m.Backend) + "; rm --force forgets it here"}
	}
	running, err := backend.Open(ctx, identity)
	if err == nil {
		err = errors.Join(fmt.Errorf("%s: %w", identity, bottle.ErrRunning), running.Detach())
	} else if errors.Is(err, bottle.ErrNotRunning) {
		err = nil
	}
	return m, backend, notRemoved(identity, err)
}

func notRemoved(identity string, err error) error {
	if errors.Is(err, bottle.ErrRunning) {
		return &usageError{what: err.Error(), hint: "stop it first: bot-bottle stop " + identity + ", or say --force"}
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", identity, err)
	}
	return nil
}

// forceRemove removes a bottle whatever its record says, from every backend that may have
// something of it.
func (a *App) forceRemove(ctx context.Context, identity string) error {
	if !bottle.ValidIdentity(identity) {
		return a.noBottle(identity)
	}
	m, readErr := a.store().Read(identity)
	backends, err := a.available(ctx)
	if err != nil {
		return notRemoved(identity, err)
	}
	found := false
	for _, b := range backends {
		if readErr == nil && b.Name() != m.Backend {
			continue
		}
		has := !errors.Is(readErr, fs.ErrNotExist)
		if !has {
			if has, err = leftOf(ctx, b, identity); err != nil {
				return notRemoved(identity, err)
			}
		}
		if !has {
			continue
		}
		found = true
		if err := stopAndRemove(ctx, b, identity); err != nil {
			return notRemoved(identity, err)
		}
	}
	if !found {
		return a.noBottle(identity)
	}
	return nil
}

func stopAndRemove(ctx context.Context, b bottle.Backend, identity string) error {
	running, err := b.Open(ctx, identity)
	if err == nil {
		err = running.Close()
	} else if errors.Is(err, bottle.ErrNotRunning) {
		err = nil
	}
	return errors.Join(err, b.Remove(ctx, identity))
}

// leftOf reports whether a backend has anything of a bottle that has no record.
func leftOf(ctx context.Context, b bottle.Backend, identity string) (bool, error) {
	if running, err := b.Open(ctx, identity); err == nil {
		return true, running.Detach()
	}
	plan, err := b.PrepareCleanup(ctx, bottle.CleanupOptions{Identity: identity})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(plan.Leftovers(), func(l bottle.Leftover) bool { return l.Identity == identity }), nil
}
