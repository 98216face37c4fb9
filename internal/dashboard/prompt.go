package dashboard

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// prompt is a question to the operator. It stands at the foot of the screen, under a heavy
// line, and holds the dashboard's own words: identities and names of requests, and no text
// from a bottle (ATTACKS H2).
type prompt struct {
	title    string
	about    []row // what it is about: machine-made, or behind the gutter
	question string
	choices  []choice
	input    *textinput.Model
	enter    func(string) tea.Cmd
	still    func(*model) bool // it is about what there is; nil: always
}

// choice is an answer, and the key that gives it.
type choice struct {
	key, what string
	do        func() tea.Cmd
}

func (p *prompt) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	if key == "esc" {
		m.prompt = nil
		return nil
	}
	if p.input != nil {
		if key == "enter" {
			m.prompt = nil
			return p.enter(p.input.Value())
		}
		input, cmd := p.input.Update(k)
		p.input = &input
		return cmd
	}
	for _, c := range p.choices {
		if c.key == key {
			m.prompt = nil
			return c.do()
		}
	}
	if m.viewer != nil && slices.Contains([]string{"up", "down", "pgup", "pgdown", "home", "end"}, key) {
		return m.viewer.press(m, key) // what the question is about is read in it
	}
	return nil
}

func (p *prompt) draw(m *model) ([]string, *tea.Cursor) {
	t := m.theme
	title := "━━ " + plain.Cut(p.title, m.width-6) + " "
	lines := []string{row{{t.ask, title + strings.Repeat("━", max(0, m.width-plain.Width(title)))}}.draw(m.width)}
	for _, r := range p.about {
		lines = append(lines, append(row{{t.text, "  "}}, r...).draw(m.width))
	}
	ask := row{{t.ask, "▶ " + p.question + " "}}
	if p.input != nil {
		at := plain.Width(ask.text())
		p.input.SetWidth(max(1, m.width-at-2))
		cursor := p.input.Cursor()
		if cursor != nil {
			cursor.Position.X += at
			cursor.Position.Y = len(lines)
		}
		shown := plain.Text(p.input.Value())
		if p.input.EchoMode == textinput.EchoPassword {
			shown = strings.Repeat("•", len([]rune(p.input.Value())))
		}
		if room := m.width - at - 2; plain.Width(shown) > room {
			shown = plain.CutFront(shown, room)
		}
		lines = append(lines, append(ask, piece{t.text, shown}).draw(m.width))
		return append(lines, m.keyLine([]binding{{"enter", "go ahead"}, {"esc", "back"}})), cursor
	}
	lines = append(lines, ask.draw(m.width))
	return append(lines, choiceLines(m, p.choices)...), nil
}

// choiceLines shows the answers, on as many lines as they need.
func choiceLines(m *model, all []choice) []string {
	t := m.theme
	var lines []string
	line, left := row{{t.text, "  "}}, m.width-2
	for _, c := range append(all[:len(all):len(all)], choice{key: "esc", what: "back"}) {
		width := plain.Width(c.key) + plain.Width(c.what) + 4
		if width > left && len(line) > 1 {
			lines = append(lines, line.draw(m.width))
			line, left = row{{t.text, "  "}}, m.width-2
		}
		line, left = append(line, piece{t.key, c.key}, piece{t.text, " " + c.what + "   "}), left-width
	}
	return append(lines, line.draw(m.width))
}

// confirm asks for a yes.
func (m *model) confirm(title, question string, about []row, still func(*model) bool, do func() tea.Cmd) {
	m.prompt = &prompt{title: title, question: question, about: about, still: still, choices: []choice{{"y", "yes", do}}}
}

// askFor asks for a line.
func (m *model) askFor(title, question string, still func(*model) bool, enter func(string) tea.Cmd) {
	m.prompt = &prompt{title: title, question: question, input: newInput(""), enter: enter, still: still}
}
