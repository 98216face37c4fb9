package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/dashboard"
	"github.com/bot-bottle/bot-bottle/internal/session"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// hung is a backend that does not answer.
type hung struct{ backendOf }

func (hung) Available(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// prompt is a backend that answers, if there is time.
type prompt struct{ backendOf }

func (p prompt) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p.active, nil
}

// The dashboard shows what runs on the backends that answer. What ran where nobody answers, or
// elsewhere, has not ended for that; a backend of which nothing can run is not missed.
func TestTheDashboardMakesNothingUp(t *testing.T) {
	vm := prompt{backendOf{name: "smolmachines", active: []bottle.ActiveAgent{{Backend: "smolmachines", Slug: "vm-aaaaaa"}}}}
	gone := backendOf{name: "docker", unavailable: errors.New("no engine answers")}
	at := noon.Add(-time.Hour)
	ended := state.Metadata{Identity: "ended-aaaaaa", Backend: "docker", EndedAt: &at}
	open := state.Metadata{Identity: "open-aaaaaa", Backend: "docker"}
	for name, c := range map[string]struct {
		backends []bottle.Backend
		records  []state.Metadata
		running  []string
		ended    []string
		err      string
	}{
		"all answer":                       {[]bottle.Backend{vm, backendOf{name: "docker"}}, []state.Metadata{ended, open, {Identity: "vm-aaaaaa", Backend: "smolmachines"}}, []string{"vm-aaaaaa"}, []string{"ended-aaaaaa", "open-aaaaaa"}, ""},
		"one is gone, with a bottle of it": {[]bottle.Backend{vm, gone}, []state.Metadata{ended, open}, []string{"vm-aaaaaa"}, []string{"ended-aaaaaa"}, "cannot list the bottles of docker: no engine answers"},
		"one hangs, with a bottle of it":   {[]bottle.Backend{vm, hung{gone}}, []state.Metadata{ended, open}, []string{"vm-aaaaaa"}, []string{"ended-aaaaaa"}, "cannot list the bottles of docker: too long"},
		"one is gone, without":             {[]bottle.Backend{vm, gone}, []state.Metadata{ended}, []string{"vm-aaaaaa"}, []string{"ended-aaaaaa"}, ""},
		"none answers":                     {[]bottle.Backend{gone}, []state.Metadata{ended, open}, nil, []string{"ended-aaaaaa"}, "cannot list the bottles of docker: no engine answers"},
		"none answers, and none has run":   {[]bottle.Backend{gone}, nil, nil, nil, "cannot list the bottles of docker: no engine answers"},
		"one runs elsewhere":               {[]bottle.Backend{vm, backendOf{name: "docker"}}, []state.Metadata{{Identity: "far-aaaaaa", Backend: "docker", Place: "there"}, {Identity: "lost-aaaaaa", Backend: "docker", Place: "here"}}, []string{"vm-aaaaaa"}, []string{"lost-aaaaaa"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for _, m := range c.records {
				if err := state.Open(home).Write(m); err != nil {
					t.Fatal(err)
				}
			}
			a := &App{System: System{Now: func() time.Time { return noon }, Getenv: func(string) string { return "" }, Backends: func(*App) ([]bottle.Backend, error) { return c.backends, nil }}, home: home}
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too long"))
			defer cancel()
			found, err := (&sight{App: a}).Bottles(ctx)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			names := func(runs bool) (names []string) {
				for _, f := range found {
					if f.Running == runs {
						names = append(names, f.Slug)
					}
				}
				slices.Sort(names)
				return names
			}
			if !slices.Equal(names(true), c.running) || !slices.Equal(names(false), c.ended) {
				t.Errorf("%v run, %v have ended", names(true), names(false))
			}
		})
	}
}

// A backend that hangs does not hold up what is shown of another one until it counts as silent.
func TestTheDashboardDoesNotWaitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vm := prompt{backendOf{name: "smolmachines", active: []bottle.ActiveAgent{{Backend: "smolmachines", Slug: "vm-aaaaaa"}}}}
		backends := []bottle.Backend{vm, hung{backendOf{name: "docker"}}}
		home := t.TempDir()
		if err := state.Open(home).Write(state.Metadata{Identity: "open-aaaaaa", Backend: "docker"}); err != nil {
			t.Fatal(err)
		}
		a := &App{System: System{Now: time.Now, Getenv: func(string) string { return "" }, Backends: func(*App) ([]bottle.Backend, error) { return backends, nil }}, home: home}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too long"))
		defer cancel()
		begun := time.Now()
		found, err := (&sight{App: a}).Bottles(ctx)
		if took := time.Since(begun); took != grace || len(found) != 1 || err == nil || !strings.Contains(err.Error(), "cannot list the bottles of docker: no answer for 3s") {
			t.Errorf("after %s: got %v, %v", took, found, err)
		}
		backends = []bottle.Backend{hung{backendOf{name: "docker"}}} // the only one has its time
		begun = time.Now()
		if _, err := (&sight{App: a}).Bottles(ctx); time.Since(begun) != 10*time.Second-grace || err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("alone, after %s: %v", time.Since(begun), err)
		}
	})
}

// counted is a backend that knows how often it was asked where it is.
type counted struct {
	backendOf
	asked *int
}

func (c counted) Place(ctx context.Context) (string, error) {
	*c.asked++
	return c.backendOf.Place(ctx)
}

// However many bottles a crash has left, an engine is asked once at a time where it is.
func TestTheDashboardAsksOnceWhereItIs(t *testing.T) {
	home, asked := t.TempDir(), 0
	for i := range 15 {
		if err := state.Open(home).Write(state.Metadata{Identity: fmt.Sprintf("lost-aaaa%02d", i), Backend: "docker", Place: "here"}); err != nil {
			t.Fatal(err)
		}
	}
	backends := []bottle.Backend{counted{backendOf{name: "docker"}, &asked}}
	a := &App{System: System{Now: func() time.Time { return noon }, Getenv: func(string) string { return "" }, Backends: func(*App) ([]bottle.Backend, error) { return backends, nil }}, home: home}
	found, err := (&sight{App: a}).Bottles(t.Context())
	if err != nil || len(found) != 15 || asked != 1 {
		t.Errorf("got %d bottles, %v, and asked %d times", len(found), err, asked)
	}
}

// A program that says that it works does so, also while it prints nothing; for one that does not
// say, its terminal tells. What it has said above, and how it ended, is not overruled.
func TestWhatAProgramSaysOfItself(t *testing.T) {
	const busy = "esc to interrupt"
	above := append([]string{"press esc to interrupt"}, slices.Repeat([]string{"x"}, busyRows)...)
	for name, c := range map[string]struct {
		told  session.State
		lines []string
		busy  string
		want  dashboard.State
	}{
		"says so, and is quiet":  {session.Waiting, []string{"", "* Thinking (3s · esc to interrupt)", "> ", "", ""}, busy, dashboard.Working},
		"says so, for long":      {session.Idle, []string{"esc to interrupt"}, busy, dashboard.Working},
		"does not say so":        {session.Waiting, []string{"done", "> "}, busy, dashboard.WaitsForText},
		"prints":                 {session.Working, []string{"> "}, busy, dashboard.Working},
		"has said so":            {session.Waiting, above, busy, dashboard.WaitsForText},
		"says so, with no lines": {session.Idle, nil, busy, dashboard.Idle},
		"is not known":           {session.Waiting, []string{"esc to interrupt"}, "", dashboard.WaitsForText},
		"has ended":              {session.Exited, []string{"esc to interrupt"}, busy, dashboard.Exited},
	} {
		if got := stateOf(c.told, c.lines, c.busy); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
