package dlp

import (
	"context"
	"fmt"
)

// Stream searches a body as it comes. What a call to Write is given must not go on
// before that call has returned without a finding: then no secret has left whole,
// however the body is cut. It is used by one goroutine at a time. Of compressed data
// inside the body only what one window holds is seen.
type Stream struct{ stream func() *stream }

// Format prints nothing of the body.
func (s Stream) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp stream]") }

type stream struct {
	engine *engine
	in     Input
	window []byte // the end of what was searched, and room for more
	before int    // bytes of the body that are no more in the window
	pieces []piece
	told   []Finding
}

// NewStream begins the search of a body that in describes; its Data is not looked at.
// A body in a content encoding has to be searched whole, by Scan.
func (s *Scanner) NewStream(in Input) (*Stream, error) {
	if len(encodings(in.ContentEncoding)) > 0 {
		return nil, fmt.Errorf("%w: not as a stream", ErrEncoding)
	}
	in.Data = nil
	t := &stream{engine: s.engine(), in: in}
	return &Stream{func() *stream { return t }}, nil
}

// Write searches the next part of the body, together with the end of what came before,
// and returns what was not found before. Offsets are those in the whole body.
func (s *Stream) Write(ctx context.Context, p []byte) ([]Finding, error) {
	t := s.stream()
	var all []Finding
	for len(p) > 0 {
		n := min(len(p), windowSize-overlap)
		findings, err := t.next(ctx, p[:n])
		all = append(all, findings...)
		if err != nil {
			return all, err
		}
		p = p[n:]
	}
	return all, nil
}

func (t *stream) next(ctx context.Context, p []byte) ([]Finding, error) {
	t.window = append(t.window, p...)
	in := t.in
	in.Data = t.window
	c := t.engine.newScan(ctx, in)
	c.plain(&view{data: t.window})
	if before := len(t.pieces); t.remember(c.pieces) > before {
		c.together(t.pieces)
	}
	findings, err := c.done()
	var fresh []Finding
	for _, f := range findings {
		if f.Start >= 0 {
			f.Start, f.End = f.Start+t.before, f.End+t.before
		}
		if !t.knows(f) {
			fresh = append(fresh, f)
		}
	}
	t.told = append(t.told, fresh...)
	if over := len(t.window) - overlap; over > 0 {
		t.window = t.window[:copy(t.window, t.window[over:])]
		t.before += over
	}
	if len(t.told) > maxFindings && err == nil {
		err = ErrBudget
	}
	return fresh, err
}

// remember keeps each piece once, and few enough. It returns how many there are.
func (t *stream) remember(pieces []piece) int {
	for _, p := range pieces {
		known := false
		for _, old := range t.pieces {
			known = known || old.known == p.known && old.from <= p.from && old.to >= p.to
		}
		if !known && len(t.pieces) < maxFindings {
			t.pieces = append(t.pieces, p)
		}
	}
	return len(t.pieces)
}

func (t *stream) knows(f Finding) bool {
	for _, old := range t.told {
		if old.covers(f) {
			return true
		}
	}
	return false
}
