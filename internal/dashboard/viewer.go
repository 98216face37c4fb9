package dashboard

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// viewer shows a text in front of the panes.
type viewer struct {
	title  string
	lines  []row
	top    int
	height int
	sought string
	extra  []binding                          // keys of its own
	do     func(m *model, key string) tea.Cmd // for them; may be nil
}

func (v *viewer) scroll(by int) { v.top = max(0, min(v.top+by, len(v.lines)-v.height)) }

// find goes to the next line that has a text.
func (v *viewer) find(s string) {
	v.sought = s
	v.next(v.top, 1)
}

func (v *viewer) next(from, by int) {
	if v.sought == "" {
		return
	}
	for n := range v.lines {
		i := ((from+n*by)%len(v.lines) + len(v.lines)) % len(v.lines)
		if strings.Contains(strings.ToLower(v.lines[i].text()), strings.ToLower(v.sought)) {
			v.top = max(0, min(i, len(v.lines)-v.height))
			return
		}
	}
}

func (v *viewer) press(m *model, key string) tea.Cmd {
	switch key {
	case "esc", "q", "enter":
		m.viewer = nil
	case "up", "k":
		v.scroll(-1)
	case "down", "j":
		v.scroll(1)
	case "pgup", "ctrl+b", "b":
		v.scroll(-v.height)
	case "pgdown", "ctrl+f", "space":
		v.scroll(v.height)
	case "home", "g":
		v.scroll(-len(v.lines))
	case "end", "G":
		v.scroll(len(v.lines))
	case "/":
		return m.openSearch("")
	case "n":
		v.next(v.top+1, 1)
	case "N":
		v.next(v.top-1, -1)
	default:
		if v.do != nil {
			return v.do(m, key)
		}
	}
	return nil
}

func (v *viewer) keys() []binding {
	all := append(v.extra, binding{"↑↓", "scroll"}, binding{"/ n N", "search"})
	return append(all, binding{"g G", "begin, end"}, binding{"esc", "back"})
}

func (v *viewer) draw(t theme, width, height int) []string {
	v.height = max(1, height-1)
	v.scroll(0)
	end := min(len(v.lines), v.top+v.height)
	place := "empty"
	if len(v.lines) > 0 {
		place = fmt.Sprintf("%d–%d of %d", v.top+1, end, len(v.lines))
	}
	lines := []string{row{{t.title, " " + v.title + "  "}, {t.dim, place}}.draw(width)}
	for _, r := range v.lines[min(v.top, end):end] {
		if v.sought != "" && strings.Contains(strings.ToLower(r.text()), strings.ToLower(v.sought)) {
			lines = append(lines, r.highlight(t, width))
			continue
		}
		lines = append(lines, r.draw(width))
	}
	return filled(lines, width, height)
}

// foreign is a text that is not ours, line by line behind the gutter.
func foreign(t theme, text string, style func(line string) styled) []row {
	var rows []row
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		line = strings.ReplaceAll(line, "\t", "    ")
		rows = append(rows, row{{t.rule, gutter}, {style(line), said(line)}})
	}
	return rows
}

// diffStyle colours a line of a diff.
func diffStyle(t theme) func(string) styled {
	return func(line string) styled {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "diff "):
			return t.strong
		case strings.HasPrefix(line, "+"):
			return t.good
		case strings.HasPrefix(line, "-"):
			return t.bad
		case strings.HasPrefix(line, "@@"):
			return t.busy
		}
		return t.text
	}
}
