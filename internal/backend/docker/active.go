package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Active lists the running agents of this $BOT_BOTTLE_HOME.
func (d *Driver) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	c, err := d.count(ctx)
	if err != nil {
		return nil, err
	}
	active := []bottle.ActiveAgent{}
	for _, found := range c.containers {
		if found.Labels[labelRole] == string(roleAgent) && found.State == container.StateRunning {
			active = append(active, d.describeActive(ctx, c, found))
		}
	}
	slices.SortFunc(active, func(a, b bottle.ActiveAgent) int { return cmp.Compare(a.Slug, b.Slug) })
	return active, nil
}

func (d *Driver) describeActive(ctx context.Context, c census, found container.Summary) bottle.ActiveAgent {
	identity := found.Labels[labelIdentity]
	a := bottle.ActiveAgent{
		Backend: d.Name(), Slug: identity, AgentName: cmp.Or(found.Labels[labelAgent], "?"),
		Services: []control.Service{}, Status: "running, cut off: its sidecar bundle does not run",
	}
	for name := range strings.FieldsFuncSeq(found.Labels[labelServices], func(r rune) bool { return r == ',' }) {
		a.Services = append(a.Services, control.Service(name))
	}
	slices.Sort(a.Services)
	if inspected, err := d.Client.ContainerInspect(ctx, found.ID, client.ContainerInspectOptions{}); err == nil {
		a.StartedAt = started(inspected.Container)
	}
	if c.bundleRuns(identity) {
		a.Status = "running"
	}
	return a
}

func (c census) bundleRuns(identity string) bool {
	return slices.ContainsFunc(c.containers, func(found container.Summary) bool {
		return found.Labels[labelIdentity] == identity && found.Labels[labelRole] == string(roleSidecar) && found.State == container.StateRunning
	})
}

func started(c container.InspectResponse) string {
	if c.State == nil {
		return ""
	}
	at, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
	if err != nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
