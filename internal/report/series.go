package report

import (
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// buckets is how many bars a chart has at most. It is even.
const buckets = 96

// series adds up what happened over time, in a bounded number of buckets: when the time
// does not fit any more, each two become one.
type series struct {
	start, limit time.Time
	width        time.Duration
	of           [buckets]bucket
	last         int // the last bucket that holds something
}

// bucket is what happened in a stretch of time.
type bucket struct {
	allowed, blocked   float64
	out, in            float64
	fresh, cached, gen float64 // tokens: input, input from a cache, output
	cost               float64
}

func newSeries(now time.Time) *series {
	return &series{width: time.Second, limit: now.Add(time.Hour)}
}

func (s *series) begin(at time.Time) { s.start = at.Truncate(time.Second) }

// index is the bucket of a time. One from before the first event, or from the future, is a
// service's lie or a clock that jumped: it counts at the border.
func (s *series) index(at time.Time) int {
	if at.After(s.limit) {
		at = s.limit
	}
	since := at.Sub(s.start)
	if since < 0 {
		return 0
	}
	for since >= buckets*s.width {
		s.fold()
	}
	return int(since / s.width)
}

func (s *series) fold() {
	var half [buckets]bucket
	for i, b := range s.of {
		half[i/2].plus(b)
	}
	s.of, s.width, s.last = half, 2*s.width, s.last/2
}

func (b *bucket) plus(o bucket) {
	b.allowed, b.blocked = b.allowed+o.allowed, b.blocked+o.blocked
	b.out, b.in = b.out+o.out, b.in+o.in
	b.fresh, b.cached, b.gen = b.fresh+o.fresh, b.cached+o.cached, b.gen+o.gen
	b.cost += o.cost
}

func (s *series) add(e audit.Event, denied bool, cost float64) {
	var b bucket
	switch {
	case denied:
		b.blocked = 1
	case e.Kind == audit.Request || e.Kind == audit.Connect:
		b.allowed = 1
	}
	if e.Decision != audit.Deny || e.Kind != audit.Push && e.Kind != audit.Fetch { // what a gate refuses has come no further
		b.out, b.in = float64(max(0, e.BytesOut)), float64(max(0, e.BytesIn))
	}
	b.cached, b.gen, b.cost = float64(max(0, e.TokensCached)), float64(max(0, e.TokensOut)), cost
	b.fresh = float64(max(0, e.TokensIn-e.TokensCached))
	i := s.index(e.Time)
	s.of[i].plus(b)
	s.last = max(s.last, i)
}
