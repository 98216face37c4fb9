package dlp

import (
	"fmt"
	"sync"
)

// Memory is what the last requests of one bottle had of known values: which parts of
// them, never more. It may be used concurrently, with one scanner.
type Memory struct{ memory func() *memory }

// Format prints nothing of what was seen.
func (m Memory) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp memory]") }

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

// with adds a request's pieces and returns all that are remembered.
func (of *Memory) with(pieces []piece) []piece {
	if of == nil {
		return pieces
	}
	m := of.memory()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(pieces) > 0 {
		m.requests[m.next] = append([]piece(nil), pieces[:min(len(pieces), maxPieces)]...)
		m.next = (m.next + 1) % len(m.requests)
	}
	var all []piece
	for _, request := range m.requests {
		all = append(all, request...)
	}
	return append(all, pieces...)
}
