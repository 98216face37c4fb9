package session

import (
	"slices"
	"sync"
	"time"
)

// Bounds of what is typed and not taken yet, on either side: a large text that was pasted, for an
// agent that is slow to read it. Who types more waits while some of it is taken; if nothing is
// for so long, what there is no room for is lost, so that one can leave, and see what is printed.
const (
	maxTyped = 4 << 20
	stuckFor = 2 * time.Second
)

// typed is what was typed on an operator's terminal and not sent yet.
type typed struct {
	mu      sync.Mutex
	keys    []byte
	moved   time.Time // when some was last sent
	room    chan struct{}
	more    chan struct{} // there is some
	emptied chan struct{} // there is none any more
}

func newTyped() *typed {
	return &typed{room: make(chan struct{}, 1), more: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// add adds keys, when there is room. It is for one goroutine.
func (t *typed) add(keys []byte) {
	for {
		left, ok := t.fits(keys)
		if ok || left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-t.room:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// fits adds keys if there is room, or says how long to wait for it.
func (t *typed) fits(keys []byte) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys)+len(keys) > maxTyped {
		return stuckFor - time.Since(t.moved), false
	}
	if len(t.keys) == 0 {
		t.moved = time.Now()
	}
	t.keys = append(t.keys, keys...)
	signal(t.more)
	return 0, true
}

// first is the beginning of it, which stays until it is done with.
func (t *typed) first() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.keys[:min(len(t.keys), 16<<10)])
}

// done says that the first n bytes were sent.
func (t *typed) done(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moved = time.Now()
	signal(t.room)
	if t.keys = slices.Delete(t.keys, 0, n); len(t.keys) > 0 {
		signal(t.more)
		return
	}
	t.keys = nil
	signal(t.emptied)
}

// still is for how long nothing was sent, of the time since one.
func (t *typed) still(since time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moved.After(since) {
		since = t.moved
	}
	return time.Since(since)
}

func (t *typed) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys) == 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
