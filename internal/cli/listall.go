package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// condition is what has become of a bottle, for programs.
type condition string

const (
	isRunning     condition = "running"
	isEnded       condition = "ended"
	isInterrupted condition = "interrupted" // it does not run, and nobody saw its end
	isBusy        condition = "busy"        // a process is at work on it: it starts or ends
	isRemoved     condition = "removed"     // its home and workspace went with its end; the log is kept
	isDamaged     condition = "damaged"     // its record cannot be read
	isUnknown     condition = "unknown"     // its backend could not be asked
)

// listed is a bottle on record, running or not.
type listed struct {
	Identity  string    `json:"identity"`
	Agent     string    `json:"agent"`
	Bottle    string    `json:"bottle,omitempty"`
	Backend   string    `json:"backend"`
	State     condition `json:"state"`
	Status    string    `json:"status"`
	StartedAt string    `json:"started_at,omitempty"`
	EndedAt   string    `json:"ended_at,omitempty"`
	ExitCode  *int      `json:"exit_code,omitempty"`
	Image     string    `json:"image,omitempty"`
	Runtime   string    `json:"runtime,omitempty"`
	Runs      int       `json:"runs,omitempty"`
	Manifest  string    `json:"manifest,omitempty"`
}

// allBottles joins what runs with what is on record. A record that cannot be read is one
// line of the list, and a note.
func (a *App) allBottles(ctx context.Context) (table, error) {
	running, unasked, err := a.everyActive(ctx)
	if err != nil {
		return table{}, err
	}
	places := a.places(ctx, unasked)
	identities, err := a.store().Identities()
	if err != nil {
		return table{}, fmt.Errorf("cannot list the records: %w", err)
	}
	all := []listed{}
	for _, b := range running {
		all = append(all, a.listActive(b))
	}
	for _, identity := range identities {
		if slices.ContainsFunc(all, func(l listed) bool { return l.Identity == identity }) {
			continue
		}
		if l, ok := a.listRecord(ctx, identity, places); ok {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(x, y listed) int { return cmp.Compare(x.Identity, y.Identity) })
	t := table{empty: "there is no bottle", data: all, columns: []column{{"IDENTITY", whole}, {"AGENT", 3}, {"BACKEND", 1}, {"STARTED", 2}, {"STATUS", 4}}}
	for _, l := range all {
		t.rows = append(t.rows, []string{l.Identity, cmp.Or(l.Agent, "?"), cmp.Or(l.Backend, "?"), a.ago(l.StartedAt), l.Status})
	}
	return t, nil
}

// listActive is a running bottle, with what is on record of it.
func (a *App) listActive(b bottle.ActiveAgent) listed {
	l := listed{}
	if m, err := a.store().Read(b.Slug); err == nil {
		l = onList(m)
	}
	l.Identity, l.Agent, l.Backend, l.StartedAt = b.Slug, b.AgentName, b.Backend, b.StartedAt
	l.State, l.Status, l.EndedAt, l.ExitCode = isRunning, b.Status, "", nil
	return l
}

func onList(m state.Metadata) listed {
	return listed{
		Identity: m.Identity, Agent: m.Agent, Bottle: m.Bottle, Backend: m.Backend, StartedAt: m.StartedAt.UTC().Format(time.RFC3339),
		Image: m.Image, Runtime: m.Runtime, Runs: m.Runs, Manifest: m.Manifest, ExitCode: m.ExitCode,
	}
}

// listRecord is a bottle that does not run. A damaged record is set aside, and reported.
func (a *App) listRecord(ctx context.Context, identity string, places map[string]string) (listed, bool) {
	m, err := a.store().Read(identity)
	var newer *state.NewerError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !a.store().Locked(identity) {
			return listed{}, false // cleanup tells of it
		}
		return listed{Identity: identity, State: isBusy, Status: "starting"}, true
	case errors.As(err, &newer):
		a.note(err)
		l := onList(m)
		l.Identity, l.State, l.Status = identity, isUnknown, "of a newer bot-bottle"
		return l, true
	case err != nil:
		a.setAside(identity, err)
		return listed{Identity: identity, State: isDamaged, Status: "its record is damaged (rm --force removes it)"}, true
	}
	l := onList(m)
	l.State, l.Status = a.fate(m, places)
	if ended := (*bottle.EndedError)(nil); l.State == isInterrupted {
		if _, err := a.find(ctx, identity); errors.As(err, &ended) {
			l.State, l.ExitCode, l.Status = isEnded, &ended.Code, fmt.Sprintf("ended with status %d (bot-bottle resume, or cleanup)", ended.Code)
		}
	}
	if m.EndedAt != nil {
		l.EndedAt = m.EndedAt.UTC().Format(time.RFC3339)
	}
	return l, true
}

// setAside reports a record that cannot be read, and puts it where nothing writes over it.
func (a *App) setAside(identity string, err error) {
	if to, failed := a.store().SetAside(identity, a.Now()); failed != nil {
		err = errors.Join(err, failed)
	} else if to != "" {
		err = fmt.Errorf("%w; it was set aside as %s", err, to)
	}
	a.note(err)
}

// places are where the backends have their bottles, for those that could be asked.
func (a *App) places(ctx context.Context, unasked []string) map[string]string {
	backends, _ := a.sorted()
	places := map[string]string{}
	for _, b := range backends {
		if slices.Contains(unasked, b.Name()) {
			continue
		}
		if place, err := b.Place(ctx); err == nil {
			places[b.Name()] = place
		}
	}
	return places
}

// fate is what a record says of a bottle that does not run in the places at hand; nil places
// are those that it was started in.
func (a *App) fate(m state.Metadata, places map[string]string) (condition, string) {
	place, asked := places[m.Backend]
	switch {
	case m.EndedAt == nil && places != nil && !asked:
		return isUnknown, "unknown: " + m.Backend + " could not be asked"
	case m.EndedAt == nil && places != nil && m.Place != "" && m.Place != place:
		return isUnknown, "unknown: it is on another engine"
	case m.EndedAt == nil && a.store().Locked(m.Identity):
		return isBusy, "starting or ending"
	case m.EndedAt == nil:
		return isInterrupted, "interrupted (bot-bottle resume, or cleanup)"
	case m.Remove:
		return isRemoved, "removed, audit log kept"
	case m.ExitCode != nil:
		return isEnded, fmt.Sprintf("ended with status %d", *m.ExitCode)
	}
	return isEnded, "not running"
}
