package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

func (a *App) resume() *cobra.Command {
	var f startFlags
	c := &cobra.Command{
		Use:   "resume IDENTITY [flags] [-- ARGS…]",
		Short: "Start a bottle again that ended, with all that it had",
		Long: `Resume starts a bottle again after its agent ended, after stop, or after a crash: the same
identity, home and workspace, and the conversation goes on. The manifest is read anew; the
preflight says what has changed since. Requests wait on; what was granted for a time or a
number of uses has what is left of it. A virtual machine keeps the image, processors and memory
that it was made with. What follows -- goes to the agent.`,
		Example: `  bot-bottle resume implementer-k7x2m4
  bot-bottle resume -y implementer-k7x2m4 -- -p "go on with the tests"`,
		Args:              oneBottle,
		ValidArgsFunction: a.completeStopped,
		RunE:              func(c *cobra.Command, args []string) error { return a.runResume(c.Context(), args[0], args[1:], f) },
	}
	flags := c.Flags()
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.remote, "remote-control", false, "let the agent be controlled from its vendor's app (claude)")
	flags.BoolVarP(&f.detach, "detach", "d", false, "start the agent and leave it running")
	flags.BoolVar(&f.dry, "dry-run", false, "show what would be started, and start nothing")
	f.view.register(c)
	return c
}

// oneBottle wants exactly one argument before "--".
func oneBottle(c *cobra.Command, args []string) error {
	before := len(args)
	if dash := c.ArgsLenAtDash(); dash >= 0 {
		before = dash
	}
	if before != 1 {
		return errors.New("resume takes one bottle (bot-bottle list all shows them); put -- before arguments that are meant for its agent")
	}
	return nil
}

func (a *App) runResume(ctx context.Context, identity string, args []string, f startFlags) error {
	record, err := a.recordOf(identity)
	if err != nil {
		return err
	}
	backend, err := a.backend(record.Backend)
	if err != nil {
		return err
	}
	spec, err := a.spec(record.Agent, args, f)
	if err != nil {
		return err
	}
	spec.Identity, spec.Resume = identity, true
	err = a.launch(ctx, backend, spec, f)
	switch {
	case a.removedMeanwhile(identity, err):
		return a.noBottle(identity)
	case errors.Is(err, bottle.ErrRunning):
		return &usageError{what: err.Error(), hint: "bot-bottle attach " + identity + " connects you with it"}
	case errors.Is(err, bottle.ErrElsewhere):
		return &usageError{what: "cannot resume " + err.Error(), hint: elsewhereHint(record.Backend)}
	case errors.Is(err, bottle.ErrGone):
		hint := "bot-bottle start " + record.Agent + " begins anew"
		if left := bottle.HintOf(err); left != "" {
			hint = left + "; " + hint
		}
		return &usageError{what: "cannot resume " + err.Error(), hint: hint}
	}
	return err
}

// removedMeanwhile reports whether a verb failed since another one has removed its bottle.
func (a *App) removedMeanwhile(identity string, err error) bool {
	if err == nil {
		return false
	}
	_, err = a.store().Read(identity)
	return errors.Is(err, fs.ErrNotExist)
}

// elsewhereHint says how to get where a backend had a bottle.
func elsewhereHint(backend string) string {
	if backend == "smolmachines" {
		return "set SMOLVM_DATA_DIR and HOME as they were when it was started"
	}
	return "set DOCKER_HOST, or choose the docker context, that it was started with"
}

// recordOf reads the record of a bottle that was named by the operator.
func (a *App) recordOf(identity string) (state.Metadata, error) {
	unknown := a.noBottle(identity)
	if !bottle.ValidIdentity(identity) {
		return state.Metadata{}, unknown
	}
	record, err := a.store().Read(identity)
	if errors.Is(err, fs.ErrNotExist) {
		return record, unknown
	}
	if err != nil {
		return record, fmt.Errorf("cannot read the record of %s: %w", identity, err)
	}
	return record, nil
}

// completeStopped offers the bottles that can be resumed.
func (a *App) completeStopped(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := a.store().Identities()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, identity := range all {
		if m, err := a.store().Read(identity); err == nil && !(m.Remove && m.EndedAt != nil) && !a.store().Locked(identity) {
			names = append(names, identity)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
