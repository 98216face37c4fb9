package dashboard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// gitPane shows pushes: those that wait, then what was pushed lately, newest first.
type gitPane struct{ rows list }

// push is one of either kind.
type push struct {
	name     string
	identity string
	at       time.Time
	held     *requests.Shown
	event    audit.Event
}

func (p *gitPane) name() string { return "Git" }
func (p *gitPane) list() *list  { return &p.rows }

func isHeld(s requests.Shown) bool { return s.Kind == requests.Pushing && isPending(s) }

func (p *gitPane) count(m *model) (int, bool) {
	n := len(m.requests(isHeld))
	return n, n > 0
}

func (p *gitPane) pushes(m *model) []push {
	var all, past []push
	waited := map[string][]requests.Shown{} // by bottle
	for _, s := range m.requests(func(s requests.Shown) bool { return s.Kind == requests.Pushing }) {
		one := push{name: rowName(s), identity: s.Bottle, at: s.Asked, held: &s}
		if s.Decided != nil {
			one.at = s.Decided.At
		}
		if isPending(s) {
			all = append(all, one)
		} else {
			past = append(past, one)
		}
		waited[s.Bottle] = append(waited[s.Bottle], s)
	}
	for _, k := range m.bottles {
		for _, e := range k.tally.pushes {
			if slices.ContainsFunc(waited[k.Slug], func(s requests.Shown) bool { return tellsOf(e, s) }) {
				continue
			}
			past = append(past, push{name: fmt.Sprintf("%s/%d", k.Slug, e.Seq), identity: k.Slug, at: e.Time, event: e})
		}
	}
	slices.SortFunc(past, func(a, b push) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) })
	return append(all, past...)
}

// tellsOf reports whether an event of the gate's is about a push that waits, or waited, for the
// operator: that it was not let through at once, or what became of it. Its row says so already.
func tellsOf(e audit.Event, s requests.Shown) bool {
	if e.Request != "" {
		return e.Request == s.ID
	}
	ended := e.Time.Add(time.Duration(e.Millis * float64(time.Millisecond)))
	return e.Decision == audit.Deny && e.Repository == s.Push.Repository && !ended.Before(s.Asked) &&
		slices.EqualFunc(e.Updates, s.Push.Updates, func(a audit.Update, b policy.RefUpdate) bool {
			return a.Ref == b.Ref && a.Old == b.Old && a.New == b.New
		})
}

func (p *gitPane) row(m *model, one push) row {
	t := m.theme
	mark, style, state, commits := "· ", t.dim, "pushed", one.event.Commits
	what, refs := one.event.Repository, heads(one.event.Updates, func(u audit.Update) string { return u.Ref })
	switch {
	case one.held != nil && isPending(*one.held):
		mark, style, state = "▲ ", t.needs, "held"
	case one.held != nil:
		state = string(one.held.State)
		if d := one.held.Decided; d != nil && d.Result == control.Forwarded {
			mark, style, state = "● ", t.good, "pushed"
		}
	case one.event.Decision == audit.Deny:
		mark, style, state = "✗ ", t.bad, "refused"
	case one.event.Decision == audit.Unknown:
		mark, style, state = "? ", t.needs, "unknown"
	case one.event.Decision == audit.Allow:
		mark, style = "● ", t.good
	}
	if one.held != nil {
		commits, what, refs = one.held.Push.Count, one.held.Push.Repository, heads(one.held.Push.Updates, func(u policy.RefUpdate) string { return u.Ref })
	}
	return row{{style, mark}, col(t.dim, one.at.Local().Format(time.TimeOnly), 9), col(style, said(state), 10), col(t.text, plain.CutFront(said(one.identity), 21), 22), right(t.dim, plain.Count(commits, "commit"), 11), {t.text, "  "}, {t.words, "|" + said(strings.TrimSpace(what+"  "+refs))}}
}

// heads are the refs of some updates, branches by their names.
func heads[U any](all []U, ref func(U) string) string {
	var refs []string
	for _, u := range all {
		refs = append(refs, strings.TrimPrefix(ref(u), "refs/heads/"))
	}
	return strings.Join(refs, ", ")
}

func (p *gitPane) draw(m *model, y, width, height int) []string {
	var items []item
	for _, one := range p.pushes(m) {
		items = append(items, item{name: one.name, row: func() row { return p.row(m, one) }})
	}
	p.rows.set(items, m.now)
	t := m.theme
	head := row{{t.dim, "   "}, col(t.dim, "TIME", 9), col(t.dim, "STATE", 10), col(t.dim, "OF", 22), right(t.dim, "BRINGS", 11), {t.dim, "  REPOSITORY AND REFS"}}
	top := min(max(1, len(items)), max(3, height/3))
	drawn := p.rows.draw(t, y+1, width, top, "nothing was pushed yet")
	lines := append([]string{append(head, p.rows.part(t)).draw(width)}, drawn...)
	one, ok := p.selected(m)
	if !ok {
		return lines
	}
	if one.held != nil {
		lines = append(lines, m.rule(said(one.held.ID)+"  push of "+said(one.identity)))
		return append(lines, m.details(*one.held, width, height-len(lines))...)
	}
	lines = append(lines, m.rule("push of "+said(one.identity)))
	for _, u := range one.event.Updates {
		lines = append(lines, row{col(t.dim, " ref", keyWidth), {t.rule, gutter}, {t.words, said(u.Ref)}, {t.dim, fmt.Sprintf("  %.12s → %.12s", cmp.Or(said(u.Old), "new"), cmp.Or(said(u.New), "deleted"))}}.draw(width))
	}
	for _, f := range one.event.Findings {
		lines = append(lines, row{col(t.dim, " found", keyWidth), {t.rule, gutter}, {t.bad, said(fmt.Sprintf("%s at %s in %.12s", f.Rule, f.Place, f.Commit))}}.draw(width))
	}
	if why := said(one.event.Reason); why != "" {
		for _, line := range plain.Wrap(why, width-keyWidth-1) {
			lines = append(lines, row{col(t.dim, " why", keyWidth), {t.text, line}}.draw(width))
		}
	}
	return lines
}

func (p *gitPane) selected(m *model) (push, bool) {
	for _, one := range p.pushes(m) {
		if one.name == p.rows.selected {
			return one, true
		}
	}
	return push{}, false
}

func (p *gitPane) keys(m *model) []binding {
	one, ok := p.selected(m)
	switch {
	case !ok:
		return nil
	case one.held != nil && isPending(*one.held):
		return decideKeys(*one.held)
	case one.viewable(m):
		return append([]binding{{"d", "diff"}}, one.otherKeys()...)
	}
	return one.otherKeys()
}

func (one push) otherKeys() []binding {
	if one.held == nil {
		return nil
	}
	return decideKeys(*one.held)
}

// key names a push that the upstream has, for its diff; "" if it does not have it.
func (one push) key() string {
	if one.held != nil && one.held.Decided != nil && one.held.Decided.Result == control.Forwarded {
		var updates []audit.Update
		for _, u := range one.held.Push.Updates {
			updates = append(updates, audit.Update{Old: u.Old, New: u.New})
		}
		return control.PushKey(one.held.Push.Repository, updates)
	}
	if one.held == nil && one.event.Decision == audit.Allow {
		return control.PushKey(one.event.Repository, one.event.Updates)
	}
	return ""
}

// viewable reports whether the bottle can be asked for the diff of a push that it has made.
func (one push) viewable(m *model) bool {
	k := m.bottles[one.identity]
	return one.key() != "" && k != nil && k.Running && has(k.Found, control.GitGate)
}

// pushedDiff shows what a push has changed.
func (m *model) pushedDiff(one push) tea.Cmd {
	what := "reading the diff of a push of " + one.identity
	m.say(false, what+" …")
	return func() tea.Msg {
		text, err := m.o.Desks.Diff(m.ctx, one.identity, one.key())
		return did{what: what, err: err, then: func(m *model) tea.Cmd {
			m.viewer = &viewer{title: "what a push of " + said(one.identity) + " has changed", lines: foreign(m.theme, text, diffStyle(m.theme))}
			return nil
		}}
	}
}

func (p *gitPane) press(m *model, key string) tea.Cmd {
	one, ok := p.selected(m)
	switch {
	case !ok:
		return nil
	case one.viewable(m) && (key == "d" || key == "enter"):
		return m.pushedDiff(one)
	case one.held == nil:
		return nil
	case !p.rows.steady(m.now):
		m.lookAgain()
		return nil
	}
	if key == "enter" && isPending(*one.held) {
		key = "d"
	}
	return m.pressRequest(*one.held, key)
}
