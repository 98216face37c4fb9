package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// How much is measured. mitmproxy is too slow for as many requests as the others.
const (
	egressRounds    = 9
	mitmproxyRounds = 5
	mitmproxyShare  = 10 // it is asked for a tenth
	oneByOne        = 300
	prompts         = 100
	promptSize      = 64 << 10
	streams         = 40
	connections     = 16
	parallel        = 4000
	answerSize      = 16 << 20 // one answer on each connection
)

// measureEgress compares egress, a process of its own that is reached as a bottle reaches
// it, with a direct TLS connection, a bare httputil.ReverseProxy and mitmproxy. All of
// them, the client included, share this machine's processors.
func measureEgress(ctx context.Context, l *lab.Lab) ([]figure, error) {
	b, err := newBottle(ctx, l)
	if err != nil {
		return nil, err
	}
	defer b.close()
	sides, err := b.sides(ctx)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, measure := range []func() ([]figure, error){
		func() ([]figure, error) { return measureLatency(ctx, sides) },
		func() ([]figure, error) { return measurePrompts(ctx, sides[:2]) },
		func() ([]figure, error) { return measureFirstByte(ctx, sides[:2]) },
		func() ([]figure, error) { return measureRequests(ctx, sides) },
		func() ([]figure, error) { return measureBytes(ctx, sides) },
		func() ([]figure, error) { return measureGrowth(ctx, b) },
		func() ([]figure, error) { return measureTunnels(ctx, b) },
	} {
		got, err := measure()
		if err != nil {
			return nil, err
		}
		figures = append(figures, got...)
	}
	return figures, nil
}

// sides are direct and egress, then those that egress is compared with.
func (b *bottle) sides(ctx context.Context) ([]*side, error) {
	egress, err := b.egress(ctx)
	if err != nil {
		return nil, err
	}
	reverse, err := b.reverse(ctx)
	if err != nil {
		return nil, err
	}
	mitmproxy, err := b.mitmproxy(ctx)
	if errors.Is(err, errNoRival) {
		return []*side{b.direct(), egress, reverse}, nil
	}
	return []*side{b.direct(), egress, reverse, mitmproxy}, err
}

// alternate goes round for round through the sides, since the machine's mood changes.
func alternate(sides []*side, measure func(*side) error) error {
	for round := range egressRounds {
		for _, s := range sides {
			if s.name == "mitmproxy" && round >= mitmproxyRounds {
				continue
			}
			if err := measure(s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// samples are a value of each side for each round.
type samples map[string][]float64

func (s samples) add(side *side, value float64) { s[side.name] = append(s[side.name], value) }

// median is that of one side.
func (s samples) median(name string) float64 { return middle(s[name]) }

// added is by how much a side takes longer than a direct connection.
func (s samples) added(name string) float64 {
	var differences []float64
	for i, value := range s[name] {
		differences = append(differences, value-s["direct"][i])
	}
	return middle(differences)
}

// ratio is how many times as much one side does as another.
func (s samples) ratio(name, other string) float64 {
	var ratios []float64
	for i := range min(len(s[name]), len(s[other])) {
		ratios = append(ratios, s[name][i]/s[other][i])
	}
	return middle(ratios)
}

// overMitmproxy is the ratio that the issue asks for, or says that there was no mitmproxy.
func (s samples) overMitmproxy(name string) figure {
	if len(s["mitmproxy"]) == 0 {
		return atLeast(name, 0, "×", 10).unmeasured(errNoRival.Error())
	}
	return atLeast(name, s.ratio("egress", "mitmproxy"), "×", 10)
}

func middle(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// quantile is the time within which so many of a hundred ended.
func quantile(times []time.Duration, percent int) float64 {
	return ms(slices.Sorted(slices.Values(times))[len(times)*percent/100])
}

func measureLatency(ctx context.Context, sides []*side) ([]figure, error) {
	p50, p99 := samples{}, samples{}
	err := alternate(sides, func(s *side) error {
		times, err := s.ask(ctx, request{path: "/short"}, s.share(oneByOne), whole)
		if err == nil {
			p50.add(s, quantile(times, 50))
			p99.add(s, quantile(times, 99))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	figures := []figure{
		atMost("egress.added_p50_ms", p50.added("egress"), "ms", 0.5),
		atMost("egress.added_p99_ms", p99.added("egress"), "ms", 3),
		report("egress.direct_p50_ms", p50.median("direct"), "ms"),
		report("egress.direct_p99_ms", p99.median("direct"), "ms"),
	}
	for _, s := range sides[2:] {
		figures = append(figures,
			report("egress."+s.name+"_added_p50_ms", p50.added(s.name), "ms"),
			report("egress."+s.name+"_added_p99_ms", p99.added(s.name), "ms"))
	}
	return figures, nil
}

// measurePrompts sends what an agent sends: a long request, which is looked through.
func measurePrompts(ctx context.Context, sides []*side) ([]figure, error) {
	p50 := samples{}
	err := alternate(sides, func(s *side) error {
		times, err := s.ask(ctx, request{path: "/short", send: promptSize}, prompts, whole)
		if err == nil {
			p50.add(s, quantile(times, 50))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		report("egress.prompt_added_p50_ms", p50.added("egress"), "ms"),
		report("egress.prompt_direct_p50_ms", p50.median("direct"), "ms"),
	}, nil
}

// measureFirstByte takes the time to the first byte of an event stream, and no more.
func measureFirstByte(ctx context.Context, sides []*side) ([]figure, error) {
	p50 := samples{}
	err := alternate(sides, func(s *side) error {
		times, err := s.ask(ctx, request{path: "/v1/messages", send: 1 << 10}, streams, firstByte)
		if err == nil {
			p50.add(s, quantile(times, 50))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		atMost("egress.first_byte_added_ms", p50.added("egress"), "ms", 1),
		report("egress.first_byte_direct_ms", p50.median("direct"), "ms"),
	}, nil
}

// measureRequests takes how many short requests go through in a second.
func measureRequests(ctx context.Context, sides []*side) ([]figure, error) {
	rate, cost, ends := samples{}, samples{}, samples{}
	err := alternate(sides, func(s *side) error {
		count := s.share(parallel)
		used, took, err := s.together(ctx, request{path: "/short"}, count)
		if err == nil {
			rate.add(s, float64(count)/took.Seconds())
			cost.add(s, float64(used.between.Microseconds())/float64(count))
			ends.add(s, float64(used.ends.Microseconds())/float64(count))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		atLeast("egress.requests_of_direct", rate.ratio("egress", "direct"), "×", 0.5),
		rate.overMitmproxy("egress.requests_of_mitmproxy"),
		report("egress.requests_of_reverse", rate.ratio("egress", "reverse"), "×"),
		report("egress.requests_per_s", rate.median("egress"), "/s"),
		report("egress.direct_requests_per_s", rate.median("direct"), "/s"),
		report("egress.cpu_us_per_request", cost.median("egress"), "µs"),
		report("egress.reverse_cpu_us_per_request", cost.median("reverse"), "µs"),
		report("egress.ends_cpu_us_per_request", ends.median("egress"), "µs"),
		report("egress.direct_ends_cpu_us_per_request", ends.median("direct"), "µs"),
	}, nil
}

// measureBytes takes how much of long answers goes through in a second.
func measureBytes(ctx context.Context, sides []*side) ([]figure, error) {
	rate, cost, ends := samples{}, samples{}, samples{}
	err := alternate(sides, func(s *side) error {
		size := s.share(answerSize)
		used, took, err := s.together(ctx, request{path: fmt.Sprintf("/down?n=%d", size)}, connections)
		if err == nil {
			mib := float64(size*connections) / (1 << 20)
			rate.add(s, mib/took.Seconds())
			cost.add(s, ms(used.between)/mib)
			ends.add(s, ms(used.ends)/mib)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		atLeast("egress.bytes_of_direct", rate.ratio("egress", "direct"), "×", 0.5),
		rate.overMitmproxy("egress.bytes_of_mitmproxy"),
		report("egress.bytes_of_reverse", rate.ratio("egress", "reverse"), "×"),
		report("egress.mib_per_s", rate.median("egress"), "MiB/s"),
		report("egress.direct_mib_per_s", rate.median("direct"), "MiB/s"),
		report("egress.cpu_ms_per_mib", cost.median("egress"), "ms"),
		report("egress.reverse_cpu_ms_per_mib", cost.median("reverse"), "ms"),
		report("egress.ends_cpu_ms_per_mib", ends.median("egress"), "ms"),
		report("egress.direct_ends_cpu_ms_per_mib", ends.median("direct"), "ms"),
	}, nil
}

// share is how much of n a side is asked for.
func (s *side) share(n int) int {
	if s.name == "mitmproxy" {
		return n / mitmproxyShare
	}
	return n
}
