package requests

import (
	"testing"
	"time"
	"unsafe"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// jumped is a time at which the clock on the wall was set by d, with nothing passed. Package time
// keeps both in one value: its seconds since 1885 stand above the thirty bits of nanoseconds.
func jumped(at time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&at))
	*wall += uint64(int64(d/time.Second)) << 30
	return at
}

// Attack G13: the clock is set back, or the machine sleeps, while a grant runs: it must not last longer for
// that. (A bottle can do neither; an operator's laptop does both.)
func TestAttackG13_ClocksThatJump(t *testing.T) {
	begin := time.Now() // with both clocks, as the bundle has it
	for name, test := range map[string]struct {
		now  time.Time
		want bool
	}{
		"early":                      {begin.Add(59 * time.Minute), false},
		"in time":                    {begin.Add(time.Hour), true},
		"the clock was set back":     {jumped(begin.Add(time.Hour), -5*time.Hour), true},
		"the machine slept":          {jumped(begin.Add(time.Minute), 2*time.Hour), true},
		"set back, and early anyway": {jumped(begin.Add(time.Minute), -5*time.Hour), false},
	} {
		l := New("k")
		r := mustAsk(t, l, begin, egress("docs.example", nil, nil))
		approve(t, l, begin, r.ID, Scope{For: policy.Span(time.Hour)})
		l.Expire(test.now)
		if ended := !reaches(t, l, "docs.example", "/"); ended != test.want {
			t.Errorf("%s: it has ended: %v", name, ended)
		}
	}
}
