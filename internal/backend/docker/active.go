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

// Active lists the running agents of this $BOT_BOTTLE_HOME, with one question to the engine.
func (d *Driver) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	mine, err := d.ours()
	if err != nil {
		return nil, err
	}
	list, err := d.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		return nil, err
	}
	active := []bottle.ActiveAgent{}
	for _, found := range list.Items {
		if found.Labels[labelRole] == string(roleAgent) && lives(found) {
			active = append(active, d.describeActive(list.Items, found))
		}
	}
	slices.SortFunc(active, func(a, b bottle.ActiveAgent) int { return cmp.Compare(a.Slug, b.Slug) })
	return active, nil
}

// describeActive: a container is started in the same second in which it is created.
func (d *Driver) describeActive(all []container.Summary, found container.Summary) bottle.ActiveAgent {
	identity := found.Labels[labelIdentity]
	a := bottle.ActiveAgent{
		Backend: d.Name(), Slug: identity, AgentName: cmp.Or(found.Labels[labelAgent], "?"),
		StartedAt: time.Unix(found.Created, 0).UTC().Format(time.RFC3339), Services: []control.Service{}, Status: bottle.Running,
	}
	for name := range strings.FieldsFuncSeq(found.Labels[labelServices], func(r rune) bool { return r == ',' }) {
		a.Services = append(a.Services, control.Service(name))
	}
	slices.Sort(a.Services)
	switch bundle, there := find(all, identity, roleSidecar); {
	case !there || !lives(bundle):
		a.Status = bottle.CutOff
	case slices.Contains(a.Services, control.Pipelock) && !livingPipelock(all, identity):
		a.Status = bottle.Unguarded
	case found.State == container.StatePaused || bundle.State == container.StatePaused:
		a.Status = bottle.Paused
	}
	return a
}

func livingPipelock(all []container.Summary, identity string) bool {
	found, there := find(all, identity, rolePipelock)
	return there && lives(found)
}
