package dashboard

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// requestsPane is what agents ask for: what waits, then what is granted.
type requestsPane struct {
	rows list
	all  bool // also what was decided and has ended
}

func (p *requestsPane) name() string { return "Requests" }
func (p *requestsPane) list() *list  { return &p.rows }

func (p *requestsPane) count(m *model) (int, bool) {
	n := len(m.requests(isPending))
	return n, n > 0
}

// shown are the requests in the order of the list.
func (p *requestsPane) shown(m *model) []requests.Shown {
	all := m.requests(isPending)
	all = append(all, m.requests(func(s requests.Shown) bool { return !isPending(s) && s.Live() })...)
	if p.all {
		all = append(all, m.requests(func(s requests.Shown) bool { return !isPending(s) && !s.Live() })...)
	}
	return all
}

// rowName names a request's row. One that was decided is another row, elsewhere in the list:
// the selection goes on to what is next, and not with it.
func rowName(s requests.Shown) string {
	if isPending(s) {
		return s.ID
	}
	return s.ID + " decided"
}

func (p *requestsPane) row(m *model, s requests.Shown, width int) row {
	t := m.theme
	mark, style := "▲ ", t.needs
	state := ago(s.Asked, m.now)
	switch {
	case s.Live():
		mark, style, state = "● ", t.good, "granted"
	case !isPending(s):
		mark, style, state = "· ", t.dim, said(string(s.State))
	}
	risk := ""
	if n := len(s.Risks); n > 0 && isPending(s) {
		risk = fmt.Sprintf("!%d", n)
	}
	of := p.of(width)
	what := piece{t.text, gistOf(s, width-39-of)}
	if s.Kind == requests.Question || s.Kind == requests.Pushing {
		what = piece{t.words, "| " + said(s.Summary())}
	}
	line := row{{style, mark}, col(t.strong, said(s.ID), 11), col(t.text, said(string(s.Kind)), 11), right(style, state, 8), {t.text, " "}, right(t.needs, risk, 3), {t.text, "  "}}
	if of > 0 {
		line = append(line, col(t.dim, plain.CutFront(said(s.Bottle), of-1), of))
	}
	return append(line, what)
}

// of is how wide the bottle's name is, with a space. Where it would leave no room for what is
// asked for there is none: the end of it is the beginning of the request's own.
func (p *requestsPane) of(width int) int {
	switch {
	case width < 80:
		return 0
	case width < wideEnough:
		return 15
	}
	return 23
}

// gistOf is what a request comes to, in so much room. Of a host that is too long the end is
// seen, which is what counts (ATTACKS G10).
func gistOf(s requests.Shown, room int) string {
	text := said(s.Summary())
	if plain.Width(text) <= room || len(s.Routes) == 0 {
		return text
	}
	host := said(s.Routes[0].Host)
	rest := ""
	if _, after, ok := strings.Cut(text, host); ok {
		rest = after
	}
	return "+ " + plain.CutFront(host, max(8, room-2-min(plain.Width(rest), room/3))) + rest
}

func (p *requestsPane) draw(m *model, y, width, height int) []string {
	all := p.shown(m)
	var items []item
	for _, s := range all {
		items = append(items, item{name: rowName(s), row: func() row { return p.row(m, s, width) }})
	}
	p.rows.set(items, m.now)
	t := m.theme
	head := row{{t.dim, "   "}, col(t.dim, "ID", 11), col(t.dim, "KIND", 11), right(t.dim, "FOR", 8), {t.dim, " "}, right(t.dim, "RISK", 4), {t.dim, " "}, col(t.dim, "OF", p.of(width)), {t.dim, "WHAT"}}
	top := min(max(1, len(items)), max(3, height/3))
	drawn := p.rows.draw(t, y+1, width, top, "nothing waits to be decided")
	lines := append([]string{append(head, p.rows.part(t)).draw(width)}, drawn...)
	s, ok := p.selected(m)
	if !ok {
		return lines
	}
	lines = append(lines, m.rule(titleOf(s)))
	return append(lines, m.details(s, width, height-len(lines))...)
}

func (p *requestsPane) selected(m *model) (requests.Shown, bool) {
	for _, s := range p.shown(m) {
		if rowName(s) == p.rows.selected {
			return s, true
		}
	}
	return requests.Shown{}, false
}

func (p *requestsPane) keys(m *model) []binding {
	var all []binding
	if s, ok := p.selected(m); ok {
		all = decideKeys(s)
	}
	what := "show decided"
	if p.all {
		what = "hide decided"
	}
	return append(all, binding{"h", what})
}

func (p *requestsPane) press(m *model, key string) tea.Cmd {
	if key == "h" {
		p.all = !p.all
		return nil
	}
	s, ok := p.selected(m)
	switch {
	case !ok:
		return nil
	case !p.rows.steady(m.now):
		m.lookAgain()
		return nil
	}
	return m.pressRequest(s, key)
}
