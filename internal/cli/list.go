package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

func (a *App) list() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [active|all|agents|bottles|backends]",
		Short: "List running bottles, or what there is to start",
		Example: `  bot-bottle list
  bot-bottle list agents
  bot-bottle list all --json | jq -r '.[].identity'`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
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

// table is a list for people and for programs.
type table struct {
	empty  string
	header []string
	rows   [][]string
	data   any
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

func (a *App) show(t table, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, t.data, true)
	}
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(a.Stderr, t.empty)
		return err
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range slices.Insert(t.rows, 0, t.header) {
		_, _ = fmt.Fprintln(w, printable(strings.Join(row, "\t")))
	}
	return w.Flush()
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

func (a *App) activeTable(ctx context.Context) (table, error) {
	all, err := a.active(ctx)
	if err != nil {
		return table{}, err
	}
	t := table{empty: "no bottle runs", header: []string{"IDENTITY", "AGENT", "BACKEND", "STARTED", "SERVICES", "STATUS"}, data: all}
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

// listed is a bottle on record, running or not.
type listed struct {
	Identity  string `json:"identity"`
	Agent     string `json:"agent"`
	Backend   string `json:"backend"`
	StartedAt string `json:"started_at"`
	Status    string `json:"status"`
	ExitCode  *int   `json:"exit_code,omitempty"`
}

func (a *App) allBottles(ctx context.Context) (table, error) {
	running, err := a.active(ctx)
	if err != nil {
		return table{}, err
	}
	identities, err := a.store().Identities()
	if err != nil {
		return table{}, err
	}
	all := []listed{}
	for _, b := range running {
		all = append(all, listed{Identity: b.Slug, Agent: b.AgentName, Backend: b.Backend, StartedAt: b.StartedAt, Status: b.Status})
	}
	for _, identity := range identities {
		if slices.ContainsFunc(all, func(l listed) bool { return l.Identity == identity }) {
			continue
		}
		if l, err := a.recorded(ctx, identity); err == nil {
			all = append(all, l)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return table{}, err
		}
	}
	slices.SortFunc(all, func(x, y listed) int { return cmp.Compare(x.Identity, y.Identity) })
	t := table{empty: "there is no bottle", header: []string{"IDENTITY", "AGENT", "BACKEND", "STARTED", "STATUS"}, data: all}
	for _, l := range all {
		t.rows = append(t.rows, []string{l.Identity, l.Agent, l.Backend, a.ago(l.StartedAt), l.Status})
	}
	return t, nil
}

func (a *App) recorded(ctx context.Context, identity string) (listed, error) {
	m, err := a.store().Read(identity)
	if err != nil {
		return listed{}, err
	}
	l := listed{Identity: identity, Agent: m.Agent, Backend: m.Backend, StartedAt: m.StartedAt.Format(time.RFC3339), Status: "not running", ExitCode: m.ExitCode}
	ended := (*bottle.EndedError)(nil)
	if m.EndedAt == nil {
		if _, err := a.find(ctx, identity); errors.As(err, &ended) {
			l.ExitCode = &ended.Code
		}
	}
	switch {
	case ended != nil:
		l.Status = fmt.Sprintf("ended with status %d (bot-bottle resume, or cleanup)", ended.Code)
	case m.EndedAt == nil:
		l.Status = "interrupted (bot-bottle resume, or cleanup)"
	case m.Remove:
		l.Status = "removed, audit log kept"
	case m.ExitCode != nil:
		l.Status = fmt.Sprintf("ended with status %d", *m.ExitCode)
	}
	return l, nil
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
	t := table{empty: "there is no agent in " + a.home, header: []string{"AGENT", "BOTTLE", "FILE"}}
	for _, name := range slices.Sorted(maps.Keys(m.Agents)) {
		agent := m.Agents[name]
		all = append(all, named{name, agent.Bottle, agent.File})
		t.rows = append(t.rows, []string{name, agent.Bottle, agent.File})
	}
	t.data = all
	return t, nil
}

func (a *App) bottleTable() (table, error) {
	m, err := a.manifest()
	if err != nil {
		return table{}, err
	}
	all := []named{}
	t := table{empty: "there is no bottle in " + a.home, header: []string{"BOTTLE", "FILE"}}
	for _, name := range slices.Sorted(maps.Keys(m.Bottles)) {
		all = append(all, named{Name: name, File: m.Bottles[name].File})
		t.rows = append(t.rows, []string{name, m.Bottles[name].File})
	}
	t.data = all
	return t, nil
}

type listedBackend struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty"`
}

func (a *App) backendTable(ctx context.Context) (table, error) {
	backends, err := a.backends()
	if err != nil {
		return table{}, err
	}
	all := []listedBackend{}
	t := table{header: []string{"BACKEND", "AVAILABLE"}}
	for _, b := range backends {
		l, word := listedBackend{Name: b.Name(), Available: true}, "yes"
		if err := b.Available(ctx); err != nil {
			l.Available, l.Reason, word = false, err.Error(), "no: "+err.Error()
		}
		all = append(all, l)
		t.rows = append(t.rows, []string{b.Name(), word})
	}
	t.data = all
	return t, nil
}
