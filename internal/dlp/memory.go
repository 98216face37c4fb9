package dlp

import (
	"fmt"
	"slices"
	"sync"
)

// Memory is what the last requests of one bottle had of known values: which parts of
// them, never more. A request in which one was found is not remembered: it is refused. It
// may be used concurrently, with one scanner.
type Memory struct{ memory func() *memory }

// Format prints nothing of what was seen.
func (Memory) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp memory]") }

type memory struct {
	mu       sync.Mutex
	requests [][]piece // a ring
	next     int
}

// maxPieces bounds what is kept of one request.
const maxPieces = 256

// NewMemory remembers the parts of known values in so many requests that had any.
func NewMemory(requests int) *Memory {
	m := &memory{requests: make([][]piece, max(requests, 1))}
	return &Memory{func() *memory { return m }}
}

// with returns pieces and all that are remembered. Without pieces of its own a request
// adds nothing to what is remembered, and nothing is put together.
func (of *Memory) with(pieces []piece) []piece {
	if of == nil || len(pieces) == 0 {
		return pieces
	}
	m := of.memory()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Clone(pieces)
	for _, request := range m.requests {
		all = append(all, request...)
	}
	return all
}

// keep remembers the pieces of a request.
func (of *Memory) keep(pieces []piece) {
	if of == nil || len(pieces) == 0 {
		return
	}
	m := of.memory()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[m.next] = slices.Clone(pieces[:min(len(pieces), maxPieces)])
	m.next = (m.next + 1) % len(m.requests)
}
