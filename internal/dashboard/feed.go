package dashboard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// What the feed tells.
type (
	listed struct { // the bottles that there are
		found []Found
		err   error
	}
	desked struct { // what is asked in one
		identity string
		now      control.Requests
		err      error // the connection has ended
	}
	happened struct { // an event in one
		identity string
		event    audit.Event
	}
	logged struct { // the log of one is open, or has ended
		identity string
		err      error
	}
	screened struct { // what its terminal shows
		identity string
		screen   Screen
		err      error
	}
)

// batch is what came in a short while: the screen is drawn once for all of it.
type batch []any

// How often the feed looks, and how fast it tells.
const (
	lookEvery   = 2 * time.Second
	gatherFor   = 100 * time.Millisecond
	gatherMost  = 2000
	firstRetry  = time.Second
	longRetry   = 15 * time.Second
	screenOften = 500 * time.Millisecond // of the one that is looked at
	screenEvery = 5 * time.Second        // of the others
	noScreenFor = time.Minute            // until one without a screen is asked again
	answerIn    = 10 * time.Second       // or it does not answer
)

// errSilent is a backend or a terminal that neither answers nor fails.
var errSilent = fmt.Errorf("no answer for %s", answerIn)

// feed watches every bottle that runs. It ends when its context does.
type feed struct {
	bottles Bottles
	desks   Desks
	logs    Logs
	screens Screens
	out     chan any
	again   chan struct{} // look for bottles now
	shown   chan struct{} // closed once the first bottles are on the screen: what they did comes after
	listed  bool          // they were told

	mu     sync.Mutex
	front  string        // the bottle that is looked at
	turned chan struct{} // closed when it becomes another
}

func newFeed(o Options) *feed {
	return &feed{bottles: o.Bottles, desks: o.Desks, logs: o.Logs, screens: o.Screens, out: make(chan any, 256), again: make(chan struct{}, 1), shown: make(chan struct{}), turned: make(chan struct{})}
}

// seek has the feed look for bottles at once.
func (f *feed) seek() {
	select {
	case f.again <- struct{}{}:
	default:
	}
}

// next is what came since it was asked last. It is asked again when that has been drawn.
func (f *feed) next(ctx context.Context) tea.Cmd {
	return func() tea.Msg {
		if f.listed {
			f.listed = false
			close(f.shown)
		}
		var all batch
		select {
		case first := <-f.out:
			all = append(all, first)
			if _, ok := first.(listed); ok {
				f.listed = !closed(f.shown)
				return all // which bottles there are is shown at once
			}
		case <-ctx.Done():
			return nil
		}
		gathered := time.NewTimer(gatherFor)
		defer gathered.Stop()
		for len(all) < gatherMost {
			select {
			case more := <-f.out:
				all = append(all, more)
			case <-gathered.C:
				return all
			case <-ctx.Done():
				return nil
			}
		}
		return all
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (f *feed) tell(ctx context.Context, what any) {
	select {
	case f.out <- what:
	case <-ctx.Done():
	}
}

// run watches until ctx ends, and has then let go of everything.
func (f *feed) run(ctx context.Context) {
	var each sync.WaitGroup
	defer each.Wait()
	watched := map[string]context.CancelFunc{}
	defer func() {
		for _, stop := range watched {
			stop()
		}
	}()
	for ctx.Err() == nil {
		found, err := answered(ctx, f.bottles.Bottles)
		if ctx.Err() != nil {
			return
		}
		f.tell(ctx, listed{found, err})
		select {
		case <-f.shown:
		case <-ctx.Done():
			return
		}
		running := map[string]bool{}
		for _, b := range found {
			if running[b.Slug] = b.Running; !b.Running || watched[b.Slug] != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			watched[b.Slug] = stop
			f.watch(one, &each, b)
		}
		for identity, stop := range watched {
			if !running[identity] && err == nil {
				stop()
				delete(watched, identity)
			}
		}
		rest(ctx, lookEvery, f.again)
	}
}

// watch follows one bottle, in goroutines of its own.
func (f *feed) watch(ctx context.Context, each *sync.WaitGroup, b Found) {
	identity := b.Slug
	if has(b, control.Supervise) || has(b, control.GitGate) {
		each.Go(func() {
			retry(ctx, func() error {
				err := f.desks.Watch(ctx, identity, func(now control.Requests) { f.tell(ctx, desked{identity: identity, now: now}) })
				f.tell(ctx, desked{identity: identity, err: ended(err)})
				return err
			})
		})
	}
	each.Go(func() {
		retry(ctx, func() error {
			f.tell(ctx, logged{identity: identity})
			err := f.logs.Follow(ctx, identity, func(e audit.Event) { f.tell(ctx, happened{identity, e}) })
			f.tell(ctx, logged{identity, ended(err)})
			return err
		})
	})
	each.Go(func() {
		retry(ctx, func() error { return f.look(ctx, identity) })
	})
}

// look tells a bottle's screen again and again, until there is none any more.
func (f *feed) look(ctx context.Context, identity string) error {
	look, err := f.screens.Look(ctx, identity)
	if err != nil {
		f.tell(ctx, screened{identity: identity, err: err})
		if errors.Is(err, ErrNoScreen) {
			rest(ctx, noScreenFor, nil)
		}
		return err
	}
	defer func() { _ = look.Close() }()
	for {
		screen, err := answered(ctx, look.Screen)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.tell(ctx, screened{identity, screen, err})
		if err != nil {
			return err
		}
		f.mu.Lock()
		front, turned := f.front, f.turned
		f.mu.Unlock()
		if front == identity {
			rest(ctx, screenOften, nil)
		} else {
			rest(ctx, screenEvery, turned)
		}
	}
}

// answered asks for something that is there at once, unless who is asked hangs.
func answered[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerIn, errSilent)
	defer cancel()
	answer, err := ask(ctx)
	if err != nil && context.Cause(ctx) == errSilent && !errors.Is(err, errSilent) {
		err = errSilent
	}
	return answer, err
}

// turn says which bottle is looked at, "" for none.
func (f *feed) turn(identity string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if identity != f.front {
		f.front = identity
		close(f.turned)
		f.turned = make(chan struct{})
	}
}

// rest waits so long, or until it is woken or ctx ends.
func rest(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// retry does it again, ever slower while it fails at once, until ctx ends.
func retry(ctx context.Context, do func() error) {
	wait := firstRetry
	for ctx.Err() == nil {
		begun := time.Now()
		_ = do()
		if time.Since(begun) > longRetry {
			wait = firstRetry
		}
		rest(ctx, wait, nil)
		wait = min(2*wait, longRetry)
	}
}

// ended is why a connection ended, also if it did so in good order.
func ended(err error) error {
	if err == nil {
		return errGone
	}
	return err
}
