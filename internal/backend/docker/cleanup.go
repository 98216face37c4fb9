package docker

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// census is everything on the engine and on disk that is ours.
type census struct {
	containers []container.Summary
	volumes    map[string]map[string]string // name → labels
	states     []string
	running    map[string]bool // identities whose agent runs
	busy       func(identity string) bool
	current    string // the binary volume of this version
}

// PrepareCleanup finds what is left of bottles that no longer run. It looks at this
// $BOT_BOTTLE_HOME's own resources only, and skips what another process is at work on.
func (d *Driver) PrepareCleanup(ctx context.Context) (CleanupPlan, error) {
	c, err := d.count(ctx)
	if err != nil {
		return CleanupPlan{}, err
	}
	var plan CleanupPlan
	for _, found := range c.containers {
		if l, ok := c.container(found); ok {
			plan.Containers = append(plan.Containers, l)
		}
	}
	for name, labels := range c.volumes {
		if l, ok := c.volume(name, labels); ok {
			plan.Volumes = append(plan.Volumes, l)
		}
	}
	for _, identity := range c.states {
		if l, ok := c.state(d, identity); ok {
			plan.States = append(plan.States, l)
		}
	}
	slices.SortFunc(plan.Containers, byName)
	slices.SortFunc(plan.Volumes, byName)
	return plan, nil
}

func byName(a, b leftover) int { return cmp.Compare(a.Name, b.Name) }

func (d *Driver) count(ctx context.Context) (census, error) {
	owner, err := d.State.Owner()
	if err != nil {
		return census{}, err
	}
	mine := client.Filters{}.Add("label", labelOwner+"="+owner)
	containers, err := d.Client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		return census{}, err
	}
	volumes, err := d.Client.VolumeList(ctx, client.VolumeListOptions{Filters: mine})
	if err != nil {
		return census{}, err
	}
	c := census{containers: containers.Items, volumes: map[string]map[string]string{}, running: map[string]bool{}, busy: d.State.Locked}
	for _, found := range containers.Items {
		if found.Labels[labelRole] == string(roleAgent) && found.State == container.StateRunning {
			c.running[found.Labels[labelIdentity]] = true
		}
	}
	for _, v := range volumes.Items {
		c.volumes[v.Name] = v.Labels
	}
	c.current, _ = d.binaryVolume() // unreadable: then every one counts as old, and those in use stay
	c.states, err = d.State.Identities()
	return c, err
}

// alive reports whether a bottle is none of cleanup's business.
func (c census) alive(identity string) bool { return c.running[identity] || c.busy(identity) }

func (c census) container(found container.Summary) (leftover, bool) {
	identity := found.Labels[labelIdentity]
	l := leftover{ID: found.ID, Name: strings.TrimPrefix(slices.Concat(found.Names, []string{found.ID})[0], "/"), Identity: identity}
	l.What = "of " + identity + ", which does not run"
	return l, !c.alive(identity)
}

// volume: sockets are worth nothing without their containers. Home and workspace hold
// somebody's work: they go only if their bottle was started to be removed, whatever has
// become of its record.
func (c census) volume(name string, labels map[string]string) (leftover, bool) {
	identity := labels[labelIdentity]
	l := leftover{ID: name, Name: name, Identity: identity}
	switch role(labels[labelRole]) {
	case roleBinary:
		l.What = "bot-bottle of another version"
		return l, name != c.current && !c.inUse(name)
	case roleSockets:
		l.What = "sockets of " + identity + ", which does not run"
		return l, !c.alive(identity)
	case roleHome, roleWorkspace, roleGit:
		l.What = labels[labelRole] + " of " + identity + ", which was started with --rm"
		return l, !c.alive(identity) && labels[labelRemove] == "true"
	}
	return l, false
}

func (c census) inUse(volume string) bool {
	return slices.ContainsFunc(c.containers, func(found container.Summary) bool {
		return slices.ContainsFunc(found.Mounts, func(m container.MountPoint) bool { return m.Name == volume })
	})
}

// state: a record without an end whose bottle does not run was left by a crash. It
// is closed when there is something to come back to, and forgotten otherwise.
func (c census) state(d *Driver, identity string) (leftover, bool) {
	if !bottle.ValidIdentity(identity) || c.alive(identity) {
		return leftover{}, false
	}
	l := leftover{ID: identity, Name: identity, Identity: identity, What: "a start that was interrupted"}
	m, err := d.State.Read(identity)
	if err != nil {
		return l, errors.Is(err, fs.ErrNotExist) // a damaged record is for the operator to look at
	}
	if m.Backend != d.Name() || m.EndedAt != nil {
		return leftover{}, false
	}
	if _, kept := c.volumes[resource(identity, roleHome)]; kept && !m.Remove {
		l.keep, l.What = true, "ended unseen; its home and workspace stay"
	}
	return l, true
}

// Cleanup carries a plan out. It takes each bottle's lock first, and leaves alone
// those that came to life meanwhile.
func (d *Driver) Cleanup(ctx context.Context, plan CleanupPlan) error {
	fresh, err := d.PrepareCleanup(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, l := range both(plan.Containers, fresh.Containers) {
		failed = append(failed, d.guarded(l, func() error { return d.removeLeftover(ctx, l) }))
	}
	for _, l := range both(plan.Volumes, fresh.Volumes) {
		failed = append(failed, d.guarded(l, func() error { return d.removeVolume(ctx, l.ID) }))
	}
	for _, l := range both(plan.States, fresh.States) {
		failed = append(failed, d.guarded(l, func() error { return d.closeState(l) }))
	}
	return errors.Join(failed...)
}

// both keeps what was shown to the operator and still holds.
func both(shown, fresh []leftover) []leftover {
	return slices.DeleteFunc(slices.Clone(shown), func(l leftover) bool {
		return !slices.ContainsFunc(fresh, func(f leftover) bool { return f.ID == l.ID })
	})
}

// guarded does a thing to a bottle unless another process is at work on it.
func (d *Driver) guarded(l leftover, do func() error) error {
	if l.Identity == "" {
		return do()
	}
	release, err := d.State.Lock(l.Identity)
	if err != nil {
		return nil // somebody else's now
	}
	defer release()
	return errors.Join(do(), d.forgetUnrecorded(l.Identity))
}

// forgetUnrecorded removes the directory that a lock made for a bottle without a record.
func (d *Driver) forgetUnrecorded(identity string) error {
	if _, err := d.State.Read(identity); errors.Is(err, fs.ErrNotExist) {
		return d.State.Remove(identity)
	}
	return nil
}

// removeLeftover removes a container, and keeps what a bundle has to tell.
func (d *Driver) removeLeftover(ctx context.Context, l leftover) error {
	if l.Name == resource(l.Identity, roleSidecar) {
		if _, err := d.State.Read(l.Identity); err == nil {
			return d.harvest(ctx, l.Identity)
		}
	}
	if l.Name == resource(l.Identity, roleAgent) {
		if err := d.keepEnd(ctx, l.Identity); err != nil {
			return err
		}
	}
	return d.removeContainer(ctx, l.ID)
}

// keepEnd keeps the transcript of an agent that nobody held, and its exit status for when the
// record is closed: the bundle may have more to tell still.
func (d *Driver) keepEnd(ctx context.Context, identity string) error {
	m, err := d.State.Read(identity)
	if err != nil || m.EndedAt != nil || m.Remove {
		return nil // there is no record to close
	}
	found, err := d.ownAgent(ctx, identity)
	if err != nil {
		return nil // it never ran
	}
	m.ExitCode = &found.State.ExitCode
	return errors.Join(d.keepTranscript(ctx, identity, nil), d.State.Write(m))
}

func (d *Driver) closeState(l leftover) error {
	if l.keep {
		m, err := d.State.Read(l.Identity)
		if err != nil {
			return err
		}
		return d.State.End(l.Identity, m.ExitCode, d.Now().UTC())
	}
	return d.State.Remove(l.Identity)
}
