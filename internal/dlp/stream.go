package dlp

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// Stream searches a body as it comes. What a call to Write is given must not go on
// before that call has returned without a finding: then no secret has left whole,
// however the body is cut. Compressed data in it is decompressed as it comes; where it
// is encoded besides (base64 of gzip), only what one window holds is seen. Where writes
// are small, a secret in more than a thousand letters and digits of which no decoding
// shows a part before its end (escapes of escapes of escapes) may be told up to four
// kilobytes late. It may be used concurrently; its Writes are in some order then.
type Stream struct{ stream func() *stream }

// Format prints nothing of the body.
func (s Stream) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp stream]") }

type stream struct {
	mu     sync.Mutex
	engine *engine
	in     Input
	depth  int      // as of the scans of its windows
	inside []string // encodings that were undone before
	window []byte   // the end of what was searched, and room for more
	before int      // bytes of the body that are no more in the window
	open   int      // where in the body begins what was not at its end
	whole  int      // bytes of the body when the whole window was searched last
	worked int      // bytes that some pass went over
	pieces []piece
	told   []Finding

	coding *unpacking   // of the whole body; nil for none
	inner  []*unpacking // under way in the body
	bounds *bounds
	watch  func(p []byte) error // may be nil
	closed bool
}

// NewStream begins the search of a body that in describes; its Data is not looked at. Close
// it.
func (s *Scanner) NewStream(in Input) (*Stream, error) {
	codings := encodings(in.ContentEncoding)
	if len(codings) > maxCodings {
		return nil, fmt.Errorf("%w: %d codings", ErrEncoding, len(codings))
	}
	in.Data, in.ContentEncoding = nil, ""
	e := s.engine()
	t := &stream{engine: e, in: in, depth: e.depth, bounds: &bounds{left: e.budget}}
	if err := t.decodeWhole(codings); err != nil {
		t.close()
		return nil, err
	}
	return &Stream{func() *stream { return t }}, nil
}

// Write searches the next part of the body, together with the end of what came before,
// and returns what was not found before. Offsets are those in the whole body.
func (s *Stream) Write(ctx context.Context, p []byte) ([]Finding, error) {
	t := s.stream()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	var all []Finding
	for len(p) > 0 {
		n := min(len(p), windowSize-overlap)
		t.bounds.left += n * maxRatio
		findings, err := t.next(ctx, p[:n])
		all = append(all, findings...)
		if err != nil {
			return all, err
		}
		p = p[n:]
	}
	return all, nil
}

// Watch has look see all of the body, decoded, before it is searched; its error is
// Write's.
func (s *Stream) Watch(look func(p []byte) error) {
	outer := s.stream()
	outer.mu.Lock()
	defer outer.mu.Unlock()
	inner := outer
	for inner.coding != nil {
		inner = inner.coding.inner
	}
	inner.watch = look
}

// End reports whether the body may end here: an error says that it was cut short within
// its content encoding.
func (s *Stream) End() error {
	t := s.stream()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !t.finish() {
		return ErrEncoding
	}
	return nil
}

// Close lets go of what the stream holds. It may be called at any time, and twice.
func (s *Stream) Close() {
	t := s.stream()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.close()
}

func (t *stream) next(ctx context.Context, p []byte) ([]Finding, error) {
	if t.watch != nil {
		if err := t.watch(p); err != nil {
			return nil, err
		}
	}
	from := t.context(len(p))
	t.window = append(t.window, p...)
	if from == 0 {
		t.whole = t.before + len(t.window)
	}
	in := t.in
	in.Data = t.window[from:]
	from += t.before
	c := t.engine.newScan(ctx, in)
	c.depth = t.depth
	c.watch()
	c.plain(&view{data: in.Data, cutOut: t.before+len(t.window) > smallView})
	t.open, t.worked = from+c.open, t.worked+c.worked
	if before := len(t.pieces); t.remember(c.pieces) > before {
		c.together(t.pieces)
	}
	findings, err := c.done()
	fresh := t.untold(findings, from)
	if err == nil {
		var more []Finding
		more, err = t.unpack(ctx, p, in.Data, from, c.packs)
		fresh = append(fresh, t.untold(more, 0)...)
	}
	if over := len(t.window) - overlap; over > 0 {
		t.window = t.window[:copy(t.window, t.window[over:])]
		t.before += over
	}
	if len(t.told) > maxFindings && err == nil {
		err = ErrBudget
	}
	return fresh, err
}

// untold puts findings where they are in the body, and drops those that were told.
func (t *stream) untold(findings []Finding, from int) []Finding {
	var fresh []Finding
	for _, f := range findings {
		if f.Start >= 0 {
			f.Start, f.End = f.Start+from, f.End+from
		}
		if !t.knows(f) {
			fresh = append(fresh, f)
		}
	}
	t.told = append(t.told, fresh...)
	return fresh
}

// context is where in the window to begin, so that what so many new bytes may end is seen
// from its own beginning: runs of text that some decoding found at the end of what came
// before, and so much before the new bytes that a run too short to be found is in it.
// Letters and digits are counted, since what else stands between them means nothing to
// most encodings, and those of an escape as one. Of many small parts the whole window is
// searched from time to time.
func (t *stream) context(fresh int) int {
	end := len(t.window)
	if t.before+end+fresh-t.whole >= overlap/4 {
		return 0
	}
	from := end
	for n, behind := 0, 0; from > 0 && n < t.engine.reach; from-- {
		switch c := t.window[from-1]; {
		case isAlnum(c):
			n, behind = n+1, behind+1
		case escapes(c):
			n, behind = n-max(0, min(behind, escaped)-1), 0
		}
	}
	from = min(from, max(t.open-t.before, 0))
	for from > 0 && inToken(t.window[from-1]) {
		from--
	}
	return from
}

// escaped is how many letters and digits an escape has: \u0041.
const escaped = 5

// inToken reports whether c may be in a token or in an escape.
func inToken(c byte) bool { return isAlnum(c) || strings.IndexByte(`-_.~+/=%&#;\`, c) >= 0 }

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
		if covers(old, f) {
			return true
		}
	}
	return false
}
