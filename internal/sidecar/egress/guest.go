package egress

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrGuestGone is Serve's answer when the bottle's guest has not been heard of for
// guestGrace: the bottle has ended, with nobody there to take its bundle down, and what
// egress holds is of no use any more.
var ErrGuestGone = errors.New("the bottle has ended")

// guestGrace is how long a guest may be silent. It asks for ports all the time, and only
// a bottle that was paused does not.
const guestGrace = 5 * time.Minute

// attendance knows when the guest was last there.
type attendance struct {
	mu     sync.Mutex
	asking int       // questions that are held open
	last   time.Time // when one of them ended
	left   bool      // it has said that the agent has ended
}

// leave notes that the bottle has ended: its guest says so where that is not all that ends.
func (a *attendance) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = true
}

func (a *attendance) hasLeft() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left
}

// leaveEvery is how often a guest that says that it leaves is noticed.
const leaveEvery = 100 * time.Millisecond

// begin notes that the guest is there, until end is called.
func (a *attendance) begin() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asking--
		a.last = time.Now()
	}
}

// silent is for how long it has not been there.
func (a *attendance) silent(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking > 0 {
		return 0
	}
	return now.Sub(a.last)
}

// watchGuest calls gone when the guest has been silent for grace. It returns when ctx
// ends.
func (a *attendance) watchGuest(ctx context.Context, grace time.Duration, gone func()) {
	a.begin()() // it has from now on
	tick := time.NewTicker(min(grace/10, leaveEvery))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if a.hasLeft() || a.silent(now) > grace {
				gone()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
