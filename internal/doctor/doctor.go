// Package doctor looks at a host and says what of bot-bottle works there, what does not,
// and what mends it. It changes nothing, except where Fix is called, and never runs what a
// repository or a bottle named.
package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Host is what is looked at.
type Host struct {
	Getenv   func(string) string
	Home     string // $BOT_BOTTLE_HOME
	UserHome string
	Backends []bottle.Backend
	Hosts    []string // names that bottles reach over TLS; none: none is tried
	Now      func() time.Time
}

// patience is for one area: a helper program or a host that hangs is itself a finding.
const patience = 15 * time.Second

// Examine looks at everything, side by side, and returns the findings in the order of the
// areas. It takes as long as patience at most, twice where an engine hangs.
func (h Host) Examine(ctx context.Context) []bottle.Finding {
	areas := []func(context.Context) []bottle.Finding{h.home, h.tools, h.keepers, h.kernel, h.terminal, h.trust}
	for _, b := range h.Backends {
		areas = append(areas, func(ctx context.Context) []bottle.Finding { return bottle.Diagnose(ctx, b) })
	}
	found := make([][]bottle.Finding, len(areas))
	var group sync.WaitGroup
	for i, look := range areas {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			found[i] = look(ctx)
		})
	}
	group.Wait()
	return h.oneBackend(slices.Concat(found...))
}

// oneBackend makes notes of backends that cannot be used where another can: one is enough.
func (h Host) oneBackend(all []bottle.Finding) []bottle.Finding {
	usable := false
	for _, b := range h.Backends {
		usable = usable || !slices.ContainsFunc(all, func(f bottle.Finding) bool { return f.Area == b.Name() && f.Level == bottle.LevelProblem })
	}
	for i, f := range all {
		ofOne := slices.ContainsFunc(h.Backends, func(b bottle.Backend) bool { return b.Name() == f.Area })
		if usable && ofOne && f.Level == bottle.LevelProblem {
			all[i].Level = bottle.LevelNote
		}
	}
	return all
}

func ok(area, text string) bottle.Finding {
	return bottle.Finding{Area: area, Level: bottle.LevelOK, Text: text}
}

func note(area, text, fix string) bottle.Finding {
	return bottle.Finding{Area: area, Level: bottle.LevelNote, Text: text, Fix: fix}
}

func problem(area, text, fix string) bottle.Finding {
	return bottle.Finding{Area: area, Level: bottle.LevelProblem, Text: text, Fix: fix}
}
