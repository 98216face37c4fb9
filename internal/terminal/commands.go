package terminal

import (
	"bytes"
	"slices"
)

func (s *Screen) escape(q *sequence) {
	switch {
	case q.is("7"):
		s.saved[s.alternate] = s.cursor
	case q.is("8"):
		s.cursor = s.saved[s.alternate]
	case q.is("D"):
		s.index()
	case q.is("E"):
		s.x, s.pending = 0, false
		s.index()
	case q.is("H"):
		s.tabs[s.x] = true
	case q.is("M"):
		s.reverseIndex()
	case q.is("="), q.is(">"):
		s.keypad = q.final == '='
	case q.is("c"):
		s.reset()
		s.Title = ""
	case q.is("Z"):
		s.answerKind()
	case q.is("#8"):
		s.align()
	case q.inters == 1 && bytes.IndexByte([]byte("()*+"), q.inter[0]) >= 0 && bytes.IndexByte([]byte("0AB"), q.final) >= 0:
		s.sets[q.inter[0]-'('] = q.final
	}
}

func (s *Screen) reverseIndex() {
	s.pending = false
	if s.y == s.top {
		s.scroll(-1)
	} else {
		s.y = max(s.y-1, 0)
	}
}

// align fills the screen with E, which is how its edges are seen.
func (s *Screen) align() {
	s.top, s.bottom = 0, s.height
	s.x, s.y, s.pending = 0, 0, false
	for _, l := range s.lines[s.alternate] {
		for x := range l.cells {
			l.cells[x] = Cell{char: 'E'}
		}
		l.used = s.width
	}
}

func (s *Screen) csi(q *sequence) {
	switch {
	case q.prefix == 0 && q.inters == 0:
		s.plain(q)
	case q.is("?h"), q.is("?l"):
		q.each(func(mode int) { s.setMode(mode, q.final == 'h') })
	case q.is("?J"):
		s.eraseScreen(q.param(0, 0))
	case q.is("?K"):
		s.eraseLine(q.param(0, 0))
	case q.is("!p"):
		s.softReset()
	case q.is(" q"):
		s.shape = min(q.param(0, 0), 6)
	case q.is(">u"), q.is("<u"), q.is("=u"):
		s.setKeys(q)
	case q.is(">m"):
		if q.param(0, 0) == 4 {
			s.modified = min(q.param(1, 0), 3)
		}
	default:
		s.answerTo(q)
	}
}

func (s *Screen) softReset() {
	s.insert, s.hidden, s.keypad, s.shape, s.modified = false, false, false, 0, 0
	s.top, s.bottom = 0, s.height
	s.pen, s.sets, s.shift, s.origin, s.nowrap = Style{}, [4]byte{'B', 'B', 'B', 'B'}, 0, false, false
	delete(s.modes, 1)
}

func (s *Screen) plain(q *sequence) {
	n := q.param(0, 1)
	switch q.final {
	case '@':
		s.insertCells(n)
	case 'A', 'k':
		s.up(n)
	case 'B', 'e':
		s.down(n)
	case 'C', 'a':
		s.moveTo(s.x+n, s.y)
	case 'D', 'j':
		s.moveTo(s.x-n, s.y)
	case 'E':
		s.down(n)
		s.x = 0
	case 'F':
		s.up(n)
		s.x = 0
	case 'G', '`':
		s.moveTo(n-1, s.y)
	case 'H', 'f':
		s.goTo(q.param(1, 1)-1, n-1)
	case 'd':
		s.goTo(s.x, n-1)
	case 'I':
		s.tab(min(n, s.width))
	case 'Z':
		s.tab(-min(n, s.width))
	case 'J':
		s.eraseScreen(q.param(0, 0))
	case 'K':
		s.eraseLine(q.param(0, 0))
	case 'L', 'M':
		s.insertLines(n, q.final == 'L')
	case 'P':
		s.deleteCells(n)
	case 'X':
		s.pending = false
		l := s.line()
		l.erase(s.x, s.x+min(n, s.width), s.pen.Bg)
		l.mendAll(s.x, s.x+n)
	case 'S':
		s.scroll(min(n, s.height))
	case 'T':
		s.scroll(-min(n, s.height))
	case 'b':
		s.repeat(n)
	case 'g':
		s.clearTabs(q.param(0, 0))
	case 'h', 'l':
		q.each(func(mode int) { s.insert = s.insert && mode != 4 || mode == 4 && q.final == 'h' })
	case 'm':
		s.pen.set(q)
	case 'r':
		s.region(q)
	case 's':
		s.saved[s.alternate] = s.cursor
	case 'u':
		s.cursor = s.saved[s.alternate]
	default:
		s.answerTo(q)
	}
}

// repeat draws the last character again: no more of them than fill the screen, or than pass to
// the operator's.
func (s *Screen) repeat(n int) {
	if s.lastChar == 0 {
		return
	}
	n = min(n, s.width*s.height, longestText)
	if s.lastChar < 0x7f && s.sets[s.shift] == 'B' && !s.insert {
		s.text(bytes.Repeat([]byte{byte(s.lastChar)}, n))
		return
	}
	for range n {
		s.put(s.lastChar, max(width(s.lastChar), 1))
	}
}

func (s *Screen) clearTabs(which int) {
	switch which {
	case 0:
		s.tabs[s.x] = false
	case 3:
		clear(s.tabs)
	}
}

func (s *Screen) region(q *sequence) {
	top, bottom := q.param(0, 1)-1, min(q.param(1, s.height), s.height)
	if top < bottom-1 {
		s.top, s.bottom = top, bottom
		s.goTo(0, 0)
	}
}

// moveTo moves the cursor; it stays on the screen.
func (s *Screen) moveTo(x, y int) {
	s.x, s.y, s.pending = min(max(x, 0), s.width-1), min(max(y, 0), s.height-1), false
}

// goTo is moveTo, from the region's top if that is the origin.
func (s *Screen) goTo(x, y int) {
	if s.origin {
		y = min(y+s.top, s.bottom-1)
	}
	s.moveTo(x, y)
}

func (s *Screen) up(n int) {
	edge := 0
	if s.y >= s.top {
		edge = s.top
	}
	s.moveTo(s.x, max(s.y-n, edge))
}

func (s *Screen) down(n int) {
	edge := s.height - 1
	if s.y < s.bottom {
		edge = s.bottom - 1
	}
	s.moveTo(s.x, min(s.y+n, edge))
}

// setMode sets one of DEC's private modes. Those that are nothing to a screen are noted for
// whoever draws it again.
func (s *Screen) setMode(mode int, on bool) {
	switch mode {
	case 6:
		s.origin = on
		s.goTo(0, 0)
	case 7:
		s.nowrap = !on
		s.pending = s.pending && on
	case 25:
		s.hidden = !on
	case 47, 1047:
		s.switchTo(on, mode == 1047)
	case 1048:
		s.saveOrRestore(on)
	case 1049:
		if on == (s.alternate == 1) {
			return
		}
		if on {
			s.saveOrRestore(true)
		}
		s.switchTo(on, true)
		if !on {
			s.saveOrRestore(false)
		}
	default:
		if slices.Contains(modes, mode) {
			s.note(mode, on)
		}
	}
}

func (s *Screen) note(mode int, on bool) {
	if mode == 9 || mode >= 1000 && mode <= 1003 { // the ways to track the mouse exclude each other
		for _, other := range []int{9, 1000, 1002, 1003} {
			delete(s.modes, other)
		}
	}
	if on {
		s.modes[mode] = true
	} else {
		delete(s.modes, mode)
	}
}

func (s *Screen) saveOrRestore(save bool) {
	if save {
		s.saved[s.alternate] = s.cursor
	} else {
		s.cursor = s.saved[s.alternate]
	}
}

func (s *Screen) switchTo(alternate, erase bool) {
	if alternate == (s.alternate == 1) {
		return
	}
	if alternate && erase {
		s.blank(1)
	}
	s.alternate = 1 - s.alternate
	s.mainDrawn = s.Version
	if alternate {
		s.keys[1] = nil
	}
}

// maxKeys bounds a stack of kitty's keyboard protocol, as kitty does.
const maxKeys = 8

// setKeys is kitty's keyboard protocol, of which each screen has a stack.
func (s *Screen) setKeys(q *sequence) {
	stack := &s.keys[s.alternate]
	flags := q.param(0, 0) & 31
	switch q.prefix {
	case '>':
		if *stack = append(*stack, flags); len(*stack) > maxKeys {
			*stack = (*stack)[1:]
		}
	case '<':
		*stack = (*stack)[:max(0, len(*stack)-q.param(0, 1))]
	case '=':
		if len(*stack) == 0 {
			*stack = []int{0}
		}
		top := &(*stack)[len(*stack)-1]
		switch q.param(1, 1) {
		case 1:
			*top = flags
		case 2:
			*top |= flags
		case 3:
			*top &^= flags
		}
	}
}

func (s *Screen) flags() int {
	if stack := s.keys[s.alternate]; len(stack) > 0 {
		return stack[len(stack)-1]
	}
	return 0
}

func (s *Screen) str(kind byte, data []byte, whole bool) {
	switch {
	case !whole:
	case kind == ']':
		s.osc(data)
	case kind == 'P':
		s.device(data)
	}
}

func (s *Screen) osc(data []byte) {
	command, rest, _ := bytes.Cut(data, []byte(";"))
	switch string(command) {
	case "0", "2":
		if len(rest) <= 256 && readable(rest) {
			s.Title = string(rest)
		}
	case "8":
		if link(rest) {
			_, target, _ := bytes.Cut(rest, []byte(";"))
			s.pen.link = s.linked(string(target))
		}
	case "9", "99", "777":
		s.Bell++
	case "4", "10", "11", "12":
		s.answerColour(string(command), rest)
	}
}
