package terminal

import (
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Colour of a cell: 0 is the terminal's own, 1 to 256 are the palette's, what has bit 24 is
// red, green and blue.
type Colour uint32

const direct24 Colour = 1 << 24

// Attr are a cell's attributes.
type Attr uint16

// Attributes of a cell.
const (
	Bold Attr = 1 << iota
	Faint
	Italic
	Underline
	Blink
	Reverse
	Conceal
	Strike
	Double // underline
	Curly  // underline
	Overline
	wide // its right half is the next cell
	half // the right half of the cell before
)

// Style of a cell.
type Style struct {
	Fg, Bg, Under Colour
	Attr          Attr
	link          uint16 // into Screen.links, 0 is none
}

// Cell is one place of a screen. Zero is a blank one.
type Cell struct {
	char  rune
	more  uint16 // into Screen.marks: what is combined with char
	Style Style
}

// line of a screen. Past used, its cells are blank.
type line struct {
	cells []Cell
	used  int
	wraps bool // it goes on in the next line
}

// erase blanks part of a line. What is erased has the colour that is set. A line whose end is
// erased does not go on in the next.
func (l *line) erase(from, to int, bg Colour) {
	if to = min(to, len(l.cells)); to == len(l.cells) {
		l.wraps = false
	}
	if bg == 0 && to >= l.used {
		if from < l.used {
			clear(l.cells[from:l.used])
			l.used = from
		}
		return
	}
	for i := from; i < to; i++ {
		l.cells[i] = Cell{Style: Style{Bg: bg}}
	}
	l.used = max(l.used, to)
}

// mend blanks the other half of a wide character of which one half is at x, or is gone.
func (l *line) mend(x int) {
	if x < 0 || x >= len(l.cells) {
		return
	}
	if l.cells[x].Style.Attr&half != 0 && (x == 0 || l.cells[x-1].Style.Attr&wide == 0) {
		l.cells[x] = Cell{Style: Style{Bg: l.cells[x].Style.Bg}}
	}
	if l.cells[x].Style.Attr&wide != 0 && (x+1 == len(l.cells) || l.cells[x+1].Style.Attr&half == 0) {
		l.cells[x] = Cell{Style: Style{Bg: l.cells[x].Style.Bg}}
	}
}

// width of a character in cells: 0 combines with the one before.
func width(r rune) int {
	if r < 0x300 {
		return 1
	}
	return min(displaywidth.Rune(r), 2)
}

// longestMark bounds what one cell combines, in bytes.
const longestMark = 32

// most of what the tables of a screen hold.
const (
	maxMarks = 1 << 12
	maxLinks = 1 << 8
)

// table gives numbers to strings. A full one forgets what is not in use.
type table struct {
	texts []string // the first is ""
	index map[string]uint16
}

func (t *table) number(s string) (uint16, bool) {
	n, known := t.index[s]
	return n, known
}

func (t *table) add(s string) uint16 {
	if t.index == nil {
		t.index, t.texts = map[string]uint16{"": 0}, []string{""}
	}
	n := uint16(len(t.texts))
	t.texts, t.index[s] = append(t.texts, s), n
	return n
}

func (t *table) text(n uint16) string {
	if int(n) >= len(t.texts) {
		return ""
	}
	return t.texts[n]
}

func (s *Screen) mark(text string) uint16 {
	n, known := s.marks.number(text)
	if known || text == "" {
		return n
	}
	if len(s.marks.texts) >= maxMarks {
		s.forget(&s.marks, func(c *Cell) *uint16 { return &c.more })
	}
	return s.marks.add(text)
}

func (s *Screen) linked(target string) uint16 {
	n, known := s.links.number(target)
	if known || target == "" {
		return n
	}
	if len(s.links.texts) >= maxLinks {
		s.forget(&s.links, func(c *Cell) *uint16 { return &c.Style.link })
	}
	return s.links.add(target)
}

// forget makes room in a table. If the screen has use for more than half of it, what is on
// it does without.
func (s *Screen) forget(t *table, of func(*Cell) *uint16) {
	fresh := table{}
	limit := cap(t.texts)
	limit = min(limit, len(t.texts)) / 2
	s.everyCell(func(c *Cell) {
		n := of(c)
		if *n == 0 {
			return
		}
		text := t.text(*n)
		number, known := fresh.number(text)
		switch {
		case known:
		case len(fresh.texts) < limit:
			number = fresh.add(text)
		default:
			number = 0
		}
		*n = number
	})
	s.pen.link, s.saved[0].pen.link, s.saved[1].pen.link = 0, 0, 0
	*t = fresh
}

func (s *Screen) everyCell(do func(*Cell)) {
	for _, lines := range [][]*line{s.lines[0], s.lines[1], s.history.lines} {
		for _, l := range lines {
			for i := range l.cells[:l.used] {
				do(&l.cells[i])
			}
		}
	}
}

// text of a cell: never a control.
func (s *Screen) cellText(b []byte, c Cell) []byte {
	switch {
	case c.Style.Attr&half != 0:
		return b
	case c.char == 0:
		return append(b, ' ')
	}
	return append(utf8.AppendRune(b, c.char), s.marks.text(c.more)...)
}
