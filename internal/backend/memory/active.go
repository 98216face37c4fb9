//go:build linux

package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Active lists the running agents. Only one whose bundle has ended is asked whether it still is.
func (d *Driver) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	active := []bottle.ActiveAgent{}
	for _, m := range d.machines() {
		a := bottle.ActiveAgent{
			Backend: Name, Slug: m.identity, AgentName: m.agent, StartedAt: m.started.Format(time.RFC3339),
			Services: slices.Sorted(slices.Values(m.services)), Status: bottle.Running,
		}
		if m.bundle.over() {
			if !m.works(ctx) {
				continue
			}
			a.Services, a.Status = []control.Service{}, bottle.CutOff
		}
		active = append(active, a)
	}
	return active, ctx.Err()
}

// machines are all that were launched and not taken down, in order of identity.
func (d *Driver) machines() []*machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*machine
	for _, m := range d.up {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *machine) int { return cmp.Compare(a.identity, b.identity) })
	return all
}

// works reports whether its agent has not ended.
func (m *machine) works(ctx context.Context) bool {
	now, err := m.condition(ctx)
	return err == nil && now.Begun && !now.Ended
}
