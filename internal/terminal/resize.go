package terminal

import "slices"

// Resize changes the size. On the main screen, and in what has scrolled off it, a line that had
// no room is wrapped anew; what has no room any more scrolls off, and comes back when there is.
// The alternate screen is cut or lengthened: its programs draw it again.
func (s *Screen) Resize(width, height int) {
	width, height = bounded(width, height)
	if width == s.width && height == s.height {
		return
	}
	s.Version++
	s.mainDrawn = s.Version
	s.resizeMain(width, height)
	s.lines[1] = resized(s.lines[1], width, height)
	s.width, s.height = width, height
	s.top, s.bottom = 0, height
	s.clamp(&s.cursor)
	s.clamp(&s.saved[0])
	s.clamp(&s.saved[1])
	s.resetTabs()
}

// resized are lines that are cut or lengthened, and as many as there is room for.
func resized(lines []*line, width, height int) []*line {
	lines = lines[:min(len(lines), height)]
	for _, l := range lines {
		l.resize(width)
	}
	return append(slices.Clip(lines), blank(width, height-len(lines))...)
}

func (l *line) resize(width int) {
	if width == len(l.cells) {
		return
	}
	cells := make([]Cell, width)
	copy(cells, l.cells)
	l.cells, l.used, l.wraps = cells, min(l.used, width), false
	l.mend(width - 1)
}

// place is a cell among lines. It may be behind the end of one.
type place struct{ line, at int }

// resizeMain puts the main screen and its history into another size.
func (s *Screen) resizeMain(width, height int) {
	above := len(s.history.lines)
	all := slices.Concat(s.history.last(above), s.lines[0])
	cursor := &s.cursor
	if s.alternate == 1 {
		cursor = &s.saved[0]
	}
	last := above + cursor.y
	for y := len(all) - 1; y > last; y-- {
		if all[y].used > 0 {
			last = y
		}
	}
	full := last == len(all)-1
	all = all[:last+1]
	places := []place{{above, 0}, cursor.place(above), s.saved[0].place(above)}
	if width != s.width {
		all, places = rewrap(all, width, places)
	}
	first := places[0].line
	if over := len(all) - height; full || over > first {
		first = max(0, over)
	}
	first = min(first, places[1].line)
	s.history.replace(all[:first])
	s.lines[0] = resized(all[first:], width, height)
	s.saved[0].put(places[2], first, width)
	cursor.put(places[1], first, width)
}

// place of a cursor. One that is about to wrap is behind the line.
func (c *cursor) place(above int) place {
	at := c.x
	if c.pending {
		at++
	}
	return place{above + c.y, at}
}

// put moves a cursor to its place among the lines of which first is the screen's first.
func (c *cursor) put(p place, first, width int) {
	c.pending = c.pending && p.at == width
	c.x, c.y = min(p.at, width-1), max(0, p.line-first)
}

// rewrap puts lines into another width, and tells where places in them are then.
func rewrap(lines []*line, width int, places []place) ([]*line, []place) {
	var all []*line
	moved := make([]place, len(places))
	for from := 0; from < len(lines); {
		to := from + 1
		for to < len(lines) && lines[to-1].wraps {
			to++
		}
		cells, begins := join(lines[from:to])
		rows, starts := split(cells, width)
		for i, p := range places {
			if p.line >= from && p.line < to {
				row, at := find(starts, begins[p.line-from]+p.at)
				moved[i] = place{len(all) + row, at}
			}
		}
		all, from = append(all, rows...), to
	}
	for i, p := range places {
		if p.line >= len(lines) {
			moved[i] = place{p.line - len(lines) + len(all), p.at}
		}
	}
	return all, moved
}

// join is one line of several that wrap, and where in it each of them begins.
func join(lines []*line) (cells []Cell, begins []int) {
	for _, l := range lines {
		begins = append(begins, len(cells))
		cells = append(cells, l.cells[:l.used]...)
	}
	return cells, begins
}

// split wraps a line, and tells where in it each part begins. No wide character is cut in two,
// and what is blank at the end makes no line of its own.
func split(cells []Cell, width int) (rows []*line, starts []int) {
	text := len(cells)
	for text > 0 && cells[text-1].char == 0 {
		text--
	}
	for at := 0; at < text || at == 0; {
		n := min(width, text-at)
		if n == width && cells[at+n-1].Style.Attr&wide != 0 {
			n--
		}
		l := &line{cells: make([]Cell, width), used: n, wraps: at+n < text}
		copy(l.cells, cells[at:at+n])
		rows, starts = append(rows, l), append(starts, at)
		if at += n; at >= text {
			l.used += copy(l.cells[n:], cells[text:])
			break
		}
	}
	return rows, starts
}

// find tells in which part a place of the whole line is, and where in that.
func find(starts []int, at int) (row, x int) {
	for row = len(starts) - 1; row > 0 && starts[row] > at; row-- {
	}
	return row, at - starts[row]
}
