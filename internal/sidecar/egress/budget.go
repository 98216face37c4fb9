package egress

import (
	"sync"
	"time"
)

// budget keeps refusals from filling the audit log: so many at once and so many a
// second are listed, the rest are counted. What is let through is always listed.
type budget struct {
	mu       sync.Mutex
	left     float64
	last     time.Time
	unlisted int
}

const (
	burstOfDenials   = 1000
	denialsPerSecond = 20
)

func newBudget() *budget { return &budget{left: burstOfDenials, last: time.Now()} }

// take reports whether a refusal may be listed, and how many before it were not.
func (b *budget) take(now time.Time) (unlisted int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(burstOfDenials, b.left+now.Sub(b.last).Seconds()*denialsPerSecond)
	b.last = now
	if b.left < 1 {
		b.unlisted++
		return 0, false
	}
	b.left--
	unlisted, b.unlisted = b.unlisted, 0
	return unlisted, true
}
