package policy

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func limited(t testing.TB, bottle *Limits, routes ...*Limits) *Set {
	t.Helper()
	p := Policy{Limits: bottle}
	for i, l := range routes {
		p.Routes = append(p.Routes, Route{Host: string(rune('a'+i)) + ".example", Limits: l})
	}
	return newSet(t, p)
}

// Attack I6: a little at a time, for long: each limit of a route and of the bottle ends it.
func TestAttackI6_LimitsEndSlowExfiltration(t *testing.T) {
	for name, c := range map[string]struct {
		bottle, route *Limits
		use           Usage
		want          int // times that it is allowed
		what          string
	}{
		"requests of a route":   {nil, &Limits{Requests: 3, Window: Span(time.Hour)}, Usage{Requests: 1}, 3, "requests"},
		"bytes up of a route":   {nil, &Limits{BytesUp: 100, Window: Span(time.Hour)}, Usage{BytesUp: 30}, 3, "bytes up"},
		"bytes down of a route": {nil, &Limits{BytesDown: 100}, Usage{BytesDown: 50}, 2, "bytes down"},
		"requests of a bottle":  {&Limits{Requests: 2}, nil, Usage{Requests: 1, BytesUp: 7}, 2, "requests"},
		"the narrower":          {&Limits{Requests: 2}, &Limits{Requests: 9}, Usage{Requests: 1}, 2, "requests"},
		"too much at once":      {nil, &Limits{BytesUp: 10, Window: Span(time.Hour)}, Usage{BytesUp: 11}, 0, "bytes up"},
		"as much as there is":   {nil, &Limits{BytesUp: 10}, Usage{BytesUp: 10}, 1, "bytes up"},
		"none":                  {nil, nil, Usage{Requests: 1, BytesUp: 1 << 40}, 1000, ""},
		"without overflow":      {nil, &Limits{BytesUp: math.MaxInt64}, Usage{BytesUp: math.MaxInt64 - 1}, 1, "bytes up"},
	} {
		set, meter, got := limited(t, c.bottle, c.route), NewMeter(), 0
		var v Verdict
		for range 1000 {
			if v = meter.Take(noon, set, 0, c.use); !v.Allowed {
				break
			}
			got++
		}
		if got != c.want || v.What != c.what || v.Allowed == strings.Contains(v.Reason(), c.what) && c.what != "" {
			t.Errorf("%s: got %d times, then %+v (%s)", name, got, v, v.Reason())
		}
	}
}

func TestAMeterSaysWhen(t *testing.T) {
	set, meter := limited(t, &Limits{BytesUp: 100}, &Limits{Requests: 1, Window: Span(time.Hour)}), NewMeter()
	if v := meter.Take(noon, set, 0, Usage{Requests: 1}); !v.Allowed {
		t.Fatal(v)
	}
	v := meter.Take(noon.Add(time.Minute), set, 0, Usage{Requests: 1})
	if v.Allowed || v.Bottle || v.Until.Before(noon.Add(time.Hour)) || v.Until.After(noon.Add(time.Hour+5*time.Minute)) {
		t.Errorf("got %+v", v)
	}
	if early := meter.Take(v.Until.Add(-time.Nanosecond), set, 0, Usage{Requests: 1}); early.Allowed {
		t.Error("it was allowed before the time")
	}
	if then := meter.Take(v.Until, set, 0, Usage{Requests: 1}); !then.Allowed {
		t.Errorf("at the time: got %+v", then)
	}
	if v := meter.Take(noon, set, 0, Usage{BytesUp: 101}); v.Allowed || !v.Bottle || !v.Until.IsZero() {
		t.Errorf("what never fits: got %+v", v)
	}
	for _, route := range []int{-1, 1} {
		if v := meter.Take(noon, set, route, Usage{}); v.Allowed {
			t.Errorf("route %d was allowed", route)
		}
	}
	if v := meter.Take(noon, set, 0, Usage{BytesUp: -1}); v.Allowed {
		t.Error("a negative use was allowed")
	}
}

// What one refuses takes nothing from the other.
func TestARefusedUseTakesNothing(t *testing.T) {
	set, meter := limited(t, &Limits{Requests: 2}, &Limits{BytesUp: 10}, nil), NewMeter()
	for range 5 {
		if v := meter.Take(noon, set, 0, Usage{Requests: 1, BytesUp: 11}); v.Allowed {
			t.Fatal("allowed")
		}
	}
	for i, want := range []bool{true, true, false} { // of two in all, on the second route or the first
		if got := meter.Take(noon, set, []int{1, 1, 0}[i], Usage{Requests: 1}).Allowed; got != want {
			t.Errorf("request %d: allowed is %t", i, got)
		}
	}
}

// Attack I6: bursts around the edges of windows. No stretch as long as the window holds
// more than the limit, whatever the times.
func TestAttackI6_NoStretchHoldsMoreThanTheLimit(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		set, meter, now := limited(t, nil, &Limits{BytesUp: 100, Window: Span(time.Minute)}), NewMeter(), noon
		type taken struct {
			at time.Time
			n  int64
		}
		var log []taken
		for range 2000 {
			now = now.Add(time.Duration(random.Int64N(int64(8 * time.Second))))
			n := random.Int64N(30) + 1
			if meter.Take(now, set, 0, Usage{BytesUp: n}).Allowed {
				log = append(log, taken{now, n})
			}
		}
		for i := range log {
			sum := int64(0)
			for j := i; j >= 0 && log[i].at.Sub(log[j].at) < time.Minute; j-- {
				sum += log[j].n
			}
			if sum > 100 {
				t.Fatalf("seed %d: %d within a minute before %s", seed, sum, log[i].at)
			}
		}
		if len(log) < 100 {
			t.Fatalf("seed %d: nothing was given back: %d", seed, len(log))
		}
	}
}

func TestTimeThatGoesBackIsNoRefill(t *testing.T) {
	set, meter := limited(t, nil, &Limits{Requests: 1, Window: Span(time.Hour)}), NewMeter()
	if !meter.Take(noon, set, 0, Usage{Requests: 1}).Allowed {
		t.Fatal("refused")
	}
	if meter.Take(noon.Add(-48*time.Hour), set, 0, Usage{Requests: 1}).Allowed || meter.Take(noon, set, 0, Usage{Requests: 1}).Allowed {
		t.Error("allowed")
	}
}

// Attack G9: every change of the policy begins the budgets anew. A route that stays keeps
// what was used, with a larger limit and with another window as well.
func TestAChangeOfThePolicyIsNoRefill(t *testing.T) {
	meter := NewMeter()
	before := limited(t, &Limits{BytesUp: 50, Window: Span(time.Hour)}, &Limits{Requests: 2, Window: Span(time.Hour)})
	for range 2 {
		if !meter.Take(noon, before, 0, Usage{Requests: 1, BytesUp: 20}).Allowed {
			t.Fatal("refused")
		}
	}
	after := newSet(t, Policy{Limits: &Limits{BytesUp: 50, Window: Span(2 * time.Hour)}, Routes: []Route{{Host: "new.example"}, {Host: "a.example", Limits: &Limits{Requests: 3, Window: Span(2 * time.Hour)}}}})
	if !meter.Take(noon, after, 1, Usage{Requests: 1}).Allowed || meter.Take(noon, after, 1, Usage{Requests: 1}).Allowed {
		t.Error("the route's requests were not carried over")
	}
	if meter.Take(noon, after, 0, Usage{BytesUp: 11}).Allowed || !meter.Take(noon, after, 0, Usage{BytesUp: 10}).Allowed {
		t.Error("the bottle's bytes were not carried over")
	}
	if meter.Take(noon, before, 0, Usage{Requests: 1}).Allowed {
		t.Error("a request that was under way under the old policy has a budget of its own")
	}
}

func TestAMeterIsUsedByMany(t *testing.T) {
	set, meter := limited(t, &Limits{Requests: 1500}, &Limits{Requests: 1000}, &Limits{Requests: 1000}), NewMeter()
	var allowed [2]int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				if meter.Take(noon, set, i%2, Usage{Requests: 1}).Allowed {
					mu.Lock()
					allowed[i%2]++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if allowed[0]+allowed[1] != 1500 || allowed[0] > 1000 || allowed[1] > 1000 {
		t.Errorf("got %v", allowed)
	}
}

func TestAMeterAllocatesNothing(t *testing.T) {
	set, meter := limited(t, &Limits{Requests: 1 << 40, Window: Span(time.Hour)}, &Limits{BytesUp: 1 << 40, Window: Span(time.Minute)}), NewMeter()
	now := noon
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		meter.Take(now, set, 0, Usage{Requests: 1, BytesUp: 1})
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func BenchmarkMeter(b *testing.B) {
	set, meter := limited(b, &Limits{Requests: 1 << 60, Window: Span(time.Hour)}, &Limits{BytesUp: 1 << 60, Window: Span(time.Minute)}), NewMeter()
	b.ReportAllocs()
	for b.Loop() {
		meter.Take(noon, set, 0, Usage{Requests: 1, BytesUp: 1})
	}
}

func TestLimitsAsText(t *testing.T) {
	for want, l := range map[string]Limits{
		"5 requests in all": {Requests: 5}, "5 requests, 10 MiB up, 1000 B down in 1h": {Requests: 5, BytesUp: 10 << 20, BytesDown: 1000, Window: Span(time.Hour)},
		"1 GiB down in 24h": {BytesDown: 1 << 30, Window: Span(24 * time.Hour)}, "1 requests in 1m30s": {Requests: 1, Window: Span(90 * time.Second)}, "1 requests in 10m": {Requests: 1, Window: Span(10 * time.Minute)},
		"1 requests in 20s": {Requests: 1, Window: Span(20 * time.Second)},
	} {
		if got := l.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What is left is what can still be taken, whatever was changed, given back or used before.
func TestWhatIsLeft(t *testing.T) {
	set, meter := limited(t, &Limits{BytesUp: 4096, Window: Span(24 * time.Hour)}, &Limits{Requests: 3, BytesDown: 2048, Window: Span(time.Hour)}, &Limits{Requests: 1}, nil), NewMeter()
	text := func(now time.Time) string {
		var all []string
		for _, l := range meter.Left(now, set) {
			all = append(all, l.Host+": "+l.String())
		}
		return strings.Join(all, "\n")
	}
	want := func(now time.Time, lines ...string) {
		t.Helper()
		if got := text(now); got != strings.Join(lines, "\n") {
			t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(lines, "\n"))
		}
	}
	want(noon, ": 4 KiB of 4 KiB up left in 24h", "a.example: 3 of 3 requests left, 2 KiB of 2 KiB down left in 1h", "b.example: 1 of 1 requests left")
	for route, use := range map[int]Usage{0: {Requests: 2, BytesUp: 1024, BytesDown: 2048}, 1: {Requests: 1, BytesUp: 1}, 2: {Requests: 7, BytesUp: 123}} {
		if !meter.Take(noon, set, route, use).Allowed {
			t.Fatal("refused")
		}
	}
	want(noon, ": 2.8 KiB of 4 KiB up left in 24h", "a.example: 1 of 3 requests left, nothing of 2 KiB down left until 2026-01-01T13:03:45Z in 1h", "b.example: nothing of 1 requests left")
	want(noon.Add(2*time.Hour), ": 2.8 KiB of 4 KiB up left in 24h", "a.example: 3 of 3 requests left, 2 KiB of 2 KiB down left in 1h", "b.example: nothing of 1 requests left")
}

// The routes of a grant are counted together, and what was used before the meter was made
// counts.
func TestASeededMeter(t *testing.T) {
	uses := &Limits{Requests: 3}
	set, meter := newSet(t, Policy{Routes: []Route{{Host: "a.example", Grant: "k-1", Limits: uses}, {Host: "b.example", Grant: "k-1", Limits: uses}, {Host: "c.example", Limits: uses}}}), NewMeter()
	meter.Seed(map[string]Usage{GrantAccount("k-1"): {Requests: 2}})
	left := meter.Left(noon, set)
	if len(left) != 2 || left[0].Grant != "k-1" || left[0].Parts[0].Left != 1 || left[1].Parts[0].Left != 3 {
		t.Errorf("got %+v", left)
	}
	if !meter.Take(noon, set, 1, Usage{Requests: 1}).Allowed || meter.Take(noon, set, 0, Usage{Requests: 1}).Allowed {
		t.Error("what was used before does not count")
	}
}
