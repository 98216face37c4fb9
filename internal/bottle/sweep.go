package bottle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Action is what becomes of a leftover. Without one it is removed.
type Action string

const (
	StopIt  Action = "stop"  // a machine, whose disk stays
	CloseIt Action = "close" // a record, of which the rest stays: its end is written down
)

// Task is a leftover, and what is to be done about it.
type Task struct {
	Leftover
	ID string // as the backend calls it, where that is not its name
	Do Action
}

// Tasks are a plan that Sweep carries out.
type Tasks struct {
	Options CleanupOptions
	All     []Task
}

// Leftovers implements CleanupPlan.
func (t Tasks) Leftovers() []Leftover {
	all := make([]Leftover, 0, len(t.All))
	for _, task := range t.All {
		all = append(all, task.Leftover)
	}
	return all
}

// Holds reports whether what was shown to the operator is to be done by this, later, plan as well.
func (t Tasks) Holds(shown Task) bool {
	return slices.ContainsFunc(t.All, func(now Task) bool {
		return now.Kind == shown.Kind && now.Name == shown.Name && now.ID == shown.ID && now.Do == shown.Do && !now.Kept
	})
}

// Report is told what became of a leftover, as Driver.Cleanup tells. It may be called concurrently.
type Report func(Task, error)

// Sweep is what a driver's Cleanup is made of.
type Sweep struct {
	AtOnce int // how many bottles
	Lock   func(identity string) (release func(), err error)
	// Look finds what is left over of one bottle by now, as PrepareCleanup does. Its lock is held,
	// which does not make it one that somebody is at work on.
	Look func(ctx context.Context, o CleanupOptions) (Tasks, error)
	// Clean removes what is left of one bottle, in order. Its lock is held since before now was looked at.
	Clean func(ctx context.Context, identity string, tasks []Task, now Tasks, report Report)
	// Shared removes what is of no one bottle, after all else; nil where there is no such thing.
	Shared func(ctx context.Context, tasks []Task, report Report)
}

// Run carries a plan out, several bottles at a time. It takes each bottle's lock first, and leaves
// alone those that another process is at work on. With the lock it looks again: somebody may have
// resumed a bottle since the plan was made, and it may have ended again.
func (s Sweep) Run(ctx context.Context, plan Tasks, tell func(Leftover, error)) error {
	var one sync.Mutex
	report := func(t Task, err error) {
		one.Lock()
		defer one.Unlock()
		tell(t.Leftover, err)
	}
	var group errgroup.Group
	group.SetLimit(s.AtOnce)
	all := plan.byBottle()
	for identity, tasks := range all {
		if identity != "" {
			group.Go(func() error {
				s.cleanBottle(ctx, identity, tasks, plan.Options, report)
				return nil
			})
		}
	}
	_ = group.Wait()
	if shared := all[""]; len(shared) > 0 && s.Shared != nil {
		s.Shared(ctx, shared, report)
	}
	return nil
}

// byBottle sorts what is to be done by whose it is, "" for what is of no one bottle.
func (t Tasks) byBottle() map[string][]Task {
	all := map[string][]Task{}
	for _, task := range t.All {
		if !task.Kept {
			all[task.Identity] = append(all[task.Identity], task)
		}
	}
	return all
}

func (s Sweep) cleanBottle(ctx context.Context, identity string, tasks []Task, o CleanupOptions, report Report) {
	release, err := s.Lock(identity)
	if errors.Is(err, state.ErrLocked) {
		err = ErrCameToLife
	}
	if err != nil {
		reportAll(tasks, err, report)
		return
	}
	defer release()
	o.Identity = identity
	now, err := s.Look(ctx, o)
	if err != nil {
		reportAll(tasks, fmt.Errorf("cannot look again: %w", err), report)
		return
	}
	s.Clean(ctx, identity, tasks, now, report)
}

func reportAll(tasks []Task, err error, report Report) {
	for _, t := range tasks {
		report(t, err)
	}
}

// DoEach does each of a bottle's tasks that still holds. What others use comes after them, and its
// record, which leads there, last; both stay when something else of the bottle did.
func (t Tasks) DoEach(tasks []Task, do func(Task) error, report Report) {
	stuck := false
	for _, task := range tasks {
		switch {
		case !t.Holds(task):
			report(task, ErrCameToLife)
		case stuck && (task.Kind == LeftVolume || task.Kind == LeftState):
			report(task, errors.New("it stays, since something else of its bottle does"))
		default:
			err := do(task)
			stuck = stuck || err != nil
			report(task, err)
		}
	}
}

// Opener is the part of a Driver that finds a running bottle.
type Opener interface {
	Open(ctx context.Context, identity string) (Bottle, error)
}

// Stopped takes the lock of a bottle that does not run. The error is ErrRunning when it does.
func Stopped(ctx context.Context, d Opener, lock func(identity string) (release func(), err error), identity string) (release func(), err error) {
	if open, err := d.Open(ctx, identity); err == nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", identity, ErrRunning), open.Detach())
	} else if !errors.Is(err, ErrNotRunning) {
		return nil, err
	}
	return lock(identity)
}
