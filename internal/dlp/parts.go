package dlp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Parts are the parts of known values that were seen in some data, which are of interest
// together with those in other data. They say which, never what. They are of one scanner.
type Parts struct{ pieces []piece }

// Format prints how many.
func (p Parts) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[%d parts]", len(p.pieces)) }

// Len is how many there are.
func (p Parts) Len() int { return len(p.pieces) }

// ScanAlone searches data beside nothing else, whatever its Memory is. ScanAlone and then Join
// find what Scan finds: who keeps the parts of what was clean need not search it again.
func (s *Scanner) ScanAlone(ctx context.Context, in Input) ([]Finding, Parts, error) {
	in.Memory = nil
	c := s.engine().newScan(ctx, in)
	c.document()
	findings, err := c.done()
	return findings, Parts{distinct(c.pieces)}, err
}

// distinct is each of pieces once.
func distinct(pieces []piece) []piece {
	slices.SortFunc(pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	return slices.Clip(slices.Compact(pieces))
}

// Join puts parts together with those that memory has, which remembers them.
func (s *Scanner) Join(memory *Memory, p Parts) []Finding {
	c := s.engine().newScan(context.Background(), Input{Kind: Body, Memory: memory})
	c.together(p.pieces)
	findings, _ := c.done()
	return findings
}
