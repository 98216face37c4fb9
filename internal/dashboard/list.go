package dashboard

import (
	"fmt"
	"strings"
	"time"
)

// item is a row of a list that can be selected. Its name stays the same when the list is
// sorted anew, so that the selection stays where it is.
type item struct {
	name   string
	search string // what a filter looks at; "" is the row's text
	row    func() row
}

func (i item) matches(filter string) bool {
	text := i.search
	if text == "" {
		text = i.row().text()
	}
	return strings.Contains(strings.ToLower(text), strings.ToLower(filter))
}

// list is a column of rows, of which one is selected.
type list struct {
	selected string
	items    []item // as they are drawn
	top      int    // the first that is in view
	y        int    // where on the screen it was drawn
	height   int
	filter   string
	tail     bool // the last is selected, and stays so
	jumped   time.Time
}

// set puts in new items, less those that the filter does not match.
//
// If another one is selected than before, and by no key, that is remembered: a key that was
// meant for the one before must not decide about it.
func (l *list) set(items []item, now time.Time) {
	defer func(before string) {
		if before != "" && before != l.selected {
			l.jumped = now
		}
	}(l.selected)

	was := max(l.at(), l.top)
	l.items = items
	if l.filter != "" {
		l.items = nil
		for _, i := range items {
			if i.matches(l.filter) {
				l.items = append(l.items, i)
			}
		}
	}
	if at := l.at(); at < 0 && len(l.items) > 0 {
		l.selected = l.items[min(was, len(l.items)-1)].name
	}
	if l.tail && len(l.items) > 0 {
		l.selected = l.items[len(l.items)-1].name
	}
}

// at is where the selected one is, -1 if nowhere.
func (l *list) at() int {
	for i := range l.items {
		if l.items[i].name == l.selected {
			return i
		}
	}
	return -1
}

// steady reports whether the selection has stood long enough to be read.
func (l *list) steady(now time.Time) bool { return now.Sub(l.jumped) >= readingTime }

// readingTime is how long it takes to see that the selection has moved.
const readingTime = time.Second

// move selects another one, so many further.
func (l *list) move(by int) {
	l.jumped = time.Time{}
	if len(l.items) == 0 {
		return
	}
	to := min(max(0, l.at()+by), len(l.items)-1)
	l.selected = l.items[to].name
}

// key moves, if it is a key that does.
func (l *list) key(k string) bool {
	page := max(1, l.height-1)
	by, ok := map[string]int{"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "ctrl+b": -page, "pgdown": page, "ctrl+f": page, "home": -1 << 20, "g": -1 << 20, "end": 1 << 20, "G": 1 << 20}[k]
	if ok {
		l.move(by)
	}
	return ok
}

// click selects what is at a line of the screen.
func (l *list) click(y int) bool {
	i := l.top + y - l.y
	if y < l.y || y >= l.y+l.height || i >= len(l.items) {
		return false
	}
	l.selected, l.jumped = l.items[i].name, time.Time{}
	return true
}

// draw is the part of the list that is in view, in exactly height lines.
func (l *list) draw(t theme, y, width, height int, empty string) []string {
	l.y, l.height = y, height
	at := max(0, l.at())
	l.top = min(l.top, at)
	l.top = max(l.top, at-height+1, 0)
	l.top = min(l.top, max(0, len(l.items)-height))
	lines := make([]string, 0, height)
	for i := l.top; i < len(l.items) && len(lines) < height; i++ {
		if i == at {
			lines = append(lines, append(row{{t.chosen, "▌"}}, l.items[i].row()...).highlight(t, width))
			continue
		}
		lines = append(lines, append(row{{t.text, " "}}, l.items[i].row()...).draw(width))
	}
	if len(l.items) == 0 && height > 0 {
		if l.filter != "" {
			empty = "nothing matches “" + said(l.filter) + "”: esc shows all"
		}
		lines = append(lines, row{{t.dim, "  " + empty}}.draw(width))
	}
	return filled(lines, width, height)
}

// part says which of the rows are in view, if not all are.
func (l *list) part(t theme) piece {
	if len(l.items) <= l.height {
		return piece{}
	}
	return piece{t.dim, fmt.Sprintf("   (%d–%d of %d)", l.top+1, l.top+l.height, len(l.items))}
}

// filled is so many lines.
func filled(lines []string, width, height int) []string {
	if len(lines) > height {
		return lines[:max(0, height)]
	}
	for len(lines) < height {
		lines = append(lines, strings.Repeat(" ", max(0, width)))
	}
	return lines
}
