package dashboard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// flaky is a bottle whose desk drops its connections, and that is gone some day.
type flaky struct {
	fake
	mu       sync.Mutex
	watched  int
	followed int // logs that are open
	gone     bool
}

func (f *flaky) Bottles(context.Context) ([]Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, nil
	}
	return []Found{running("a-aaaaaa", "a", control.Egress, control.Supervise)}, nil
}

func (f *flaky) Watch(ctx context.Context, _ string, tell func(control.Requests)) error {
	f.mu.Lock()
	f.watched++
	n := f.watched
	f.mu.Unlock()
	tell(control.Requests{Revision: n})
	if n < 4 {
		return errors.New("the stream broke")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *flaky) Follow(ctx context.Context, _ string, tell func(audit.Event)) error {
	f.mu.Lock()
	f.followed++
	f.mu.Unlock()
	tell(audit.Event{Kind: audit.Begin})
	<-ctx.Done()
	f.mu.Lock()
	f.followed--
	f.mu.Unlock()
	return ctx.Err()
}

// The feed connects again, ever slower, lets go of what is gone, and ends with nothing left.
func TestFeedReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &flaky{}
		feed := newFeed(Options{Bottles: f, Desks: f, Logs: f, Screens: f})
		ended := make(chan struct{})
		go func() { defer close(ended); feed.run(ctx) }()
		lost, heard := 0, 0
		next := func() {
			for _, news := range feed.next(ctx)().(batch) {
				if d, ok := news.(desked); ok && d.err != nil {
					lost++
				} else if ok {
					heard = d.now.Revision
				}
			}
		}
		begun := time.Now()
		for heard < 4 {
			next()
		}
		if took := time.Since(begun); lost != 3 || took < 6*time.Second || took > 10*time.Second {
			t.Errorf("%d connections were lost in %s", lost, took)
		}
		f.mu.Lock()
		f.gone = true
		f.mu.Unlock()
		for open := 1; open > 0; {
			next()
			synctest.Wait()
			f.mu.Lock()
			open = f.followed
			f.mu.Unlock()
		}
		cancel()
		<-ended
	})
}

// lone is a bottle in which nothing can be asked.
type lone struct{ flaky }

func (l *lone) Bottles(context.Context) ([]Found, error) {
	return []Found{running("a-aaaaaa", "a", control.Egress)}, nil
}

// A bottle without supervise and git-gate has no desk: none is looked for, and none is missed.
func TestFeedLooksForNoDeskWhereThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &lone{}
		feed := newFeed(Options{Bottles: f, Desks: f, Logs: f, Screens: f})
		ended := make(chan struct{})
		go func() { defer close(ended); feed.run(ctx) }()
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			for _, news := range feed.next(ctx)().(batch) {
				if d, ok := news.(desked); ok {
					t.Errorf("got %+v", d)
				}
			}
		}
		f.mu.Lock()
		if f.watched > 0 || f.followed != 1 {
			t.Errorf("watched %d times, follows %d logs", f.watched, f.followed)
		}
		f.mu.Unlock()
		cancel()
		<-ended
	})
}

// eye is a look at a screen that counts how often it is taken, and is lost once.
type eye struct {
	flaky
	looked, opened, closed int
}

func (e *eye) Look(context.Context, string) (Look, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
	return e, nil
}

func (e *eye) Screen(context.Context) (Screen, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.looked++; e.looked == 2 {
		return Screen{}, errors.New("the stream broke")
	}
	return Screen{State: Idle}, nil
}

func (e *eye) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed++
	return nil
}

// A screen is looked at often while it is in front and seldom otherwise, at once when it comes
// to the front, and again when the look was lost. None stays open.
func TestFeedLooksAtScreens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e := &eye{}
		feed := newFeed(Options{Bottles: e, Desks: e, Logs: e, Screens: e})
		close(feed.shown)
		ended := make(chan struct{})
		go func() { defer close(ended); feed.run(ctx) }()
		go func() {
			for ctx.Err() == nil {
				feed.next(ctx)()
			}
		}()
		count := func(d time.Duration) int {
			e.mu.Lock()
			before := e.looked
			e.mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.looked - before
		}
		time.Sleep(time.Minute) // it was lost and is back
		if n := count(50 * time.Second); n < 9 || n > 11 {
			t.Errorf("out of sight it is looked at %d times", n)
		}
		feed.turn("a-aaaaaa")
		if n := count(10 * time.Second); n < 19 || n > 21 {
			t.Errorf("in front it is looked at %d times", n)
		}
		cancel()
		<-ended
		if e.opened != 2 || e.closed != 2 {
			t.Errorf("%d looks were opened, %d closed", e.opened, e.closed)
		}
	})
}

// mute answers nothing after a while and breaks no connection, as an engine that is stopped or
// out of reach.
type mute struct {
	flaky
	asked int
}

func (m *mute) Bottles(ctx context.Context) ([]Found, error) {
	if m.asked++; m.asked > 2 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return m.flaky.Bottles(ctx)
}

func (m *mute) Look(context.Context, string) (Look, error) { return m, nil }
func (m *mute) Close() error                               { return nil }
func (m *mute) Screen(ctx context.Context) (Screen, error) {
	<-ctx.Done()
	return Screen{}, ctx.Err()
}

// What neither answers nor fails is said not to answer.
func TestFeedTellsOfWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &mute{}
		feed := newFeed(Options{Bottles: m, Desks: m, Logs: m, Screens: m})
		ended := make(chan struct{})
		go func() { defer close(ended); feed.run(ctx) }()
		var bottles, screen error
		for begun := time.Now(); (bottles == nil || screen == nil) && time.Since(begun) < time.Minute; {
			for _, news := range feed.next(ctx)().(batch) {
				switch n := news.(type) {
				case listed:
					bottles = n.err
				case screened:
					screen = n.err
				}
			}
		}
		if bottles != errSilent || screen != errSilent {
			t.Errorf("got %v of the bottles, %v of a screen", bottles, screen)
		}
		cancel()
		<-ended
	})
}
