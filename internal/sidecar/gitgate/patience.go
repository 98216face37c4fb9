package gitgate

import (
	"sync"
	"time"
)

// patience is how long a client may keep the gate waiting: a while, and longer for what it
// sends or takes meanwhile. Who sends a byte now and then is given up as who sends nothing.
// It may be used concurrently.
type patience struct {
	limit time.Duration

	mu     sync.Mutex
	waited time.Duration // beyond what was moved in it
}

// minRate is what a client has to move in the long run, in bytes a second.
const minRate = 16 << 10

// deadline is when the client is given up if nothing moves from now on.
func (p *patience) deadline() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(max(p.limit-p.waited, time.Millisecond))
}

// account takes down that n bytes have moved since we began to wait for them.
func (p *patience) account(since time.Time, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited = max(0, p.waited+time.Since(since)-time.Duration(n)*time.Second/minRate)
}
