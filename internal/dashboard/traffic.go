package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// seen is an event of a bottle's.
type seen struct {
	name     string // of its own
	identity string
	event    audit.Event
	search   string
}

// traffic is the latest of what all bottles did.
type traffic struct{ all []seen }

// maxTraffic bounds what is kept of it.
const maxTraffic = 1000

func (t *traffic) add(identity string, e audit.Event) {
	if e.Phase != "" || e.Service == audit.Bundle {
		return
	}
	e.Snapshot = nil
	verdict := cmp.Or(e.Decision, e.Kind)
	s := seen{fmt.Sprintf("%s/%d", identity, e.Seq), identity, e, said(strings.Join([]string{identity, verdict, e.Method, target(e), e.Reason, e.Request, e.Grant}, " "))}
	if len(t.all) >= maxTraffic+maxTraffic/4 {
		t.all = slices.Clone(t.all[len(t.all)-maxTraffic:])
	}
	at := len(t.all)
	for at > 0 && t.all[at-1].event.Time.After(e.Time) {
		at-- // several logs come side by side
	}
	t.all = slices.Insert(t.all, at, s)
}

// forget drops a bottle's events: they are about to be told again.
func (t *traffic) forget(identity string) {
	t.all = slices.DeleteFunc(t.all, func(s seen) bool { return s.identity == identity })
}

// target is where something went.
func target(e audit.Event) string {
	switch {
	case e.Repository != "" && len(e.Updates) > 0:
		return e.Repository + " " + e.Updates[0].Ref
	case e.Repository != "":
		return e.Repository
	case e.Host == "":
		return cmp.Or(e.Request, e.Service)
	}
	host := e.Host
	if e.Port != 0 && e.Port != 443 && !(e.Protocol == policy.HTTP && e.Port == 80) {
		host += ":" + strconv.Itoa(e.Port)
	}
	return host + e.Path
}

// trafficPane shows events as they come.
type trafficPane struct {
	rows    list
	blocked bool // only what was refused
}

func (p *trafficPane) name() string             { return "Traffic" }
func (p *trafficPane) list() *list              { return &p.rows }
func (p *trafficPane) count(*model) (int, bool) { return 0, false }

func (p *trafficPane) row(m *model, s seen, width int) row {
	t, e := m.theme, s.event
	verdict, style := cmp.Or(e.Decision, e.Kind), t.dim
	switch e.Decision {
	case audit.Allow:
		verdict, style = "allow", t.good
	case audit.Deny:
		verdict, style = "✗ deny", t.bad
	}
	if e.Kind == audit.Flag {
		verdict, style = "▲ flag", t.needs
	}
	status := ""
	if e.Status != 0 {
		status = strconv.Itoa(e.Status)
	}
	room, of := p.columns(width)
	return row{
		col(t.dim, e.Time.Local().Format(time.TimeOnly), 9), col(style, verdict, 8), col(t.text, plain.CutFront(said(s.identity), of-1), of),
		col(t.text, said(cmp.Or(e.Method, e.Kind)), 8), col(t.words, "|"+place(e, room-1), room), right(t.dim, status, 4), {t.dim, "  "},
		{t.dim, said(e.Reason)},
	}
}

// columns are the widths of the target and of the bottle's name: a narrow screen has no room
// for reasons, which stand below.
func (p *trafficPane) columns(width int) (target, of int) {
	const others = 1 + 9 + 8 + 8 + 4
	if width < wideEnough {
		return width - others - 14, 14
	}
	return (width - others - 22) * 2 / 3, 22
}

// place is a target that has no room: its host keeps its end, which is what counts (ATTACKS
// G10), and the path gets what is left.
func place(e audit.Event, room int) string {
	text := said(target(e))
	if plain.Width(text) <= room || e.Host == "" {
		return plain.Cut(text, room)
	}
	path := said(e.Path)
	host := strings.TrimSuffix(text, path)
	forPath := min(plain.Width(path), max(room-plain.Width(host), room/3))
	return plain.CutFront(host, room-forPath) + plain.Cut(path, forPath)
}

func (p *trafficPane) draw(m *model, y, width, height int) []string {
	items := make([]item, 0, len(m.traffic.all))
	for _, s := range m.traffic.all {
		if p.blocked && s.event.Decision != audit.Deny {
			continue
		}
		items = append(items, item{s.name, s.search, func() row { return p.row(m, s, width) }})
	}
	p.rows.set(items, m.now)
	t := m.theme
	follows := "follows"
	if !p.rows.tail {
		follows = "stands still: G follows"
	}
	what := "all"
	if p.blocked {
		what = "only what was denied"
	}
	if p.rows.filter != "" {
		what += ", “" + said(p.rows.filter) + "”"
	}
	_, of := p.columns(width)
	head := row{{t.dim, " "}, col(t.dim, "TIME", 9), col(t.dim, "VERDICT", 8), col(t.dim, "OF", of), col(t.dim, "METHOD", 8), {t.dim, "TARGET   (" + what + "; " + follows + ")"}}
	lines := append([]string{head.draw(width)}, p.rows.draw(t, y+1, width, height-4, "nothing yet")...)
	if s, ok := p.selected(m); ok {
		e := s.event
		lines = append(lines, m.rule(""))
		lines = append(lines, row{col(t.dim, " to", keyWidth), {t.rule, gutter}, {t.words, said(target(e))}}.draw(width))
		lines = append(lines, row{col(t.dim, " why", keyWidth), {t.text, strings.TrimSpace(said(e.Reason) + "  " + cost(e))}}.draw(width))
	}
	return lines
}

func cost(e audit.Event) string {
	var parts []string
	if e.BytesOut+e.BytesIn > 0 {
		parts = append(parts, fmt.Sprintf("%s out, %s in", plain.Amount(e.BytesOut), plain.Amount(e.BytesIn)))
	}
	if e.Millis > 0 {
		parts = append(parts, fmt.Sprintf("%.0f ms", e.Millis))
	}
	if e.TokensIn+e.TokensOut > 0 {
		parts = append(parts, fmt.Sprintf("%s %s→%s tokens", said(e.Model), plain.Amount(e.TokensIn), plain.Amount(e.TokensOut)))
	}
	if e.Grant != "" {
		parts = append(parts, "by grant "+said(e.Grant))
	}
	return strings.Join(parts, ", ")
}

func (p *trafficPane) selected(m *model) (seen, bool) {
	for _, s := range m.traffic.all {
		if s.name == p.rows.selected {
			return s, true
		}
	}
	return seen{}, false
}

// editable reports whether a row's host can be allowed and denied in its bottle.
func (p *trafficPane) editable(m *model) (seen, bool) {
	s, ok := p.selected(m)
	if !ok || s.event.Host == "" {
		return s, false
	}
	k := m.bottles[s.identity]
	return s, k != nil && k.Running && has(k.Found, control.Egress)
}

func (p *trafficPane) keys(m *model) []binding {
	what := "only denied"
	if p.blocked {
		what = "all"
	}
	all := []binding{{"b", what}}
	if s, ok := p.editable(m); ok {
		if s.event.Decision == audit.Deny {
			return append([]binding{{"a", "allow this"}, {"d", "deny this"}}, all...)
		}
		return append([]binding{{"d", "deny this"}, {"a", "allow this"}}, all...)
	}
	return all
}

func (p *trafficPane) press(m *model, key string) tea.Cmd {
	if key == "b" {
		p.blocked = !p.blocked
		return nil
	}
	s, ok := p.editable(m)
	follows := p.rows.tail
	switch p.rows.tail = follows && !ok; {
	case ok && follows && !p.rows.steady(m.now) && (key == "a" || key == "d"):
		m.say(true, "it stands still now: look, and press again")
	case ok && key == "a":
		return m.allow(s)
	case ok && key == "d":
		m.confirm("deny in "+said(s.identity), "Take the routes to this host away? What is open there is closed.", behind(m.theme, hostPort(s.event)), nil, func() tea.Cmd {
			return m.act("denying in "+s.identity, func(ctx context.Context) error {
				return m.o.Desks.Deny(ctx, s.identity, s.event.Host, s.event.Port)
			})
		})
	}
	return nil
}

func hostPort(e audit.Event) string {
	if e.Port == 0 {
		return e.Host
	}
	return e.Host + ":" + strconv.Itoa(e.Port)
}

// behind is a bottle's text in a prompt: whole, behind the gutter.
func behind(t theme, text string) []row { return words(t, text, 70, 6) }

// allow offers routes that a row would pass by, the narrowest first.
func (m *model) allow(s seen) tea.Cmd {
	e := s.event
	base := policy.Route{Host: e.Host, Port: e.Port, Protocol: e.Protocol}
	var choices []choice
	var about []row
	add := func(key, what string, r policy.Route) {
		r, err := r.Normalize()
		if err != nil {
			return
		}
		about = append(about, append(row{{m.theme.key, key + " "}}, words(m.theme, "+ "+r.String(), m.width-6, 2)[0]...))
		choices = append(choices, choice{key, what, func() tea.Cmd {
			return m.act("allowing in "+s.identity, func(ctx context.Context) error { return m.o.Desks.Allow(ctx, s.identity, r) })
		}})
	}
	if e.Method != "" && e.Path != "" && !strings.Contains(e.Path, "…") {
		narrow := base
		narrow.Methods, narrow.Paths = []string{e.Method}, []string{e.Path}
		add("p", "this method and path", narrow)
	}
	if e.Method != "" {
		method := base
		method.Methods = []string{e.Method}
		add("m", "this method, any path", method)
	}
	add("h", "everything at this host", base)
	if len(choices) == 0 {
		m.say(true, "no route can be made of it")
		return nil
	}
	m.prompt = &prompt{title: "allow in " + said(s.identity), about: about, question: "As long as it runs, without a credential:", choices: choices}
	return nil
}
