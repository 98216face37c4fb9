package docker

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// census is everything on the engine and on disk that is ours, as far as a cleanup looks.
type census struct {
	containers []container.Summary
	volumes    map[string]volume.Volume
	networks   []network.Summary // of our one name, the one in use first
	images     []image.Summary
	states     []string
	records    map[string]record
	current    string // the binary volume of this version
	place      string // the engine

	busy func(identity string) bool
}

// record is what can be read of a bottle's record.
type record struct {
	state.Metadata
	missing, damaged bool
	logged           bool // missing, but there is an audit log
	acted            bool // without an end, and its audit log tells of what its agent did
}

// ours selects what belongs to this $BOT_BOTTLE_HOME, on a shared engine too.
func (d *Driver) ours() (client.Filters, error) {
	owner, err := d.State.Owner()
	return client.Filters{}.Add("label", labelOwner+"="+owner), err
}

// count looks at everything, or all that is of one bottle, side by side. We hold the lock of the
// bottle held; "" for none.
func (d *Driver) count(ctx context.Context, one, place, held string) (census, error) {
	mine, err := d.ours()
	if err != nil {
		return census{}, err
	}
	if one != "" {
		mine.Add("label", labelIdentity+"="+one)
	}
	c := census{volumes: map[string]volume.Volume{}, records: map[string]record{}, place: place}
	c.busy = func(identity string) bool { return identity != held && d.State.Locked(identity) }
	c.current, _ = d.binaryVolume() // unreadable: then every one counts as old, and those in use stay
	group, grouped := errgroup.WithContext(ctx)
	group.Go(func() error {
		list, err := d.Client.ContainerList(grouped, client.ContainerListOptions{All: true, Filters: mine})
		d.lookAt(grouped, list.Items)
		for _, found := range list.Items {
			if wellNamed(found.Labels) {
				c.containers = append(c.containers, found)
			}
		}
		return err
	})
	group.Go(func() error {
		list, err := d.Client.VolumeList(grouped, client.VolumeListOptions{Filters: mine})
		for _, v := range list.Items {
			if wellNamed(v.Labels) {
				c.volumes[v.Name] = v
			}
		}
		return err
	})
	if one == "" {
		group.Go(func() (err error) {
			c.networks, err = d.networks(grouped)
			return err
		})
		group.Go(func() error {
			list, err := d.Client.ImageList(grouped, client.ImageListOptions{Filters: mine.Clone().Add("label", labelRole+"="+roleImage)})
			c.images = list.Items
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return c, err
	}
	c.states, err = d.State.Identities()
	if one != "" {
		c.states = slices.DeleteFunc(c.states, func(identity string) bool { return identity != one })
	}
	c.read(d.State)
	return c, err
}

// wellNamed reports whether the identity on a label may be one, or there is none. Whoever else
// may use the engine can write labels: what stands there becomes part of a path.
func wellNamed(labels map[string]string) bool {
	identity := labels[labelIdentity]
	return identity == "" || bottle.ValidIdentity(identity)
}

// elsewhere reports whether a bottle is on record as one of another engine: nothing can be
// said of it here.
func (c census) elsewhere(identity string) bool {
	r := c.records[identity]
	return r.Place != "" && r.Place != c.place
}

// read reads every record, also of bottles of which only the engine knows.
func (c *census) read(store state.Store) {
	known := slices.Clone(c.states)
	for _, found := range c.containers {
		known = append(known, found.Labels[labelIdentity])
	}
	for _, v := range c.volumes {
		known = append(known, v.Labels[labelIdentity])
	}
	for _, identity := range known {
		if _, done := c.records[identity]; done || identity == "" {
			continue
		}
		m, err := store.Read(identity)
		r := record{Metadata: m, missing: errors.Is(err, fs.ErrNotExist)}
		r.damaged = err != nil && !r.missing
		if r.missing {
			head := store.AuditHead(identity)
			r.logged = head != nil && head.Lines > 0
		} else if err == nil && m.EndedAt == nil {
			r.acted = store.Acted(identity)
		}
		c.records[identity] = r
	}
}

// weighLimit bounds how long the engine may take to add up what its volumes hold.
const weighLimit = 10 * time.Second

// weigh asks the engine how much space things hold. What it cannot say in time stays unknown.
func (d *Driver) weigh(ctx context.Context) map[string]int64 {
	usage, err := d.usage(ctx, client.DiskUsageOptions{Containers: true, Volumes: true, Verbose: true})
	if err != nil {
		return nil
	}
	bytes := map[string]int64{}
	for _, v := range usage.Volumes.Items {
		if v.UsageData != nil && v.UsageData.Size >= 0 {
			bytes[v.Name] = v.UsageData.Size
		}
	}
	for _, found := range usage.Containers.Items {
		bytes[found.ID] = found.SizeRw
	}
	return bytes
}

// usage asks the engine how much space things take. It is only for people to read.
func (d *Driver) usage(ctx context.Context, what client.DiskUsageOptions) (client.DiskUsageResult, error) {
	ctx, cancel := context.WithTimeout(ctx, weighLimit)
	defer cancel()
	usage, err := d.Client.DiskUsage(ctx, what)
	for err != nil && strings.Contains(err.Error(), "already running") && pause(ctx) == nil { // for somebody else
		usage, err = d.Client.DiskUsage(ctx, what)
	}
	return usage, err
}

// agent is the container of a bottle's agent.
func (c census) agent(identity string) (container.Summary, bool) {
	return find(c.containers, identity, roleAgent)
}

func find(containers []container.Summary, identity string, r role) (container.Summary, bool) {
	i := slices.IndexFunc(containers, func(found container.Summary) bool {
		return found.Labels[labelIdentity] == identity && found.Labels[labelRole] == string(r)
	})
	if i < 0 {
		return container.Summary{}, false
	}
	return containers[i], true
}

// lives reports whether a container has processes: a paused one has.
func lives(found container.Summary) bool {
	return slices.Contains([]container.ContainerState{container.StateRunning, container.StatePaused, container.StateRestarting}, found.State)
}

// lookAt puts right which containers of a list run: an engine lists what it last wrote down of them, and a full
// disk keeps it from that, so that one that has ended stays on its list as one that runs, also with room again. Of
// one that it cannot tell more of, the list stands.
func (d *Driver) lookAt(ctx context.Context, all []container.Summary) {
	var looking errgroup.Group
	looking.SetLimit(16)
	for i := range all {
		if !lives(all[i]) {
			continue
		}
		looking.Go(func() error {
			found, err := d.Client.ContainerInspect(ctx, all[i].ID, client.ContainerInspectOptions{})
			if err == nil && found.Container.State != nil {
				all[i].State = found.Container.State.Status
			}
			return nil
		})
	}
	_ = looking.Wait()
}

// alive reports whether a bottle is none of cleanup's business.
func (c census) alive(identity string) bool {
	agent, there := c.agent(identity)
	return there && lives(agent) || c.busy(identity) || c.elsewhere(identity)
}

// halfMade reports whether a bottle's first start was interrupted before its agent ran: its
// home and workspace hold nothing that was not there before.
func (c census) halfMade(identity string) bool {
	r := c.records[identity]
	if r.damaged || r.missing || r.EndedAt != nil || r.Runs != 1 {
		return false
	}
	agent, there := c.agent(identity)
	return there && agent.State == container.StateCreated
}

// ran reports whether a bottle's agent has ever run, as far as that can be told.
func (c census) ran(identity string) bool {
	agent, there := c.agent(identity)
	return there && agent.State != container.StateCreated || c.records[identity].acted
}

// inUse reports whether a container uses a volume: one that stays, or, with all, any.
func (c census) inUse(volume string, all bool) bool {
	return slices.ContainsFunc(c.containers, func(found container.Summary) bool {
		return (all || c.alive(found.Labels[labelIdentity])) && slices.ContainsFunc(found.Mounts, func(m container.MountPoint) bool { return m.Name == volume })
	})
}
