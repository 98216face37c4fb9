package smolmachines

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// census is everything of smolvm's and on disk that is ours.
type census struct {
	machines map[string]machine // by identity
	doubtful map[string]machine // named as one of ours, and perhaps not: belonging
	dirs     map[string]string  // of sockets, by identity
	states   []string
	records  map[string]record
	place    string

	alive  map[string]bool // is none of cleanup's business
	unused map[string]bool // its machine runs, and its agent never did
}

// record is what can be read of a bottle's record.
type record struct {
	state.Metadata
	missing, damaged bool
	acted            bool // without an end, and its audit log tells of what its agent did
}

// count looks at everything. We hold the lock of the bottle held; "" for none.
func (d *Driver) count(ctx context.Context, held string) (census, error) {
	c := census{dirs: map[string]string{}, records: map[string]record{}, alive: map[string]bool{}, unused: map[string]bool{}}
	owner, err := d.State.Owner()
	if err != nil {
		return c, err
	}
	c.place = d.place()
	all, err := d.machines(ctx)
	if err != nil {
		return c, err
	}
	if c.machines, c.doubtful, err = d.belonging(all, owner); err != nil {
		return c, err
	}
	for _, base := range d.bases() {
		entries, _ := os.ReadDir(base) // there is none, then
		for _, e := range entries {
			identity, ours := strings.CutPrefix(e.Name(), directoryName(owner, ""))
			if ours && e.IsDir() && bottle.ValidIdentity(identity) {
				c.dirs[identity] = filepath.Join(base, e.Name())
			}
		}
	}
	if c.states, err = d.State.Identities(); err != nil {
		return c, err
	}
	for _, identity := range c.known() {
		m, err := d.State.Read(identity)
		r := record{Metadata: m, missing: errors.Is(err, fs.ErrNotExist)}
		r.damaged = err != nil && !r.missing
		r.acted = err == nil && m.EndedAt == nil && d.State.Acted(identity)
		c.records[identity] = r
	}
	d.lookAtLives(ctx, &c, held)
	return c, nil
}

// known are all identities that there is anything of.
func (c census) known() []string {
	seen := map[string]bool{}
	var all []string
	add := func(identity string) {
		if !seen[identity] && bottle.ValidIdentity(identity) {
			seen[identity] = true
			all = append(all, identity)
		}
	}
	for identity := range c.machines {
		add(identity)
	}
	for identity := range c.doubtful {
		add(identity)
	}
	for identity := range c.dirs {
		add(identity)
	}
	for _, identity := range c.states {
		add(identity)
	}
	return all
}

// lookAtLives finds out which bottles live: those that another process is at work on, and those
// that run.
func (d *Driver) lookAtLives(ctx context.Context, c *census, held string) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	note := func(identity string, alive, unused bool) {
		mu.Lock()
		defer mu.Unlock()
		c.alive[identity], c.unused[identity] = alive, unused
	}
	for _, identity := range c.known() {
		r, m := c.records[identity], c.machines[identity]
		if identity != held && d.State.Locked(identity) || r.Backend != "" && r.Backend != d.Name() || r.Place != "" && r.Place != c.place {
			note(identity, true, false)
			continue
		}
		if m.State != running && m.State != unreachable {
			continue
		}
		asking.Go(func() {
			dir := cmp.Or(c.dirs[identity], m.Labels[labelSockets]) // a shell may have another XDG_RUNTIME_DIR, or none
			_, begun := readMark(dir)
			lives, limit := begun && bundleLives(dir), askLimit
			if lives {
				limit = lookLimit // what does not answer is left alone
			}
			now, err := control.Condition{}, errUnreachable
			if m.State == running {
				now, err = d.conditionWithin(ctx, limit, m.Name)
			}
			alive := err == nil && now.Begun && !now.Ended || err != nil && lives // a guest, or a machine, may be slow; a bundle outlives its agent for a moment
			note(identity, alive, err == nil && !now.Begun)
		})
	}
	asking.Wait()
}

// errUnreachable stands for the answer of a guest that smolvm does not reach.
var errUnreachable = errors.New("smolvm does not reach it")

// halfMade reports whether a bottle's first start was interrupted before its agent ran.
func (c census) halfMade(identity string) bool {
	r, m := c.records[identity], c.machines[identity]
	if r.damaged || r.missing || r.EndedAt != nil || r.Runs != 1 || r.acted {
		return false
	}
	if _, begun := readMark(c.dirs[identity]); begun {
		return false // and somebody has started its machine by hand since
	}
	return m.State == created || c.unused[identity]
}
