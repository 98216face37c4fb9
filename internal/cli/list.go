package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

func (a *App) list() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [active|all|agents|bottles|backends]",
		Short: "List running bottles, or what there is to start",
		Long: `List shows the bottles that run (active), all that are on record, the agents and bottles of
the manifest, or the backends and why each can be used here or not. What could not be asked
is a note on standard error. docs/lifecycle.md says what --json prints.`,
		Example: `  bot-bottle list
  bot-bottle list agents
  bot-bottle list all --json | jq -r '.[].identity'`,
		Args:      atMostOneOf,
		ValidArgs: []string{"active", "all", "agents", "bottles", "backends"},
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.table(c.Context(), cmp.Or(strings.Join(args, ""), "active"))
			if err != nil {
				return err
			}
			return a.show(t, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return c
}

func (a *App) table(ctx context.Context, what string) (table, error) {
	switch what {
	case "all":
		return a.allBottles(ctx)
	case "agents":
		return a.agentTable()
	case "bottles":
		return a.bottleTable()
	case "backends":
		return a.backendTable(ctx)
	}
	return a.activeTable(ctx)
}

// active asks every usable backend.
func (a *App) active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	usable, err := a.available(ctx)
	if err != nil {
		return nil, err
	}
	all := []bottle.ActiveAgent{}
	for _, b := range usable {
		found, err := b.Active(ctx)
		if err != nil {
			return nil, fmt.Errorf("cannot list the bottles of %s: %w", b.Name(), err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// everyActive asks every backend, side by side. What could not be asked is a note, and no
// failure; unasked names it.
func (a *App) everyActive(ctx context.Context) (all []bottle.ActiveAgent, unasked []string, err error) {
	backends, err := a.sorted()
	if err != nil {
		return nil, nil, err
	}
	found, failed := make([][]bottle.ActiveAgent, len(backends)), make([]error, len(backends))
	var group sync.WaitGroup
	for i, b := range backends {
		group.Go(func() { found[i], failed[i] = b.Active(ctx) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	all = append([]bottle.ActiveAgent{}, slices.Concat(found...)...)
	for i, b := range backends {
		if failed[i] == nil {
			continue
		}
		why := failed[i]
		if unusable := b.Available(ctx); unusable != nil {
			why = unusable // says it better, and what to do
		}
		unasked = append(unasked, b.Name())
		if errors.Is(why, bottle.ErrAbsent) && a.spare(b.Name()) {
			continue
		}
		a.note(fmt.Errorf("%s could not be asked: %w", b.Name(), why))
	}
	return all, unasked, nil
}

// spare reports whether nobody has used a backend that is not the usual one: no bottle of it is on
// record.
func (a *App) spare(backend string) bool {
	if backend == defaultBackend {
		return false
	}
	identities, err := a.store().Identities()
	return err == nil && !slices.ContainsFunc(identities, func(identity string) bool {
		m, err := a.store().Read(identity)
		return err == nil && m.Backend == backend
	})
}

// note is an error that does not stop what was asked for.
func (a *App) note(err error) { printError(a.Stderr, err, bottle.HintOf(err)) }

func (a *App) activeTable(ctx context.Context) (table, error) {
	all, unasked, err := a.everyActive(ctx)
	if err != nil {
		return table{}, err
	}
	t := table{empty: "no bottle runs", data: all, columns: []column{{"IDENTITY", whole}, {"AGENT", 3}, {"BACKEND", 1}, {"STARTED", 4}, {"SERVICES", 2}, {"STATUS", 5}}}
	if len(slices.DeleteFunc(unasked, a.spare)) > 0 {
		t.empty = "no bottle is known to run"
	}
	for _, b := range all {
		t.rows = append(t.rows, []string{b.Slug, b.AgentName, b.Backend, a.ago(b.StartedAt), services(b.Services), b.Status})
	}
	return t, nil
}

func services(list []control.Service) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

// ago says how long ago an RFC 3339 time was.
func (a *App) ago(when string) string {
	at, err := time.Parse(time.RFC3339, when)
	if err != nil {
		return "?"
	}
	switch d := a.Now().Sub(at); {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

// named is an agent or a bottle of the manifest.
type named struct {
	Name   string `json:"name"`
	Bottle string `json:"bottle,omitempty"`
	File   string `json:"file"`
}

func (a *App) agentTable() (table, error) {
	m, err := a.manifest()
	if err != nil {
		return table{}, err
	}
	all := []named{}
	t := table{empty: "there is no agent in " + a.home, columns: []column{{"AGENT", whole}, {"BOTTLE", 2}, {"FILE", 1}}}
	for _, name := range slices.Sorted(maps.Keys(m.Agents)) {
		agent := m.Agents[name]
		all = append(all, named{name, agent.Bottle, agent.File})
		t.rows = append(t.rows, []string{name, agent.Bottle, agent.File})
	}
	t.data = all
	a.noteProblems(m)
	return t, nil
}

// noteProblems says of what is listed of a manifest that it may not be all, or not start.
func (a *App) noteProblems(m *manifest.Manifest) {
	if n := len(m.Problems); n > 0 {
		a.note(&usageError{what: "the manifest has " + plain.Count(n, "problem") + ": what is wrong is not listed, or cannot start", hint: "bot-bottle validate shows them"})
	}
}

func (a *App) bottleTable() (table, error) {
	m, err := a.manifest()
	if err != nil {
		return table{}, err
	}
	all := []named{}
	t := table{empty: "there is no bottle in " + a.home, columns: []column{{"BOTTLE", whole}, {"FILE", 1}}}
	for _, name := range slices.Sorted(maps.Keys(m.Bottles)) {
		all = append(all, named{Name: name, File: m.Bottles[name].File})
		t.rows = append(t.rows, []string{name, m.Bottles[name].File})
	}
	t.data = all
	a.noteProblems(m)
	return t, nil
}

type listedBackend struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty"`
	Hint      string `json:"hint,omitempty"` // what to do about it
}

func (a *App) backendTable(ctx context.Context) (table, error) {
	backends, err := a.sorted()
	if err != nil {
		return table{}, err
	}
	all := []listedBackend{}
	t := table{columns: []column{{"BACKEND", whole}, {"AVAILABLE", 1}}}
	for _, b := range backends {
		l, word := listedBackend{Name: b.Name(), Available: true}, "yes"
		if err := b.Available(ctx); err != nil {
			l.Available, l.Reason, l.Hint = false, err.Error(), bottle.HintOf(err)
			word = "no: " + l.Reason
			if l.Hint != "" {
				word += " (" + l.Hint + ")"
			}
		}
		all = append(all, l)
		t.rows = append(t.rows, []string{b.Name(), word})
	}
	t.data = all
	return t, nil
}
