package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Active lists the running agents of this $BOT_BOTTLE_HOME, with one question to the engine, one for each
// container that runs, and one more for each bottle that may have begun without its git-gate.
func (d *Driver) Active(ctx context.Context) ([]bottle.ActiveAgent, error) {
	mine, err := d.ours()
	if err != nil {
		return nil, err
	}
	list, err := d.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		return nil, err
	}
	d.lookAt(ctx, list.Items)
	active := []bottle.ActiveAgent{}
	for _, found := range list.Items {
		if found.Labels[labelRole] == string(roleAgent) && lives(found) {
			active = append(active, d.describeActive(list.Items, found))
		}
	}
	var looking sync.WaitGroup
	for i := range active {
		looking.Go(func() { d.dropAbsentGate(ctx, &active[i]) })
	}
	looking.Wait()
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

// dropAbsentGate takes the git-gate out of the services of a bottle that has none yet: a supervised
// bottle's starts with the first repository that is granted (docs/decisions/0022). It is there when
// its socket is, and in doubt.
func (d *Driver) dropAbsentGate(ctx context.Context, a *bottle.ActiveAgent) {
	if !slices.Contains(a.Services, control.GitGate) || !slices.Contains(a.Services, control.Supervise) {
		return
	}
	socket := client.ContainerStatPathOptions{Path: control.SocketDir + "/" + string(control.GitGate) + ".sock"}
	if _, err := d.Client.ContainerStatPath(ctx, resource(a.Slug, roleSidecar), socket); errdefs.IsNotFound(err) {
		a.Services = slices.DeleteFunc(a.Services, func(s control.Service) bool { return s == control.GitGate })
	}
}

func livingPipelock(all []container.Summary, identity string) bool {
	found, there := find(all, identity, rolePipelock)
	return there && lives(found)
}
