package egress

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// errRevoked ends what a change of the rules no longer allows.
var errRevoked = errors.New("the operator has taken this route back")

// openings are the tunnels and requests under way: what a change of the rules may have
// to end (ATTACKS G13).
type openings struct {
	mu    sync.Mutex
	all   map[*opening]struct{}
	count uint64
}

// opening is one of them.
type opening struct {
	used   *rules         // by which it was decided
	asked  policy.Request // what was decided on; of a tunnel only host and port
	end    func()         // may be called more than once, and must not wait
	number uint64         // in the order in which they were opened
}

// revoked reports whether it must end. So must an answer that is not masked, once the host is told
// a credential.
func (o *opening) revoked(now *rules) bool {
	host := o.asked.Host
	return o.used.set.Revoked(now.set, o.asked) || o.asked.Method != "" && now.credentialFor(host) && !o.used.credentialFor(host)
}

func newOpenings() *openings { return &openings{all: make(map[*opening]struct{})} }

// hold registers an opening until done is called.
func (s *Server) hold(o *opening) (done func()) {
	s.openings.add(o)
	if now := s.rules.Load(); now != o.used && o.revoked(now) { // they changed meanwhile
		o.end()
	}
	return func() { s.openings.remove(o) }
}

func (o *openings) add(one *opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	one.number = o.count
	o.all[one] = struct{}{}
}

func (o *openings) remove(one *opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, one)
}

// review ends what the rules do not allow, the latest first: a request before the tunnel
// that it came through, or it would seem to have been given up by its client.
func (o *openings) review(now *rules) {
	o.mu.Lock()
	var over []*opening
	for one := range o.all {
		if one.revoked(now) {
			over = append(over, one)
		}
	}
	o.mu.Unlock()
	slices.SortFunc(over, func(a, b *opening) int { return cmp.Compare(b.number, a.number) })
	for _, one := range over {
		one.end()
	}
}
