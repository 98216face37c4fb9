package dashboard

import (
	"context"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// agentsPane shows every bottle, those first that need the operator.
type agentsPane struct{ rows list }

func (p *agentsPane) name() string { return "Agents" }
func (p *agentsPane) list() *list  { return &p.rows }

func (p *agentsPane) count(m *model) (int, bool) {
	running := 0
	for _, k := range m.bottles {
		if k.Running {
			running++
		}
	}
	return running, false
}

// marks tell states without colour.
var marks = map[State]string{WaitsForYou: "▲", WaitsForText: "?", CutOff: "✗", Working: "●", Idle: "○", Exited: "·"}

func (t theme) state(s State) styled {
	switch s {
	case WaitsForYou, WaitsForText:
		return t.needs
	case CutOff:
		return t.bad
	case Working:
		return t.busy
	}
	return t.dim
}

// Widths of the columns.
const (
	stateWidth = 15
	ageWidth   = 5
	countWidth = 5
	tokenWidth = 13
	moneyWidth = 14
	wideEnough = 100 // for tokens
	widest     = 120 // for what they cost
)

// nameWidth is as wide as the longest name, within reason.
func (m *model) nameWidth() int {
	longest := 12
	for identity := range m.bottles {
		longest = max(longest, plain.Width(identity))
	}
	return min(longest, max(18, m.width/4))
}

func (p *agentsPane) row(m *model, k *known, width int) row {
	t := m.theme
	state, since := k.state(m.now)
	style := t.state(state)
	r := row{{style, marks[state] + " "}, col(t.strong, plain.CutFront(said(k.Slug), m.nameWidth()), m.nameWidth()), {t.text, " "}, col(style, string(state), stateWidth), right(t.dim, ago(since, m.now), ageWidth), {t.text, " "}}
	if state == Exited {
		r[1].style = t.dim
	}
	count := func(n int, mark string, style styled) {
		text := ""
		if n > 0 {
			text = fmt.Sprintf("%s%s", mark, plain.Amount(int64(n)))
		}
		r = append(r, right(style, text, countWidth))
	}
	count(len(k.pending()), "▲", t.needs)
	count(k.tally.blocked, "✗", t.bad)
	if width >= wideEnough {
		r = append(r, right(t.dim, tokens(k.tally), tokenWidth))
	}
	if width >= widest && m.o.Prices != nil {
		r = append(r, right(t.dim, said(m.spent(k.tally)), moneyWidth))
	}
	if since := k.stale(); !since.IsZero() {
		return append(r, piece{t.bad, "  stale since " + clock(since)})
	}
	return append(r, piece{t.dim, "  " + p.last(k, state)})
}

func tokens(t tally) string {
	if t.in == 0 && t.out == 0 {
		return ""
	}
	return plain.Amount(t.in) + "→" + plain.Amount(t.out)
}

// last is what there is to say about an agent beside its numbers. It is the last column: what
// an agent says has no room to stand for anything else.
func (p *agentsPane) last(k *known, state State) string {
	switch {
	case state == Exited && k.Code != nil:
		return fmt.Sprintf("status %d", *k.Code)
	case state == Exited:
		return ""
	case k.lastLine() != "":
		return "| " + k.lastLine()
	}
	return ""
}

func (p *agentsPane) draw(m *model, y, width, height int) []string {
	var items []item
	for _, k := range m.ordered() {
		items = append(items, item{name: k.Slug, row: func() row { return p.row(m, k, width) }})
	}
	p.rows.selected = m.chosen
	p.rows.set(items, m.now)
	m.chosen = p.rows.selected
	t := m.theme
	head := row{{t.dim, "   "}, col(t.dim, "AGENT", m.nameWidth()), {t.dim, " "}, col(t.dim, "STATE", stateWidth), right(t.dim, "FOR", ageWidth), {t.dim, " "}, right(t.dim, "ASKS", countWidth), right(t.dim, "DENY", countWidth)}
	if width >= wideEnough {
		head = append(head, right(t.dim, "TOKENS", tokenWidth))
	}
	if width >= widest && m.o.Prices != nil {
		head = append(head, right(t.dim, "EST. COST", moneyWidth))
	}
	head = append(head, piece{t.dim, "  SCREEN"})
	below := 0
	if height >= 16 {
		below = min(height/2, max(7, height-len(items)-3))
	}
	empty := "no bottle runs: n starts an agent"
	if !m.looked {
		empty = "looking for bottles …"
	} else if m.looking.err != nil {
		empty = "cannot look for bottles: " + said(onOneLine(m.looking.err.Error()))
	}
	drawn := p.rows.draw(t, y+1, width, height-1-below, empty)
	lines := append([]string{append(head, p.rows.part(t)).draw(width)}, drawn...)
	if k := m.bottles[p.rows.selected]; below > 0 && k != nil {
		lines = append(lines, m.about(k, width, below)...)
	}
	return lines
}

// about is what is known of one bottle, and the end of its screen.
func (m *model) about(k *known, width, height int) []string {
	t := m.theme
	services := make([]string, len(k.Services))
	for i, s := range k.Services {
		services[i] = said(string(s))
	}
	rows := []row{
		{col(t.dim, " runs", keyWidth), {t.text, fmt.Sprintf("%s on %s, %s", said(k.AgentName), said(k.Backend), m.lived(k))}},
		{col(t.dim, " services", keyWidth), {t.text, strings.Join(services, ", ")}},
	}
	if k.tally.in+k.tally.out > 0 {
		rows = append(rows, row{col(t.dim, " tokens", keyWidth), {t.text, fmt.Sprintf("%s in (%s cached), %s out, %s", plain.Amount(k.tally.in), plain.Amount(k.tally.cached), plain.Amount(k.tally.out), said(k.tally.model))}})
		if estimate := m.spent(k.tally); estimate != "" {
			rows = append(rows, row{col(t.dim, " cost", keyWidth), {t.text, said(estimate)}, {t.dim, said(", estimated at prices of " + m.o.PricesOf + m.unpriced(k.tally))}})
		}
	}
	if k.tally.blocked > 0 {
		e := k.tally.lastBlocked
		rows = append(rows, row{col(t.dim, " denied", keyWidth), {t.bad, fmt.Sprintf("✗%d", k.tally.blocked)}, {t.text, fmt.Sprintf(", last %s ago  ", ago(e.Time, m.now))}, {t.words, "| " + place(e, max(16, width-40))}})
	}
	for _, s := range []source{k.asking, k.log} {
		if s.err != nil && k.Running {
			rows = append(rows, row{col(t.dim, " stale", keyWidth), {t.bad, fmt.Sprintf("since %s: %s", clock(s.since), said(onOneLine(s.err.Error())))}})
		}
	}
	for i, s := range k.pending() {
		name := ""
		if i == 0 {
			name = " asks"
		}
		rows = append(rows, row{col(t.dim, name, keyWidth), {t.needs, "▲ " + said(s.ID)}, {t.text, " " + said(string(s.Kind)) + "  "}, {t.words, "| " + said(s.Summary())}})
	}
	lines := []string{m.rule(said(k.Slug))}
	for _, r := range rows {
		lines = append(lines, r.draw(width))
	}
	if room := height - len(lines); room > 1 && k.Running {
		for _, r := range m.screenRows(k, width, room) {
			lines = append(lines, r.draw(width))
		}
	}
	return filled(lines, width, height)
}

// unpriced says what an estimate lacks.
func (m *model) unpriced(t tally) string {
	if t.unpriced == 0 {
		return ""
	}
	return ", without " + plain.Count(t.unpriced, "answer") + " of unknown price"
}

func (m *model) lived(k *known) string {
	if !k.Running {
		return "ended " + ago(k.Ended, m.now) + " ago"
	}
	return "for " + ago(k.started(), m.now)
}

func (p *agentsPane) keys(m *model) []binding {
	all := []binding{{"n", "new"}}
	k := m.bottles[m.chosen]
	switch {
	case k == nil:
		return all
	case !k.Running:
		return append([]binding{{"R", "resume"}, {"l", "logs"}, {"p", "pull"}}, all...)
	}
	all = append([]binding{{"enter", "attach"}, {"s", "stop"}, {"l", "logs"}, {"p", "pull"}}, all...)
	if len(k.pending()) > 0 {
		all = append([]binding{{"a", "asks"}}, all...)
	}
	if has(k.Found, control.Egress) {
		all = append(all, binding{"t", "traffic"})
	}
	return all
}

func (p *agentsPane) press(m *model, key string) tea.Cmd {
	if !p.rows.steady(m.now) && key != "n" {
		m.lookAgain()
		return nil
	}
	k := m.bottles[m.chosen]
	if key == "n" {
		return m.newAgent()
	}
	if k == nil {
		return nil
	}
	identity := k.Slug
	switch {
	case key == "enter" && k.Running:
		return m.open("attach "+identity, "attach", identity)
	case key == "s" && k.Running:
		m.confirm("stop "+said(identity), "Stop it? Home and workspace stay, unless it was started with --rm.", nil, nil, func() tea.Cmd {
			return m.act("stopping "+identity, func(ctx context.Context) error { return m.o.Bottles.Stop(ctx, identity) })
		})
	case key == "R" && !k.Running:
		return m.bringUp("resume "+identity, "resume", identity)
	case key == "l" && k.Running:
		return m.open("logs "+identity, "logs", "-f", identity)
	case key == "l", key == "p":
		verb := map[string]string{"l": "logs", "p": "pull"}[key]
		return m.read(verb+" "+identity, nil, verb, identity)
	case key == "a" && len(k.pending()) > 0:
		q := m.panes[1].(*requestsPane)
		q.rows.filter, q.rows.selected = "", k.pending()[0].ID
		return m.show(1)
	case key == "t" && has(k.Found, control.Egress):
		m.panes[2].(*trafficPane).rows.filter = identity
		return m.show(2)
	}
	return nil
}

// called names a bottle of an agent: what is shown before it starts is what starts.
func called(agent string) string { return "--identity=" + bottle.NewIdentity(agent) }

// newAgent asks which agent to start.
func (m *model) newAgent() tea.Cmd {
	agents, err := m.o.Bottles.Agents()
	if err != nil {
		m.say(true, err.Error())
		return nil
	}
	if len(agents) == 0 {
		m.say(true, "there is no agent to start")
		return nil
	}
	const keys = "123456789abcdefghijklmnoprstuvwxyz"
	var choices []choice
	for i, name := range agents[:min(len(agents), len(keys))] {
		choices = append(choices, choice{keys[i : i+1], said(name), func() tea.Cmd {
			m.prompt = &prompt{title: "start " + said(name), question: "With what in its workspace?", choices: []choice{
				{"enter", "nothing", func() tea.Cmd { return m.bringUp("start "+name, "start", called(name), name) }},
				{"c", "the repository at hand (--cwd)", func() tea.Cmd { return m.bringUp("start "+name, "start", called(name), "--cwd", name) }},
			}}
			return nil
		}})
	}
	m.prompt = &prompt{title: "new agent", question: "Which?", choices: choices}
	return nil
}
