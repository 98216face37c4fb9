package smolmachines

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// lookLimit is how long a guest may take to say how its agent is, for a list: that waits for one which
// does not answer, and dashboards wait no longer for a backend (cli, grace).
const lookLimit = 2 * time.Second

// Active lists the running agents of this $BOT_BOTTLE_HOME, with one question to smolvm, and one to
// the guest of each machine that runs, side by side.
func (d *Driver) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	owner, err := d.State.Owner()
	if err != nil {
		return nil, err
	}
	all, err := d.machines(ctx)
	if err != nil {
		return nil, err
	}
	ours, _, err := d.belonging(all, owner)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var looking sync.WaitGroup
	active := []bottle.ActiveAgent{}
	for identity, m := range ours {
		if m.up() {
			looking.Go(func() {
				if a, yes := d.describeActive(ctx, m, identity); yes {
					mu.Lock()
					defer mu.Unlock()
					active = append(active, a)
				}
			})
		}
	}
	looking.Wait()
	if ctx.Err() != nil { // what they did not answer says nothing
		return nil, ctx.Err()
	}
	slices.SortFunc(active, func(a, b bottle.ActiveAgent) int { return cmp.Compare(a.Slug, b.Slug) })
	return active, nil
}

func (d *Driver) describeActive(ctx context.Context, m machine, identity string) (bottle.ActiveAgent, bool) {
	a := bottle.ActiveAgent{
		Backend: d.Name(), Slug: identity, AgentName: cmp.Or(m.Labels[labelAgent], "?"),
		StartedAt: time.Unix(m.CreatedAt, 0).UTC().Format(time.RFC3339), Services: []control.Service{}, Status: bottle.Running,
	}
	dir := m.Labels[labelSockets]
	noted, begun := readMark(dir)
	if begun {
		a.StartedAt = noted.Started.UTC().Format(time.RFC3339)
		a.Services = append(a.Services, noted.Services...)
		slices.Sort(a.Services)
	}
	if m.State != running {
		a.Status = "its machine is " + printableState(m.State)
		return a, true
	}
	lives := bundleLives(dir)
	if lives && !begun {
		return a, false // it is being started, or was left half way
	}
	now, err := d.conditionWithin(ctx, lookLimit, m.Name)
	switch {
	case err != nil && lives:
		a.Status = bottle.Silent
	case err != nil, !now.Begun, now.Ended:
		return a, false
	case !lives:
		a.Status = bottle.CutOff
	case slices.Contains(a.Services, control.Pipelock) && !pipelockLives(dir):
		a.Status = bottle.Unguarded
	}
	return a, true
}
