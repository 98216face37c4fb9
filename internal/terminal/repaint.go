package terminal

import (
	"fmt"
	"slices"
	"strconv"
)

// Repaint is how a screen is drawn elsewhere.
type Repaint struct {
	Width, Height int  // of the other terminal, 0 is the screen's own; what does not fit is cut
	History       int  // so many lines of what has scrolled off are drawn first
	Main          bool // also the main screen behind an alternate one that is on
	Title         bool
}

// Repaint returns what, written to a terminal in whatever state, makes it show what the
// screen shows, and behave as a terminal on which all of it was drawn.
func (s *Screen) Repaint(r Repaint) []byte {
	if r.Width == 0 || r.Height == 0 {
		r.Width, r.Height = s.width, s.height
	}
	b := []byte("\x1b[?2026h")
	if r.Main || s.alternate == 0 {
		b = append(b, "\x1b[?1049l"...)
		b = s.paint(append(b, clean...), 0, r)
	}
	if s.alternate == 1 {
		b = append(b, "\x1b[?1049h"...)
		b = s.paint(append(b, clean...), 1, r)
	}
	if r.Title && s.Title != "" {
		b = append(append(append(b, "\x1b]2;"...), s.Title...), "\x1b\\"...)
	}
	b = s.restore(b, r)
	return append(b, "\x1b[?2026l"...)
}

// clean ends what could have an effect on how lines are drawn.
const clean = "\x1b[0m\x1b]8;;\x1b\\\x1b(B\x1b)B\x0f\x1b[4l\x1b[?6l\x1b[?7h\x1b[r\x1b[?25l"

func (s *Screen) paint(b []byte, which int, r Repaint) []byte {
	b = append(b, "\x1b[H\x1b[2J"...)
	lines := s.lines[which]
	if which == 0 && r.History > 0 {
		old := s.history.last(r.History)
		for i, l := range old {
			if b = s.paintLine(b, l, r.Width); i == len(old)-1 || !s.goesOn(l, old[i+1], r) {
				b = append(b, "\r\n"...)
			}
		}
		for range min(len(lines), r.Height) - 1 { // what was drawn scrolls off
			b = append(b, "\r\n"...)
		}
		b = append(b, "\x1b[H\x1b[2J"...)
	}
	first := 0
	if s.y >= r.Height && which == s.alternate { // the part where the cursor is
		first = s.y + 1 - r.Height
	}
	shown := lines[first:min(len(lines), first+r.Height)]
	for y, l := range shown {
		if l.used == 0 {
			continue
		}
		if y == 0 || !s.goesOn(shown[y-1], l, r) {
			b = fmt.Appendf(b, "\x1b[%d;1H", y+1)
		}
		b = s.paintLine(b, l, r.Width)
	}
	return b
}

// goesOn reports whether a line is drawn as what the one before it had no room for, so that the
// other terminal knows that the two are one, to copy them and to wrap them anew.
func (s *Screen) goesOn(before, l *line, r Repaint) bool {
	return before.wraps && before.used == s.width && r.Width == s.width && l.used > 0
}

// paintLine draws a line up to its last cell that is not blank, and ends with no style.
func (s *Screen) paintLine(b []byte, l *line, width int) []byte {
	pen, linked := Style{}, uint16(0)
	for x, c := range l.cells[:min(l.used, width)] {
		if c.Style.Attr&wide != 0 && x == width-1 {
			c = Cell{}
		}
		style := c.Style
		style.Attr &^= wide | half
		style.link = 0
		if style != pen {
			b, pen = style.append(b), style
		}
		if c.Style.link != linked {
			linked = c.Style.link
			b = s.appendLink(b, linked)
		}
		b = s.cellText(b, c)
	}
	if linked != 0 {
		b = s.appendLink(b, 0)
	}
	if pen != (Style{}) {
		b = append(b, "\x1b[0m"...)
	}
	return b
}

func (s *Screen) appendLink(b []byte, n uint16) []byte {
	return append(append(append(b, "\x1b]8;;"...), s.links.text(n)...), "\x1b\\"...)
}

// restore sets what is not drawn: modes, region, cursor, and the style to draw in next.
func (s *Screen) restore(b []byte, r Repaint) []byte {
	for _, mode := range modes {
		switch mode {
		case 6, 7, 25, 47, 1047, 1048, 1049, 2026:
			continue
		}
		b = appendMode(b, mode, s.modes[mode])
	}
	for _, mode := range []int{9, 1000, 1002, 1003} { // resetting one may have ended another
		if s.modes[mode] {
			b = appendMode(b, mode, true)
		}
	}
	b = append(b, "\x1b>"...)
	if s.keypad {
		b = append(b, "\x1b="...)
	}
	b = fmt.Appendf(b, "\x1b[%d q\x1b[>4;%dm", s.shape, s.modified)
	b = s.restoreKeys(b)
	if whole := r.Width >= s.width && r.Height >= s.height; whole {
		if s.top != 0 || s.bottom != s.height {
			b = fmt.Appendf(b, "\x1b[%d;%dr", s.top+1, s.bottom)
		}
		if s.origin {
			b = append(b, "\x1b[?6h"...)
		}
	}
	b = s.restoreCursor(b, r)
	b = appendMode(b, 7, !s.nowrap)
	return appendMode(b, 25, !s.hidden)
}

// restoreKeys pops all that a viewer may have pushed, and pushes what is on the stack: the
// filter on the way counts both, and lets none touch the operator's own.
func (s *Screen) restoreKeys(b []byte) []byte {
	b = append(b, "\x1b[<"+strconv.Itoa(deepest)+"u"...)
	stack := s.keys[s.alternate]
	for _, flags := range stack[max(0, len(stack)-deepest):] {
		b = fmt.Appendf(b, "\x1b[>%du", flags)
	}
	return b
}

func (s *Screen) restoreCursor(b []byte, r Repaint) []byte {
	y := s.y
	if y >= r.Height {
		y = r.Height - 1
	}
	if s.origin {
		y -= s.top
	}
	x := min(s.x, r.Width-1)
	b = fmt.Appendf(b, "\x1b[%d;%dH", max(y, 0)+1, x+1)
	if c := s.line().cells[s.x]; s.pending && c.Style.Attr&half == 0 && c.char != 0 && x == s.x && r.Width == s.width {
		b = s.cellText(c.Style.plain().append(b), c) // drawn again, it leaves the cursor behind the edge
	}
	for i, set := range s.sets[:2] {
		if set != 'B' {
			b = append(b, 0x1b, "()"[i], set)
		}
	}
	if s.shift == 1 {
		b = append(b, 0x0e)
	}
	b = s.pen.plain().append(b)
	if s.pen.link != 0 {
		b = s.appendLink(b, s.pen.link)
	}
	if s.insert {
		b = append(b, "\x1b[4h"...)
	}
	return b
}

// plain is the style without what is not one.
func (p Style) plain() Style {
	p.Attr &^= wide | half
	p.link = 0
	return p
}

func appendMode(b []byte, mode int, on bool) []byte {
	final := byte('l')
	if on {
		final = 'h'
	}
	return append(strconv.AppendInt(append(b, "\x1b[?"...), int64(mode), 10), final)
}

// Run is text of one style.
type Run struct {
	Text  string
	Style Style
}

// Line is what the screen shows in a line, from the left; blanks at its end are left out.
// Its text holds no controls.
func (s *Screen) Line(y int) []Run {
	if y < 0 || y >= s.height {
		return nil
	}
	return s.runs(s.lines[s.alternate][y])
}

func (s *Screen) runs(l *line) []Run {
	var runs []Run
	var text []byte
	for i, c := range l.cells[:l.used] {
		if style := c.Style.plain(); i == 0 || style != runs[len(runs)-1].Style {
			if i > 0 {
				runs[len(runs)-1].Text = string(text)
			}
			runs, text = append(runs, Run{Style: style}), text[:0]
		}
		text = s.cellText(text, c)
	}
	if len(runs) > 0 {
		runs[len(runs)-1].Text = string(text)
	}
	return runs
}

// Text is what the screen shows as lines, blanks at their ends left out.
func (s *Screen) Text() []string {
	lines := make([]string, s.height)
	for y, l := range s.lines[s.alternate] {
		lines[y] = s.lineText(l)
	}
	return lines
}

// History is what has scrolled off, oldest first: at most the last n lines of it.
func (s *Screen) History(n int) []string {
	var lines []string
	for _, l := range s.history.last(n) {
		lines = append(lines, s.lineText(l))
	}
	return lines
}

func (s *Screen) lineText(l *line) string {
	var b []byte
	for _, c := range l.cells[:l.used] {
		b = s.cellText(b, c)
	}
	return string(trimRight(b))
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// LastLine is the last line that shows anything, "" when there is none.
func (s *Screen) LastLine() string {
	for _, l := range slices.Backward(s.lines[s.alternate]) {
		if text := s.lineText(l); text != "" {
			return text
		}
	}
	return ""
}

// Cursor is where the cursor is, and whether it shows.
func (s *Screen) Cursor() (x, y int, shown bool) { return s.x, s.y, !s.hidden }

// Alternate reports whether the alternate screen is on.
func (s *Screen) Alternate() bool { return s.alternate == 1 }

// MainDrawn changes whenever the main screen is drawn on.
func (s *Screen) MainDrawn() uint64 { return s.mainDrawn }

// Scrolled is how many lines have ever scrolled off the main screen, less those that a change
// of the size brought back.
func (s *Screen) Scrolled() uint64 { return s.history.count }

// Forget forgets what has scrolled off.
func (s *Screen) Forget() { s.history.clear() }
