package terminal

func (s *Screen) eraseScreen(how int) {
	s.pending = false
	lines := s.lines[s.alternate]
	switch how {
	case 0:
		s.eraseLine(0)
		lines = lines[s.y+1:]
	case 1:
		s.eraseLine(1)
		lines = lines[:s.y]
	case 2:
	case 3:
		s.history.clear()
		return
	default:
		return
	}
	for _, l := range lines {
		l.erase(0, s.width, s.pen.Bg)
		l.wraps = false
	}
}

func (s *Screen) eraseLine(how int) {
	from, to := s.x, s.width
	switch how {
	case 1:
		from, to = 0, s.x+1
	case 2:
		from = 0
	}
	s.pending = false
	l := s.line()
	l.erase(from, to, s.pen.Bg)
	l.mendAll(from, to)
}

// mendAll blanks what is left of wide characters at the edges of what was erased or moved.
func (l *line) mendAll(from, to int) {
	for _, x := range []int{from - 1, from, to - 1, to} {
		l.mend(x)
	}
}

func (s *Screen) insertLines(n int, in bool) {
	if s.y < s.top || s.y >= s.bottom {
		return
	}
	if n = min(n, s.height); in {
		n = -n
	}
	s.moveLines(s.y, s.bottom, n, false)
	s.x, s.pending = 0, false
}

func (s *Screen) insertCells(n int) {
	s.pending = false
	l := s.line()
	n = min(n, s.width-s.x)
	copy(l.cells[s.x+n:], l.cells[s.x:])
	l.used = min(s.width, max(l.used+n, s.x+n))
	for i := range n {
		l.cells[s.x+i] = Cell{Style: Style{Bg: s.pen.Bg}}
	}
	l.mendAll(s.x, s.x+n)
	l.mend(s.width - 1)
}

func (s *Screen) deleteCells(n int) {
	s.pending = false
	l := s.line()
	n = min(n, s.width-s.x)
	copy(l.cells[s.x:], l.cells[s.x+n:])
	l.used = s.width
	l.erase(s.width-n, s.width, s.pen.Bg)
	l.mendAll(s.x, s.width-n)
}
