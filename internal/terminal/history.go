package terminal

import "slices"

// history is what has scrolled off the main screen: the last so many lines.
type history struct {
	lines []*line // a ring
	first int
	max   int
	count uint64 // of all that ever came
}

// push takes a line in. A history that is full gives its oldest for it, of whatever width:
// nothing is copied then, which is most of what a program costs that prints a great deal.
func (h *history) push(l *line) (free *line) {
	h.count++
	if len(h.lines) < h.max {
		h.lines = append(h.lines, l)
		return nil
	}
	free, h.lines[h.first] = h.lines[h.first], l
	h.first = (h.first + 1) % h.max
	return free
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

// replace puts other lines in the place of all that there are.
func (h *history) replace(lines []*line) {
	h.count += uint64(len(lines)) - uint64(len(h.lines)) // may be fewer
	h.lines, h.first = slices.Clone(lines[max(0, len(lines)-h.max):]), 0
}

func (h *history) clear() { h.lines, h.first = nil, 0 }
