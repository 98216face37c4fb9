package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// cleanupFlags is what cleanup was asked for.
type cleanupFlags struct {
	yes, dry, json bool
	olderThan      string
}

func (a *App) cleanup() *cobra.Command {
	var f cleanupFlags
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what bottles left behind",
		Long: `Cleanup finds what is left of bottles that no longer run, on every backend, says why each
thing counts as left over and how much space it holds, asks, and removes it: containers,
volumes, a second network, images that no bottle of the manifest uses, and records of starts that
were interrupted. Running bottles, what another process is at work on, home and workspace of
bottles that ended, and everything that is not of this $BOT_BOTTLE_HOME are left alone.

With --older-than only what is older counts, and also bottles whose last run ended longer ago than
that: these go with their home, workspace and audit log.`,
		Example: `  bot-bottle cleanup
  bot-bottle cleanup --dry-run --json
  bot-bottle cleanup --older-than 30d`,
		Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error { return a.runCleanup(c.Context(), f) },
	}
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "show what would be removed, and remove nothing")
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON array of what was found and what became of it")
	c.Flags().StringVar(&f.olderThan, "older-than", "", "only what is older (12h, 30d), also bottles that ended longer ago")
	return c
}

// swept is one leftover, and what became of it.
type swept struct {
	Backend string `json:"backend"`
	bottle.Leftover
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"` // why it was not
}

// sweep is a cleanup of one backend.
type sweep struct {
	backend string
	plan    bottle.PreparedCleanup
	items   []swept
}

func (a *App) runCleanup(ctx context.Context, f cleanupFlags) error {
	age, err := duration(f.olderThan)
	if err != nil {
		return err
	}
	sweeps, err := a.lookForLeftovers(ctx, bottle.CleanupOptions{OlderThan: age, Cwd: a.cwd})
	if err != nil {
		return err
	}
	total, removable := count(sweeps)
	if total == 0 {
		_, _ = fmt.Fprintln(a.Stderr, "nothing to clean up")
	}
	if err := a.showLeftovers(sweeps, f); err != nil {
		return err
	}
	if f.dry || removable == 0 {
		return a.printSwept(sweeps, f.json)
	}
	if ok, err := a.confirmed(ctx, "Remove it?", f.yes); err != nil || !ok {
		return err
	}
	freed, err := a.carryOut(ctx, sweeps)
	_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: removed %s\n", freed)
	return errors.Join(err, a.printSwept(sweeps, f.json))
}

// confirmed asks unless yes was said. A no is an exit status of its own.
func (a *App) confirmed(ctx context.Context, question string, yes bool) (bool, error) {
	if yes {
		return true, nil
	}
	ok, err := a.ask(ctx, question)
	if err == nil && !ok {
		_, _ = fmt.Fprintln(a.Stderr, "bot-bottle: nothing was removed")
		err = status(exitFailure)
	}
	return ok, err
}

// lookForLeftovers asks every backend that can be used here. A manifest that cannot be read
// is a note: the rest is cleaned up.
func (a *App) lookForLeftovers(ctx context.Context, o bottle.CleanupOptions) ([]sweep, error) {
	usable, err := a.available(ctx)
	if err != nil {
		return nil, err
	}
	if o.Identity == "" { // images are of no one bottle
		if o.Manifest, err = a.manifest(); err != nil {
			a.note(fmt.Errorf("images are left out, since it is not known which are in use: %w", err))
		}
	}
	var sweeps []sweep
	for _, b := range usable {
		plan, err := b.PrepareCleanup(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("cannot look for leftovers of %s: %w", b.Name(), err)
		}
		s := sweep{backend: b.Name(), plan: plan}
		for _, l := range plan.Leftovers() {
			s.items = append(s.items, swept{Backend: b.Name(), Leftover: l})
		}
		sweeps = append(sweeps, s)
	}
	return sweeps, nil
}

// count is how many leftovers there are, and how many of them would go.
func count(sweeps []sweep) (total, removable int) {
	for _, s := range sweeps {
		for _, item := range s.items {
			total++
			if !item.Kept {
				removable++
			}
		}
	}
	return total, removable
}

// showLeftovers lists them: as the result of a dry run, else before the question.
func (a *App) showLeftovers(sweeps []sweep, f cleanupFlags) error {
	if total, _ := count(sweeps); total == 0 || f.json && (f.dry || f.yes) {
		return nil
	}
	out, width := a.Stderr, a.errWidth()
	if f.dry {
		out, width = a.Stdout, a.width()
	}
	t := table{columns: []column{{"KIND", 3}, {"NAME", whole}, {"SIZE", 4}, {"WHY", 2}}}
	var held space
	for _, s := range sweeps {
		for _, item := range s.items {
			why := item.Why
			if item.Kept {
				why = "stays: " + why
			}
			t.rows = append(t.rows, []string{string(item.Kind), item.Name, held.add(item.Leftover), why})
		}
	}
	if err := t.write(out, width); err != nil {
		return err
	}
	_, err := io.WriteString(out, held.String()+"\n")
	return err
}

// space adds up what leftovers hold.
type space struct{ things, bytes, unknown int64 }

// add returns the size of one in words.
func (s *space) add(l bottle.Leftover) string {
	s.things++
	if l.Bytes == nil {
		s.unknown++
		return "?"
	}
	s.bytes += *l.Bytes
	return plain.Amount(*l.Bytes)
}

func (s *space) String() string {
	sum := fmt.Sprintf("%s, %s", plain.Count(s.things, "thing"), plain.Amount(s.bytes))
	if s.unknown > 0 {
		sum += fmt.Sprintf(" and %d of unknown size", s.unknown)
	}
	return sum
}

// carryOut removes what is left over, and reports what it could not.
func (a *App) carryOut(ctx context.Context, sweeps []sweep) (freed *space, err error) {
	var failed []error
	var stay kept
	freed = &space{}
	for _, s := range sweeps {
		failed = append(failed, s.plan.Run(ctx, func(l bottle.Leftover, err error) {
			item := s.of(l)
			if err == nil {
				item.Removed = true
				freed.add(l)
				return
			}
			item.Error = err.Error()
			stay.add(l, err)
		}))
	}
	for _, why := range stay {
		if errors.Is(why.err, bottle.ErrCameToLife) {
			a.note(why.told())
		} else {
			failed = append(failed, fmt.Errorf("cannot remove %w", why.told()))
		}
	}
	return freed, errors.Join(failed...)
}

// kept is what was not removed, by why it was not.
type kept []*sameWhy

type sameWhy struct {
	err    error
	things []string
}

func (k *kept) add(l bottle.Leftover, err error) {
	thing := string(l.Kind) + " " + l.Name
	for _, why := range *k {
		if why.err.Error() == err.Error() {
			why.things = append(why.things, thing)
			return
		}
	}
	*k = append(*k, &sameWhy{err, []string{thing}})
}

// mostNamed is how many things of one reason are named: --json has them all.
const mostNamed = 4

func (w *sameWhy) told() error {
	named := strings.Join(w.things[:min(mostNamed, len(w.things))], ", ")
	if more := len(w.things) - mostNamed; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Errorf("%s: %w", named, w.err)
}

func (s sweep) of(l bottle.Leftover) *swept {
	for i := range s.items {
		if s.items[i].Kind == l.Kind && s.items[i].Name == l.Name {
			return &s.items[i]
		}
	}
	return &swept{}
}

func (a *App) printSwept(sweeps []sweep, asJSON bool) error {
	if !asJSON {
		return nil
	}
	all := []swept{}
	for _, s := range sweeps {
		all = append(all, s.items...)
	}
	return printJSON(a.Stdout, all, true)
}

// duration reads 90s, 12h or 30d; "" is 0.
func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 15); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, &usageError{what: fmt.Sprintf("--older-than %q is no duration", text), hint: "for example: --older-than 12h, --older-than 30d"}
}
