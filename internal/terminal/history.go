package terminal

// history is what has scrolled off the main screen: the last so many lines.
type history struct {
	lines []*line // a ring
	first int
	max   int
	count uint64 // of all that ever came
}

func (h *history) push(l *line) {
	if h.max == 0 {
		return
	}
	h.count++
	if len(h.lines) < h.max {
		h.lines = append(h.lines, &line{cells: append([]Cell(nil), l.cells[:l.used]...), used: l.used, wraps: l.wraps})
		return
	}
	old := h.lines[h.first]
	if cap(old.cells) > 4*(l.used+16) {
		old.cells = nil
	}
	old.cells, old.used, old.wraps = append(old.cells[:0], l.cells[:l.used]...), l.used, l.wraps
	h.first = (h.first + 1) % h.max
}

// last returns the last n lines, oldest first.
func (h *history) last(n int) []*line {
	n = min(n, len(h.lines))
	out := make([]*line, 0, n)
	for i := len(h.lines) - n; i < len(h.lines); i++ {
		out = append(out, h.lines[(h.first+i)%len(h.lines)])
	}
	return out
}

func (h *history) clear() { h.lines, h.first = nil, 0 }
