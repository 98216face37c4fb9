package dashboard

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// The smallest screen on which everything that decides can be read.
const (
	leastWidth  = 60
	leastHeight = 16
)

// tooSmall says what is to be done, in as few cells as there may be.
func (m *model) tooSmall() string {
	lines := []string{
		fmt.Sprintf("the dashboard needs %d×%d", leastWidth, leastHeight),
		fmt.Sprintf("this terminal has %d×%d", m.width, m.height),
		"make it larger, or ctrl-c quits",
	}
	for i, line := range lines {
		lines[i] = plain.Cut(line, m.width)
	}
	return strings.Join(lines[:max(1, min(len(lines), m.height))], "\n")
}

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView("")
	v.AltScreen, v.MouseMode, v.WindowTitle = true, tea.MouseModeCellMotion, "bot-bottle dashboard"
	if m.width < leastWidth || m.height < leastHeight {
		v.SetContent(m.tooSmall())
		return v
	}
	foot, cursor := m.foot()
	body := m.height - 2 - len(foot)
	lines := []string{m.head(), m.rule("")}
	if m.viewer != nil {
		lines = append(lines, m.viewer.draw(m.theme, m.width, body)...)
	} else {
		lines = append(lines, filled(m.panes[m.at].draw(m, 2, m.width, body), m.width, body)...)
	}
	lines = append(lines, foot...)
	v.SetContent(strings.Join(lines, "\n"))
	if cursor != nil {
		cursor.Position.Y += m.height - len(foot)
		v.Cursor = cursor
	}
	return v
}

// rule is a line across, with a title in it.
func (m *model) rule(title string) string {
	if title == "" {
		return m.theme.rule.Render(strings.Repeat("─", m.width))
	}
	title = plain.Cut(title, m.width-6)
	return row{{m.theme.rule, "── "}, {m.theme.title, title + " "}, {m.theme.rule, strings.Repeat("─", m.width-4-plain.Width(title))}}.draw(m.width)
}

// head names the panes, and says what needs the operator.
func (m *model) head() string {
	t := m.theme
	summary, text, brief := m.summary()
	text, m.narrow = text+" ", false
	if m.tabsWidth()+plain.Width(text)+1 > m.width {
		m.narrow, text = true, brief
	}
	line, x := row{{t.text, " "}}, 1
	m.tabs = m.tabs[:0]
	for i, p := range m.panes {
		m.tabs = append(m.tabs, x)
		label, needs := m.tab(p, i)
		style := t.dim
		switch {
		case i == m.at:
			style = t.tab
		case needs:
			style = t.needs
		}
		line = append(line, piece{style, label}, piece{t.text, " "})
		x += plain.Width(label) + 1
	}
	return append(line, right(summary, text, m.width-x)).draw(m.width)
}

func (m *model) tab(p pane, i int) (string, bool) {
	n, needs := p.count(m)
	name := p.name()
	if m.narrow && i != m.at {
		name = name[:3]
	}
	label := fmt.Sprintf(" %d %s ", i+1, name)
	if n > 0 {
		label += fmt.Sprintf("%d ", n)
	}
	return label, needs
}

func (m *model) tabWidth(i int) int {
	label, _ := m.tab(m.panes[i], i)
	return plain.Width(label)
}

// tabsWidth is how wide all panes' names are.
func (m *model) tabsWidth() (all int) {
	for i := range m.panes {
		all += m.tabWidth(i) + 1
	}
	return all
}

// summary is the worst that there is to say about all bottles, and the same in brief.
func (m *model) summary() (style styled, text, brief string) {
	t := m.theme
	waiting := len(m.requests(isPending))
	switch {
	case m.looking.err != nil:
		return t.bad, "✗ stale " + clock(m.looking.since), "✗ stale"
	case waiting > 0:
		verb := "wait"
		if waiting == 1 {
			verb = "waits"
		}
		return t.needs, fmt.Sprintf("▲ %d %s for you", waiting, verb), fmt.Sprintf("▲ %d", waiting)
	case !m.looked:
		return t.dim, "looking …", "…"
	}
	return t.dim, "nothing waits", ""
}

func clock(at time.Time) string { return at.Local().Format(time.TimeOnly) }

// noticeFor is how long a notice stays that is no failure.
const noticeFor = 8 * time.Second

// foot is what is asked, or what keys there are.
func (m *model) foot() ([]string, *tea.Cursor) {
	t := m.theme
	switch {
	case m.prompt != nil:
		return m.prompt.draw(m)
	case m.search != nil:
		cursor := m.search.Cursor()
		if cursor != nil {
			cursor.Position.X += len(" search: ")
			cursor.Position.Y = 1
		}
		return []string{m.rule(""), row{{t.ask, " search: "}, {t.text, plain.Text(m.search.Value())}}.draw(m.width)}, cursor
	}
	lines := []string{m.rule("")}
	if m.notice.text != "" && (m.notice.bad || m.now.Sub(m.notice.at) < noticeFor) {
		style, mark := t.good, " · "
		if m.notice.bad {
			style, mark = t.bad, " ✗ "
		}
		lines = append(lines, row{{style, mark + m.notice.text}}.draw(m.width))
	}
	return append(lines, m.keyLine(m.offered())), nil
}

// offered are the keys that do something now.
func (m *model) offered() []binding {
	if m.viewer != nil {
		return m.viewer.keys()
	}
	all := m.panes[m.at].keys(m)
	if l := m.panes[m.at].list(); l != nil {
		all = append(all, binding{"/", "search"})
	}
	return append(all, binding{"?", "help"}, binding{"q", "quit"})
}

// keyLine shows keys, as many as there is room for. The last two always are.
func (m *model) keyLine(all []binding) string {
	t := m.theme
	width := func(b binding) int { return plain.Width(b.key) + plain.Width(b.what) + 3 }
	left := m.width - 1
	for _, b := range all[max(0, len(all)-2):] {
		left -= width(b)
	}
	line := row{{t.text, " "}}
	for i, b := range all {
		if i < len(all)-2 {
			if width(b) > left {
				continue
			}
			left -= width(b)
		}
		line = append(line, piece{t.key, b.key}, piece{t.dim, " " + b.what + "  "})
	}
	return line.draw(m.width)
}

// details are a request as it stands under a list. It has all that a decision is about; what
// has no room is said to be missing.
func (m *model) details(s requests.Shown, width, height int) []string {
	t := m.theme
	rows := m.detail(s, width)
	if len(rows) > height && height > 0 {
		rows = append(rows[:height-1], row{{t.needs, fmt.Sprintf("  … %d more lines: v shows all", len(rows)-height+1)}})
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = r.draw(width)
	}
	return filled(lines, width, height)
}

// keyWidth is how wide the names of a request's lines are.
const keyWidth = 10

// detail is all of a request. What the agent chose the words of stands behind the gutter.
func (m *model) detail(s requests.Shown, width int) []row {
	t := m.theme
	styles := map[string]styled{"wants": t.strong, "risk": t.needs, "sends": t.needs, "result": t.good}
	var rows []row
	about := ""
	for _, l := range s.Lines() {
		if l.Key != "" {
			about = l.Key
		}
		style, ok := styles[about]
		text, mark := said(l.Text), "  "
		switch {
		case l.Words:
			style, text, mark = t.words, said(l.Text), gutter
		case !ok:
			style = t.text
		}
		name, further := l.Key, mark+"  "
		for _, line := range plain.Wrap(text, width-keyWidth-4) {
			rows = append(rows, row{{t.text, " "}, col(t.dim, name, keyWidth-1), {t.rule, mark}, {style, line}})
			name, mark = "", further // else it could be taken for another line (ATTACKS H2)
		}
	}
	return rows
}
