package dlp

import (
	"math"
	"unicode/utf8"
)

// symbols decodes what is written in some alphabet; long are the view's long runs.
func (c *scan) symbols(v *view, depth int, long []run) {
	if depth <= 0 || len(v.data) < c.least*4/3 {
		return
	}
	c.packed(v, depth, c.base64, v.data, 0)
	c.packed(v, depth, c.hex, v.data, 0)
	c.base32Runs(v, depth)
	c.base58Runs(v, depth, long)
	c.base85Runs(v, depth, long)
	c.numbers(v, depth)
}

// packed reads the symbols of a part of the view that begins at base, at each alignment
// at which they may be something.
func (c *scan) packed(v *view, depth int, a *alphabet, part []byte, base int) {
	if !c.work(len(part)) {
		return
	}
	symbols := a.squeeze(c.borrow(), part)
	packed := a.pack(c.borrow(), symbols)
	c.giveBack(symbols)
	child := func(l late, data []byte, at int) *view {
		return v.child(a.name, data, func(start, end int) (int, int) {
			from, to := a.span(part, l.shift, at+start, at+end)
			return base + from, base + to
		})
	}
	telling := c.textLate(a, packed, depth-1, child)
	if mayHoldWideText(packed) {
		telling |= a.mask
	}
	if depth > 1 {
		telling |= c.inflateLate(v, a, packed, depth-1)
	}
	for _, shift := range a.shifts {
		l := late{packed, shift}
		if telling&(0x80>>shift) == 0 && (v.turned || len(packed) < minWide || !l.hasWide()) {
			continue
		}
		if !c.work(len(packed)) {
			break
		}
		data := l.part(c.borrow(), 0, l.len())
		c.bytes(child(l, data, 0), depth-1)
		c.giveBack(data)
	}
	c.giveBack(packed)
}

// textLate searches the short runs of text in packed symbols, and tells at which shifts
// there are longer ones.
func (c *scan) textLate(a *alphabet, packed []byte, depth int, child func(late, []byte, int) *view) (more byte) {
	const reach = 64
	eachText(packed, a.mask, c.least, func(l late, i int) (int, bool) {
		from, to := max(0, i-reach), min(l.len(), i+reach)
		near := l.part(c.borrow(), from, to)
		defer c.giveBack(near)
		start, end := around(near, i-from)
		if start < utf8.UTFMax && from > 0 || end > len(near)-utf8.UTFMax && to < l.len() {
			more |= 0x80 >> l.shift
			return 0, false
		}
		if end-start >= c.least && c.decode(end-start) {
			v := child(l, near, from)
			c.watched(v, start, end)
			c.view(v.part(start, end), depth)
		}
		return from + end, true
	})
	return more
}

// trial is how much of what may be compressed is decompressed to see whether it is.
const trial = 512

// inflateLate searches what is compressed in packed symbols, where that is no more than
// a trial shows, and tells at which shifts there may be more.
func (c *scan) inflateLate(v *view, a *alphabet, packed []byte, depth int) (more byte) {
	c.magics.each(packed, a, func(l late, i int) {
		bit := byte(0x80) >> l.shift
		if more&bit != 0 {
			return
		}
		near := l.part(c.borrow(), i, min(l.len(), i+trial))
		defer c.giveBack(near)
		if body := zlibBody(near); body != nil {
			ended := c.deflated(v.child(a.name, nil, nil).child("zlib", nil, nil), body, depth-1)
			if ended || i+trial >= l.len() && c.end == math.MaxInt {
				return
			}
		} else if near[0] == 'x' || !startsCompressed(near) {
			return
		}
		more |= bit
	})
	return more
}

// bytes searches what was decoded, which may be text in places.
func (c *scan) bytes(v *view, depth int) {
	run := func(start, end int) {
		if c.decode(end - start) {
			c.watched(v, start, end)
			c.view(v.part(start, end), depth)
		}
	}
	textRuns(v.data, c.least, run)
	if !v.parent.turned {
		wideRuns(v.data, run)
	}
	paddedRuns(v.data, c.least, run)
	c.inflate(v, depth)
}

// promising reports whether something short that was decoded is worth a view.
func (c *scan) promising(data []byte) bool {
	text := false
	eachText(data, 0x80, c.least, func(late, int) (int, bool) {
		text = true
		return 0, false
	})
	return text || startsCompressed(data)
}
