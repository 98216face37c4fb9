package dlp

import (
	"context"
	"fmt"
	"slices"
)

// Bounds of what one stream decompresses, at any depth.
const (
	maxUnpacking = 16  // at a time, each by its weight
	maxRatio     = 100 // bytes for each that came, beside the budget of one scan
)

// bounds are those that a stream and all inside it share.
type bounds struct {
	open int // decompressors, by their weight
	left int // bytes that may be decompressed
}

// weight is how much of a decompressor's memory another one's is, roughly: deflate keeps 32
// KiB, zstd up to 8 MiB, bzip2 up to 3.6 MiB.
func weight(format string) int {
	switch format {
	case "zstd":
		return 3
	case "bzip2":
		return 2
	}
	return 1
}

// unpacking is compressed data under way: what it decompresses to is a stream of its own.
type unpacking struct {
	start  int // in the body
	name   string
	open   func() unpacker
	data   unpacker
	inner  *stream
	begun  bool // and not ended
	strict bool // it must be what it says
}

// decodeWhole undoes content encodings, the outermost first.
func (t *stream) decodeWhole(codings []string) error {
	if len(codings) == 0 {
		return nil
	}
	name := codings[0]
	if !slices.Contains([]string{"gzip", "x-gzip", "deflate", "br", "zstd"}, name) {
		return fmt.Errorf("%w: not one that is known", ErrEncoding)
	}
	t.bounds.open += weight(name)
	t.coding = t.newUnpacking(name, newUnpacker(name), t.depth)
	t.coding.strict = true
	return t.coding.inner.decodeWhole(codings[1:])
}

func (t *stream) newUnpacking(name string, data unpacker, depth int) *unpacking {
	inner := &stream{engine: t.engine, in: t.in, depth: depth, inside: append(slices.Clone(t.inside), name), bounds: t.bounds}
	return &unpacking{name: name, data: data, inner: inner, open: func() unpacker { return newUnpacker(name) }}
}

// unpack hands the new bytes to all that is under way, and begins what was found to go on
// behind the end of what there is.
func (t *stream) unpack(ctx context.Context, p, window []byte, from int, begun []packed) ([]Finding, error) {
	var all []Finding
	if t.coding != nil {
		findings, err := t.coding.write(ctx, p)
		if all = append(all, findings...); err != nil {
			return all, err
		}
	}
	under := t.inner
	t.inner = nil
	for i, u := range under {
		findings, err := u.write(ctx, p)
		all = append(all, findings...)
		if u.begun {
			t.inner = append(t.inner, u)
		} else {
			t.end(u)
		}
		if err != nil {
			t.inner = append(t.inner, under[i+1:]...)
			return all, err
		}
	}
	for _, b := range begun {
		findings, err := t.begin(ctx, window, from, b)
		if all = append(all, findings...); err != nil {
			return all, err
		}
	}
	return all, nil
}

// begin starts on compressed data, unless that is under way already.
func (t *stream) begin(ctx context.Context, window []byte, from int, b packed) ([]Finding, error) {
	start := from + b.at
	if t.depth <= 0 || t.coding != nil && start == 0 || slices.ContainsFunc(t.inner, func(u *unpacking) bool { return u.start == start && u.name == b.format }) {
		return nil, nil
	}
	if t.bounds.open+weight(b.format) > maxUnpacking {
		return nil, ErrBudget
	}
	t.bounds.open += weight(b.format)
	u := t.newUnpacking(b.format, newUnpacker(b.format), t.depth-1)
	u.start = start
	findings, err := u.write(ctx, window[b.at:])
	if u.begun {
		t.inner = append(t.inner, u)
	} else {
		t.end(u)
	}
	return findings, err
}

// write decompresses and searches. What was no compressed data after all is over; where it
// has to be, that is an error.
func (u *unpacking) write(ctx context.Context, p []byte) ([]Finding, error) {
	var all []Finding
	var failed error
	yield := func(out []byte) error {
		var findings []Finding
		if u.inner.bounds.left -= len(out); u.inner.bounds.left < 0 {
			failed = ErrBudget
		} else {
			findings, failed = u.inner.writeAll(ctx, out)
		}
		all = append(all, findings...)
		return failed
	}
	for u.begun = true; ; {
		rest, ended, err := u.data.write(p, yield)
		switch {
		case failed != nil:
			return all, failed
		case err != nil || ended && !u.strict:
			u.begun = false
			if err != nil && u.strict {
				return all, ErrEncoding
			}
			return all, nil
		case !ended:
			return all, nil
		case len(rest) == 0:
			return all, nil
		}
		if u.name != "gzip" && u.name != "x-gzip" {
			return all, ErrEncoding // what is behind the end
		}
		u.data.close()
		u.data, p = u.open(), rest // another member
	}
}

// writeAll searches what was decompressed, and says what it was inside of.
func (t *stream) writeAll(ctx context.Context, p []byte) ([]Finding, error) {
	var all []Finding
	for len(p) > 0 {
		n := min(len(p), windowSize-overlap)
		findings, err := t.next(ctx, p[:n])
		for _, f := range findings { // they have no place in the body itself
			f.Start, f.End = -1, -1
			f.Encoding = slices.Concat(t.inside[len(t.inside)-1:], f.Encoding)
			all = append(all, f)
		}
		if err != nil {
			return all, err
		}
		p = p[n:]
	}
	return all, nil
}

// finish reports whether the body may end here.
func (t *stream) finish() bool {
	return t.coding == nil || !t.coding.begun || t.coding.data.finish() && t.coding.inner.finish()
}

func (t *stream) end(u *unpacking) {
	u.data.close()
	u.inner.close()
	t.bounds.open -= weight(u.name)
}

func (t *stream) close() {
	if t.closed {
		return
	}
	t.closed = true
	if t.coding != nil {
		t.end(t.coding)
	}
	for _, u := range t.inner {
		t.end(u)
	}
	t.inner = nil
}
