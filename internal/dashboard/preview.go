package dashboard

import (
	"errors"

	tea "charm.land/bubbletea/v2"
)

// previewPane shows the terminal of the agent that is selected.
type previewPane struct{}

func (p *previewPane) name() string             { return "Preview" }
func (p *previewPane) list() *list              { return nil }
func (p *previewPane) count(*model) (int, bool) { return 0, false }

func (p *previewPane) draw(m *model, _, width, height int) []string {
	t := m.theme
	k := m.bottles[m.chosen]
	if k == nil {
		return []string{row{{t.dim, "  no agent is selected: 1 shows them"}}.draw(width)}
	}
	state, since := k.state(m.now)
	lines := []string{row{{t.state(state), " " + marks[state] + " "}, {t.strong, said(k.Slug)}, {t.dim, "  "}, {t.state(state), string(state)}, {t.dim, " " + ago(since, m.now) + "   its terminal, behind the line:"}}.draw(width)}
	for _, r := range m.screenRows(k, width, height-1) {
		lines = append(lines, r.draw(width))
	}
	return lines
}

// screenRows are the last lines of a bottle's screen, behind the gutter.
func (m *model) screenRows(k *known, width, most int) []row {
	t := m.theme
	if k.noScreen != nil || len(k.screen.Lines) == 0 {
		why := "its terminal is empty"
		switch {
		case k.noScreen == nil:
		case errors.Is(k.noScreen, ErrNoScreen), errors.Is(k.noScreen, errLooking):
			why = k.noScreen.Error()
		default:
			why = "its terminal cannot be looked at: " + onOneLine(k.noScreen.Error())
		}
		return []row{{{t.rule, " " + gutter}, {t.dim, said(why)}}}
	}
	lines := k.screen.Lines
	for len(lines) > 0 && squeeze(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	lines = lines[max(0, len(lines)-most):]
	rows := make([]row, len(lines))
	for i, line := range lines {
		rows[i] = row{{t.rule, " " + gutter}, {t.words, said(line)}}
	}
	return rows
}

func (p *previewPane) keys(m *model) []binding {
	if k := m.bottles[m.chosen]; k != nil && k.Running {
		return []binding{{"enter", "attach"}, {"↑↓", "another agent"}}
	}
	return []binding{{"↑↓", "another agent"}}
}

func (p *previewPane) press(m *model, key string) tea.Cmd {
	agents := m.panes[0].(*agentsPane)
	if agents.rows.key(key) {
		m.chosen = agents.rows.selected
		return nil
	}
	return agents.press(m, key)
}
