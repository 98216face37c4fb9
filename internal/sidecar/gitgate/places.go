package gitgate

import (
	"context"
	"sync"
)

// How much runs at once. The last places are for repositories that have none: the upstreams of the
// others may hang, and whoever waits for one, or for who does, keeps his place.
const (
	maxOperations = 12
	maxCrowd      = 6 // of those, for whoever comes
)

// places are shared out among repositories. They may be used concurrently.
type places struct {
	mu    sync.Mutex
	taken int
	of    map[*mirror]int
	freed chan struct{} // closed when one is given back
}

func newPlaces() *places {
	return &places{of: make(map[*mirror]int), freed: make(chan struct{})}
}

// take waits for a place for work with a mirror; release gives it back.
func (p *places) take(ctx context.Context, m *mirror) (release func(), err error) {
	for {
		freed, ok := p.try(m)
		if ok {
			return sync.OnceFunc(func() { p.giveBack(m) }), nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *places) try(m *mirror) (freed <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := maxCrowd
	if p.of[m] == 0 {
		most = maxOperations
	}
	if p.taken >= most {
		return p.freed, false
	}
	p.taken++
	p.of[m]++
	return nil, true
}

func (p *places) giveBack(m *mirror) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[m]--; p.of[m] == 0 {
		delete(p.of, m)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}
