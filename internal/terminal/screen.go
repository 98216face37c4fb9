package terminal

import (
	"slices"
	"unicode/utf8"
)

// Bounds of a screen. A size outside is moved inside.
const (
	MinWidth, MaxWidth   = 2, 500
	MinHeight, MaxHeight = 1, 300
	HistoryLines         = 1000
)

// Screen is a terminal's screen: what is written to it is drawn on it. It is for one
// goroutine at a time.
type Screen struct {
	Bell    uint64 // how often the program rang, or notified
	Title   string // what it calls itself: readable text
	Version uint64 // changes with every write and resize
	Scheme  Scheme // what programs are told of the terminal's colours; dark at first

	width, height int
	lines         [2][]*line // the main and the alternate screen
	alternate     int        // which of them is shown
	history       history
	cursor
	saved       [2]cursor
	top, bottom int // of the scroll region, the bottom not in it
	tabs        []bool
	modes       map[int]bool // DEC's private ones, but for those that have a field
	insert      bool
	keypad      bool
	hidden      bool // the cursor
	shape       int  // of the cursor
	keys        [2][]int
	modified    int // how xterm tells modified keys
	lastChar    rune
	marks       table
	links       table
	parser      parser
	answer      func([]byte)
	mainDrawn   uint64 // the Version at which the main screen was last drawn on
}

// cursor is what saving it saves.
type cursor struct {
	x, y    int
	pending bool // the next character begins a new line
	pen     Style
	sets    [4]byte // of G0 to G3: 'B', 'A' or '0'
	shift   int     // which of them is in use
	origin  bool
	nowrap  bool
}

// NewScreen makes a screen. What the program asks its terminal is answered through answer,
// which may be nil, and must not call the screen.
func NewScreen(width, height int, answer func([]byte)) *Screen {
	if answer == nil {
		answer = func([]byte) {}
	}
	s := &Screen{Scheme: darkScheme, answer: answer, parser: parser{maxData: longestText}}
	s.width, s.height = bounded(width, height)
	s.history.max = HistoryLines
	s.reset()
	return s
}

func bounded(width, height int) (int, int) {
	return min(max(width, MinWidth), MaxWidth), min(max(height, MinHeight), MaxHeight)
}

// Size in cells.
func (s *Screen) Size() (width, height int) { return s.width, s.height }

// Write draws. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	s.Version++
	if s.alternate == 0 {
		s.mainDrawn = s.Version
	}
	s.parser.write(s, p)
	return len(p), nil
}

// reset is how a terminal begins.
func (s *Screen) reset() {
	for i := range s.lines {
		s.blank(i)
	}
	s.alternate, s.cursor = 0, cursor{sets: [4]byte{'B', 'B', 'B', 'B'}}
	s.saved = [2]cursor{s.cursor, s.cursor}
	s.top, s.bottom = 0, s.height
	s.modes, s.insert, s.keypad, s.hidden, s.shape = map[int]bool{}, false, false, false, 0
	s.keys, s.modified, s.lastChar = [2][]int{}, 0, 0
	s.resetTabs()
}

func (s *Screen) resetTabs() {
	s.tabs = make([]bool, s.width)
	for x := 8; x < s.width; x += 8 {
		s.tabs[x] = true
	}
}

// blank empties a screen. It costs what is on it: a program may do it for every byte it prints.
func (s *Screen) blank(which int) {
	if len(s.lines[which]) != s.height {
		s.lines[which] = blank(s.width, s.height)
		return
	}
	for _, l := range s.lines[which] {
		l.erase(0, s.width, 0)
	}
}

func blank(width, height int) []*line {
	lines := make([]*line, height)
	for y := range lines {
		lines[y] = &line{cells: make([]Cell, width)}
	}
	return lines
}

func (s *Screen) clamp(c *cursor) {
	c.pending = c.pending && c.x == s.width-1
	c.x, c.y = min(c.x, s.width-1), min(c.y, s.height-1)
}

func (s *Screen) line() *line { return s.lines[s.alternate][s.y] }

func (s *Screen) text(p []byte) {
	if s.sets[s.shift] != 'B' || s.insert {
		for _, c := range p {
			s.put(s.translate(rune(c)), 1)
		}
		return
	}
	s.lastChar = rune(p[len(p)-1])
	for len(p) > 0 {
		if s.pending {
			s.wrap()
		}
		l, n := s.line(), min(len(p), s.width-s.x)
		l.mendAround(s.x, s.x+n)
		cell, row := Cell{Style: s.pen}, l.cells[s.x:s.x+n]
		for i, c := range p[:len(row)] {
			cell.char = rune(c)
			row[i] = cell
		}
		l.used = max(l.used, s.x+n)
		p = p[n:]
		if s.x += n; s.x == s.width {
			s.x, s.pending = s.width-1, !s.nowrap
			if s.nowrap && len(p) > 0 {
				l.cells[s.x] = Cell{char: rune(p[len(p)-1]), Style: s.pen}
				return
			}
		}
	}
}

// mendAround blanks what is left of wide characters when from to to is drawn over.
func (l *line) mendAround(from, to int) {
	if from < l.used && l.cells[from].Style.Attr&half != 0 && from > 0 {
		l.cells[from-1] = Cell{Style: Style{Bg: l.cells[from-1].Style.Bg}}
	}
	if to < l.used && l.cells[to].Style.Attr&half != 0 {
		l.cells[to] = Cell{Style: Style{Bg: l.cells[to].Style.Bg}}
	}
}

// graphics is DEC's set of lines and corners, from '`' to '~'.
var graphics = []rune("◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

func (s *Screen) translate(r rune) rune {
	switch set := s.sets[s.shift]; {
	case set == '0' && r >= '`' && r <= '~':
		return graphics[r-'`']
	case set == 'A' && r == '#':
		return '£'
	}
	return r
}

func (s *Screen) char(r rune) {
	if r < 0xa0 || turns(r) {
		return
	}
	n := width(r)
	if n == 0 || s.joins() {
		s.combine(r)
		return
	}
	s.put(r, n)
}

// before is the cell that was drawn last, nil if the cursor has been moved to the edge.
func (s *Screen) before() *Cell {
	x := s.x - 1
	if s.pending {
		x = s.x
	}
	if x > 0 && s.line().cells[x].Style.Attr&half != 0 {
		x--
	}
	if x < 0 || s.line().cells[x].char == 0 {
		return nil
	}
	return &s.line().cells[x]
}

// joins reports whether the last character was a joiner, which the next one belongs to.
func (s *Screen) joins() bool {
	c := s.before()
	if c == nil || c.more == 0 {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(s.marks.text(c.more))
	return last == 0x200d
}

func (s *Screen) combine(r rune) {
	c := s.before()
	if c == nil {
		return
	}
	if text := s.marks.text(c.more); len(text)+utf8.RuneLen(r) <= longestMark {
		c.more = s.mark(text + string(r))
	}
}

// put draws one character.
func (s *Screen) put(r rune, n int) {
	s.lastChar = r
	if s.pending || n == 2 && s.x == s.width-1 && !s.nowrap {
		s.wrap()
	}
	s.x = min(s.x, s.width-n)
	l := s.line()
	if s.insert {
		s.insertCells(n)
	}
	l.mendAround(s.x, s.x+n)
	l.cells[s.x] = Cell{char: r, Style: s.pen}
	if n == 2 {
		l.cells[s.x].Style.Attr |= wide
		l.cells[s.x+1] = Cell{char: r, Style: s.pen}
		l.cells[s.x+1].Style.Attr |= half
	}
	l.used = max(l.used, s.x+n)
	if s.x += n; s.x >= s.width {
		s.x, s.pending = s.width-1, !s.nowrap
	}
}

func (s *Screen) wrap() {
	s.line().wraps = true
	s.x, s.pending = 0, false
	s.index()
}

// index moves the cursor down; at the bottom of the region, the region scrolls.
func (s *Screen) index() {
	switch {
	case s.y == s.bottom-1:
		s.scroll(1)
	case s.y < s.height-1:
		s.y++
	}
}

// scroll moves the region's lines up, or down if n is negative.
func (s *Screen) scroll(n int) { s.moveLines(s.top, s.bottom, n, s.top == 0) }

// moveLines moves the lines from top to bottom up by n. What leaves the main screen at its top
// is kept if keep says so.
func (s *Screen) moveLines(top, bottom, n int, keep bool) {
	region := s.lines[s.alternate][top:bottom]
	n = min(max(n, -len(region)), len(region))
	if n > 0 && keep && s.alternate == 0 {
		for i, l := range region[:n] {
			region[i] = s.fresh(s.history.push(l))
		}
	}
	gone := region[:max(n, 0)]
	if n < 0 {
		gone = region[len(region)+n:]
	}
	for _, l := range gone {
		l.erase(0, s.width, s.pen.Bg)
		l.wraps = false
	}
	rotate(region, n)
}

// fresh makes a blank line of one that is no longer needed, if it has the width.
func (s *Screen) fresh(l *line) *line {
	if l == nil || len(l.cells) != s.width {
		return &line{cells: make([]Cell, s.width)}
	}
	clear(l.cells[:l.used])
	l.used, l.wraps = 0, false
	return l
}

func rotate(lines []*line, n int) {
	if n == 1 {
		first := lines[0]
		copy(lines, lines[1:])
		lines[len(lines)-1] = first
		return
	}
	if n < 0 {
		n += len(lines)
	}
	slices.Reverse(lines[:n])
	slices.Reverse(lines[n:])
	slices.Reverse(lines)
}

func (s *Screen) control(c byte) {
	switch c {
	case 0x07:
		s.Bell++
	case '\b':
		s.pending = false
		s.x = max(s.x-1, 0)
	case '\t':
		s.tab(1)
	case '\n', '\v', '\f':
		s.index()
		s.pending = false
	case '\r':
		s.x, s.pending = 0, false
	case 0x0e, 0x0f:
		s.shift = int(0x0f - c)
	}
}

// tab goes to the n-th stop to the right, or the left.
func (s *Screen) tab(n int) {
	s.pending = false
	for ; n > 0 && s.x < s.width-1; n-- {
		for s.x++; s.x < s.width-1 && !s.tabs[s.x]; s.x++ {
		}
	}
	for ; n < 0 && s.x > 0; n++ {
		for s.x--; s.x > 0 && !s.tabs[s.x]; s.x-- {
		}
	}
}
