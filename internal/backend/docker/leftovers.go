package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// PrepareCleanup finds what is left of bottles that no longer run. It looks at this
// $BOT_BOTTLE_HOME's own resources only, and skips what another process is at work on.
func (d *Driver) PrepareCleanup(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
	weighed := make(chan map[string]int64, 1)
	if o.Identity == "" {
		go func() { weighed <- d.weigh(ctx) }()
	} else { // nobody is shown it
		weighed <- nil
	}
	plan, err := d.lookForLeftovers(ctx, o)
	bytes := <-weighed
	for i, l := range plan.All {
		if n, known := bytes[l.ID]; known {
			plan.All[i].Bytes = &n
		} else if l.Kind == bottle.LeftState {
			plan.All[i].Bytes = d.State.Bytes(l.ID)
		}
	}
	return plan, err
}

func (d *Driver) lookForLeftovers(ctx context.Context, o bottle.CleanupOptions) (bottle.Tasks, error) {
	place, err := d.Place(ctx)
	if err != nil {
		return bottle.Tasks{}, err
	}
	return d.leftovers(ctx, o, place, "")
}

// leftovers looks on the engine that is called place. We hold the lock of the bottle held; "" for none.
func (d *Driver) leftovers(ctx context.Context, o bottle.CleanupOptions, place, held string) (bottle.Tasks, error) {
	c, err := d.count(ctx, o.Identity, place, held)
	if err != nil {
		return bottle.Tasks{}, err
	}
	plan := bottle.Tasks{Options: o}
	limit := d.Now().Add(-o.OlderThan)
	add := func(l bottle.Task, ok bool) {
		if ok && (o.Identity == "" || l.Identity == o.Identity) && (o.OlderThan == 0 || l.Since != nil && l.Since.Before(limit)) {
			plan.All = append(plan.All, l)
		}
	}
	old := func(identity string) bool { return o.OlderThan > 0 && c.endedBefore(identity, limit) }
	for _, found := range c.containers {
		add(c.container(found))
	}
	for _, v := range c.volumes {
		add(c.volume(v, old, o.OlderThan > 0))
	}
	unused, err := d.unusedImages(ctx, c, o)
	if err != nil {
		return plan, err
	}
	for _, l := range slices.Concat(c.spareNetworks(), unused) {
		add(l, true)
	}
	for _, identity := range c.states {
		add(c.state(d.Name(), identity, old))
	}
	for _, l := range d.interruptedRemovals() {
		add(l, true)
	}
	slices.SortStableFunc(plan.All, inOrder)
	return plan, nil
}

// inOrder sorts by kind, then by name. Images stay as they are: what builds on another one
// goes first.
func inOrder(a, b bottle.Task) int {
	kinds := []bottle.LeftoverKind{bottle.LeftContainer, bottle.LeftVolume, bottle.LeftNetwork, bottle.LeftImage, bottle.LeftState}
	if a.Kind == bottle.LeftImage && b.Kind == bottle.LeftImage {
		return 0
	}
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name))
}

// endedBefore reports whether a bottle's last run ended before a time.
func (c census) endedBefore(identity string, limit time.Time) bool {
	r := c.records[identity]
	return !r.missing && !r.damaged && r.EndedAt != nil && r.EndedAt.Before(limit) && !c.alive(identity)
}

func (c census) container(found container.Summary) (bottle.Task, bool) {
	identity, since := found.Labels[labelIdentity], time.Unix(found.Created, 0).UTC()
	l := bottle.Task{ID: found.ID, Leftover: bottle.Leftover{
		Kind: bottle.LeftContainer, Identity: identity, Since: &since,
		Name: strings.TrimPrefix(slices.Concat(found.Names, []string{found.ID})[0], "/"),
	}}
	r := c.records[identity]
	switch {
	case role(found.Labels[labelRole]) == roleHelper:
		l.Why = "a copy to the engine that was interrupted"
	case c.halfMade(identity):
		l.Why = "the start of " + identity + " was interrupted before its agent ran"
	case r.missing:
		l.Why = identity + " does not run, and there is no record of it"
	default:
		l.Why = identity + " does not run"
	}
	return l, !c.alive(identity)
}

// volume: sockets are worth nothing without their containers. Home and workspace hold
// somebody's work: they go only if their bottle was started to be removed, whatever has
// become of its record, if it never ran, or if it ended as long ago as the operator said.
func (c census) volume(v volume.Volume, old func(string) bool, byAge bool) (bottle.Task, bool) {
	identity, what := v.Labels[labelIdentity], v.Labels[labelRole]
	l := bottle.Task{ID: v.Name, Leftover: bottle.Leftover{Kind: bottle.LeftVolume, Name: v.Name, Identity: identity, Since: parsed(v.CreatedAt)}}
	switch role(what) {
	case roleBinary:
		l.Why = "it holds bot-bottle of another version"
		return l, v.Name != c.current && !c.inUse(v.Name, byAge)
	case roleSockets, rolePipelock:
		l.Why = "sockets of " + identity + ", which does not run"
		return l, !c.alive(identity)
	case roleHome, roleWorkspace, roleGit:
		if c.alive(identity) {
			return l, false
		}
	default:
		return l, false
	}
	r := c.records[identity]
	switch {
	case v.Labels[labelRemove] == "true":
		l.Why = what + " of " + identity + ", which was started with --rm"
	case c.halfMade(identity):
		l.Why = what + " of " + identity + ", whose agent never ran"
	case old(identity):
		l.Since = r.EndedAt
		l.Why = what + " of " + identity + ", which ended " + r.EndedAt.Format(time.DateOnly)
	case r.missing && byAge:
		l.Why = what + " of " + identity + ", of which there is no record"
	case r.missing:
		l.Kept = true
		l.Why = what + " of " + identity + ", of which there is no record; it may hold work: bot-bottle rm --force " + identity
	default:
		return l, false
	}
	return l, true
}

// spareNetworks are those of our name that nobody uses: engines before API 1.44 let two
// starts at once make one each.
func (c census) spareNetworks() []bottle.Task {
	var all []bottle.Task
	for i, n := range c.networks {
		if i > 0 && n.Labels[labelRole] == string(roleNetwork) {
			since := n.Created.UTC()
			all = append(all, bottle.Task{ID: n.ID, Leftover: bottle.Leftover{Kind: bottle.LeftNetwork, Name: n.Name + " (" + n.ID[:min(12, len(n.ID))] + ")", Why: "a second one of this name, which nobody uses", Since: &since}})
		}
	}
	return all
}

// state: a record without an end whose bottle does not run was left by a crash. It
// is closed when there is something to come back to, or a log of what its agent did, and
// forgotten otherwise.
func (c census) state(backend, identity string, old func(string) bool) (bottle.Task, bool) {
	if !bottle.ValidIdentity(identity) || c.alive(identity) {
		return bottle.Task{}, false
	}
	l := bottle.Task{ID: identity, Leftover: bottle.Leftover{Kind: bottle.LeftState, Name: identity, Identity: identity, Why: "a start that was interrupted"}}
	r := c.records[identity]
	switch {
	case r.damaged:
		return l, false // list tells of it: it is for the operator to look at
	case r.logged:
		l.Kept, l.Why = true, "there is no record of it, but an audit log: bot-bottle rm --force "+identity
		return l, true
	case r.missing:
		return l, true
	}
	l.Since = &r.StartedAt
	switch _, kept := c.volumes[resource(identity, roleHome)]; {
	case r.Backend != backend:
		return bottle.Task{}, false
	case old(identity):
		l.Since, l.Why = r.EndedAt, "ended "+r.EndedAt.Format(time.DateOnly)+"; its audit log goes too"
	case r.EndedAt != nil && !kept && !r.Remove:
		l.Kept, l.Since = true, r.EndedAt
		l.Why = "its home and workspace are gone; its audit log is left: bot-bottle rm " + identity
	case r.EndedAt != nil:
		return bottle.Task{}, false
	case c.halfMade(identity):
	case kept && !r.Remove:
		l.Do, l.Why = bottle.CloseIt, "ended unseen; its home and workspace stay"
	case c.ran(identity):
		l.Do, l.Why = bottle.CloseIt, "ended unseen; its audit log stays"
	}
	return l, true
}

// interruptedRemovals are directories that were on their way out.
func (d *Driver) interruptedRemovals() []bottle.Task {
	var all []bottle.Task
	for name, since := range d.State.Removed() {
		all = append(all, bottle.Task{ID: name, Leftover: bottle.Leftover{Kind: bottle.LeftState, Name: name, Why: "a removal that was interrupted", Since: &since}})
	}
	return all
}

// parsed reads a time of the engine's, nil if it is none.
func parsed(text string) *time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil
	}
	at = at.UTC()
	return &at
}
