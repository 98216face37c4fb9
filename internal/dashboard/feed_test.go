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
