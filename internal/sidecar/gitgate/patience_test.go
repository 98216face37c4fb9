package gitgate

import (
	"testing"
	"time"
)

// What a client moves buys it time, and no more than that: it does not save up for later.
func TestPatienceIsForWhatMoves(t *testing.T) {
	left := func(p *patience) time.Duration { return time.Until(p.deadline()) }
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	p := &patience{limit: time.Hour}
	p.account(ago(time.Millisecond), 1<<30)
	if got := left(p); got > time.Hour {
		t.Errorf("a fast client may wait %v, longer than one that has just come", got)
	}
	for range 50 {
		p.account(ago(time.Minute), 1)
	}
	if got := left(p); got > 11*time.Minute {
		t.Errorf("after 50 bytes in 50 minutes it has %v left", got)
	}
	p.account(ago(20*time.Minute), 1)
	if got := left(p); got > time.Second {
		t.Errorf("after more than an hour it has %v left", got)
	}
	p.account(ago(0), 30*60*minRate)
	if got := left(p); got < 15*time.Minute {
		t.Errorf("after half an hour's worth of bytes it has %v left", got)
	}
	steady := &patience{limit: time.Minute}
	for range 100 {
		steady.account(ago(30*time.Second), 40*minRate)
	}
	if got := left(steady); got < 59*time.Second {
		t.Errorf("a client that is slow, and fast enough, has %v left", got)
	}
}
