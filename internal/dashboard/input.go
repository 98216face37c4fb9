package dashboard

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
)

// press is a key. The question in front gets it first, then the search, the viewer, the pane.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case m.prompt != nil:
		return m.prompt.press(m, k)
	case m.search != nil:
		return m.typeSearch(k)
	case m.viewer != nil:
		return m.viewer.press(m, key)
	}
	if m.notice.bad {
		m.notice = notice{}
	}
	switch key {
	case "q":
		return tea.Quit
	case "?":
		m.viewer = help(m)
		return nil
	case "1", "2", "3", "4", "5":
		return m.show(int(key[0] - '1'))
	case "tab":
		return m.show((m.at + 1) % len(m.panes))
	case "shift+tab":
		return m.show((m.at + len(m.panes) - 1) % len(m.panes))
	}
	front := m.panes[m.at]
	if l := front.list(); l != nil {
		switch {
		case key == "/":
			return m.openSearch(l.filter)
		case key == "esc" && l.filter != "":
			l.filter = ""
			return nil
		case l.key(key):
			return m.moved()
		}
	}
	return front.press(m, key)
}

// moved follows a list's selection.
func (m *model) moved() tea.Cmd {
	switch p := m.panes[m.at].(type) {
	case *agentsPane:
		m.chosen = p.rows.selected
	case *trafficPane:
		p.rows.tail = p.rows.at() == len(p.rows.items)-1
	}
	return nil
}

// show brings a pane to the front.
func (m *model) show(at int) tea.Cmd {
	m.at, m.viewer = at, nil
	return nil
}

// newInput is a line in which the operator types.
func newInput(value string) *textinput.Model {
	input := textinput.New()
	input.Prompt = ""
	input.CharLimit = 4096
	input.SetVirtualCursor(false)
	input.SetValue(value)
	input.Focus()
	return &input
}

func (m *model) openSearch(value string) tea.Cmd {
	m.search = newInput(value)
	return nil
}

func (m *model) typeSearch(k tea.KeyPressMsg) tea.Cmd {
	set := func(s string) {
		if m.viewer != nil {
			m.viewer.find(s)
		} else if l := m.panes[m.at].list(); l != nil {
			l.filter = s
		}
	}
	switch k.String() {
	case "esc":
		set("")
		m.search = nil
		return nil
	case "enter":
		m.search = nil
		return nil
	}
	input, cmd := m.search.Update(k)
	m.search = &input
	set(input.Value())
	return cmd
}

// paste goes where the operator types, and nowhere else: it can press no key.
func (m *model) paste(p tea.PasteMsg) tea.Cmd {
	into := m.search
	if m.prompt != nil {
		into = m.prompt.input
	}
	if into == nil {
		return nil
	}
	input, cmd := into.Update(p)
	*into = input
	return cmd
}

func (m *model) click(at tea.Mouse) tea.Cmd {
	if m.prompt != nil || at.Button != tea.MouseLeft {
		return nil // a question is answered with keys
	}
	if at.Y == 0 {
		for i := len(m.tabs) - 1; i >= 0; i-- {
			if at.X >= m.tabs[i] && at.X < m.tabs[i]+m.tabWidth(i) {
				return m.show(i)
			}
		}
		return nil
	}
	if l := m.panes[m.at].list(); m.viewer == nil && l != nil && l.click(at.Y) {
		return m.moved()
	}
	return nil
}

func (m *model) wheel(at tea.Mouse) {
	by := map[tea.MouseButton]int{tea.MouseWheelUp: -3, tea.MouseWheelDown: 3}[at.Button]
	switch l := m.panes[m.at].list(); {
	case m.prompt != nil:
	case m.viewer != nil:
		m.viewer.scroll(by)
	case l != nil:
		l.move(by)
		_ = m.moved()
	}
}
