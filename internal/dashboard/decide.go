package dashboard

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// decideKeys are the keys for a request.
func decideKeys(s requests.Shown) []binding {
	switch {
	case s.State == requests.Pending && s.Kind == requests.Question:
		return []binding{{"a", "answer"}, {"r", "reject"}, {"v", "view"}}
	case s.State == requests.Pending && s.Kind == requests.Pushing:
		return []binding{{"d", "diff"}, {"a", "approve"}, {"r", "reject"}, {"v", "view"}}
	case s.State == requests.Pending:
		return []binding{{"a", "approve"}, {"r", "reject"}, {"e", "edit"}, {"v", "view"}}
	case s.Live():
		return []binding{{"x", "revoke"}, {"v", "view"}}
	}
	return []binding{{"v", "view"}}
}

// pressRequest is a key for a request, as it is on the screen.
func (m *model) pressRequest(s requests.Shown, key string) tea.Cmd {
	waits := s.State == requests.Pending
	switch {
	case key == "v" || key == "enter":
		m.viewer = m.whole(s)
	case key == "a" && waits:
		return m.approve(s)
	case key == "r" && waits:
		m.askFor("reject "+s.ID, "What the agent is told:", m.unchanged(s), func(reason string) tea.Cmd {
			return m.decide(s, requests.Decision{Reason: reason}, "rejecting")
		})
	case key == "e" && waits && s.Kind != requests.Pushing && s.Kind != requests.Question:
		return m.edit(s)
	case key == "d" && s.Kind == requests.Pushing && waits:
		return m.diff(s)
	case key == "x" && s.Live():
		m.confirm("revoke "+s.ID, "Take the grant back, and close what is open because of it?", nil, nil, func() tea.Cmd {
			return m.act("revoking "+s.ID, func(ctx context.Context) error { return m.o.Desks.Revoke(ctx, s.Bottle, s.ID) })
		})
	}
	return nil
}

// unchanged is whether a request is still what was shown of it.
func (m *model) unchanged(s requests.Shown) func(*model) bool {
	return func(m *model) bool {
		now, ok := m.request(s.Bottle, s.ID)
		return ok && now.State == s.State && now.Digest == s.Digest
	}
}

// decide carries the digest of what was shown.
func (m *model) decide(s requests.Shown, d requests.Decision, what string) tea.Cmd {
	d.Digest, d.By = s.Digest, m.o.By
	return m.act(what+" "+s.ID, func(ctx context.Context) error {
		_, err := m.o.Desks.Decide(ctx, s.Bottle, s.ID, d)
		return err
	})
}

// approve asks how a request is to be approved.
func (m *model) approve(s requests.Shown) tea.Cmd {
	still := m.unchanged(s)
	switch s.Kind {
	case requests.Question:
		m.answer(s)
	case requests.Pushing:
		m.confirm("approve "+s.ID, "Push exactly this, with your key?", m.gist(s), still, func() tea.Cmd {
			return m.decide(s, requests.Decision{Approve: true}, "pushing")
		})
	case requests.Egress, requests.Secret, requests.Limit:
		m.prompt = &prompt{title: "approve " + s.ID, about: m.gist(s), question: "Grant it to " + said(s.Bottle) + "?", choices: m.scopes(s), still: still}
	default: // bot-bottle approve knows what else it takes
		return m.open("approve "+s.ID, "approve", s.ID, "--digest", s.Digest)
	}
	return nil
}

// gist is the machine-made part of a request, for the prompt.
func (m *model) gist(s requests.Shown) []row {
	t := m.theme
	var rows []row
	for _, delta := range s.Delta {
		for _, line := range plain.Wrap(said(delta), m.width-4) {
			rows = append(rows, row{{t.strong, line}})
		}
	}
	for _, risk := range s.Risks {
		for _, line := range plain.Wrap("! "+said(risk), m.width-4) {
			rows = append(rows, row{{t.needs, line}})
		}
	}
	return m.bounded(rows, m.whole(s))
}

// bounded is what a prompt has room for. If that is not all, the whole is to be read above it.
func (m *model) bounded(rows []row, whole *viewer) []row {
	if most := max(6, m.height-14); len(rows) > most {
		m.viewer = whole
		rows = append(rows[:most-1:most-1], row{{m.theme.needs, "… and more: read all of it above, with ↑ and ↓"}})
	}
	return rows
}

// scopes are the ways to grant.
func (m *model) scopes(s requests.Shown) []choice {
	grant := func(scope requests.Scope) func() tea.Cmd {
		return func() tea.Cmd { return m.grant(s, scope, nil) }
	}
	var all []choice
	if s.Kind != requests.Limit {
		all = append(all, choice{"o", "once", grant(requests.Scope{Uses: 1})}, choice{"u", "for N uses", func() tea.Cmd {
			m.askFor("approve "+s.ID, "For how many uses?", m.unchanged(s), func(text string) tea.Cmd {
				n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
				if err != nil || n < 1 {
					m.say(true, "that is no number of uses: nothing was granted")
					return nil
				}
				return m.grant(s, requests.Scope{Uses: n}, nil)
			})
			return nil
		}})
	}
	all = append(all, choice{"t", "for 10 minutes", grant(requests.Scope{For: policy.Span(10 * time.Minute)})}, choice{"f", "for a time", func() tea.Cmd {
		m.askFor("approve "+s.ID, "For how long (30m, 2h)?", m.unchanged(s), func(text string) tea.Cmd {
			d, err := time.ParseDuration(strings.TrimSpace(text))
			if err != nil || d <= 0 {
				m.say(true, "that is no length of time: nothing was granted")
				return nil
			}
			return m.grant(s, requests.Scope{For: policy.Span(d)}, nil)
		})
		return nil
	}}, choice{"s", "as long as it runs", grant(requests.Scope{})})
	if s.Kind == requests.Egress {
		all = append(all, choice{"A", "for good", func() tea.Cmd { return m.forGood(s) }})
	}
	if s.For > 0 {
		all = append(all, choice{"enter", "for " + requests.Duration(s.For) + ", as asked", grant(requests.Scope{For: s.For})})
	}
	return all
}

// grant approves, after the credential that is asked for was typed.
func (m *model) grant(s requests.Shown, scope requests.Scope, keep func() error) tea.Cmd {
	d := requests.Decision{Approve: true, Scope: scope, Digest: s.Digest, By: m.o.By}
	if s.Kind == requests.Secret {
		m.askFor("approve "+s.ID, "The credential (not shown):", m.unchanged(s), func(value string) tea.Cmd {
			if value == "" {
				m.say(true, "the credential is empty: nothing was granted")
				return nil
			}
			d.Secret = value
			return m.decide(s, d, "granting")
		})
		m.prompt.input.EchoMode = textinput.EchoPassword
		return nil
	}
	return m.act(fmt.Sprintf("granting %s, %s", s.ID, length(scope, keep)), func(ctx context.Context) error {
		if _, err := m.o.Desks.Decide(ctx, s.Bottle, s.ID, d); err != nil || keep == nil {
			return err
		}
		if err := keep(); err != nil {
			return fmt.Errorf("it is granted as long as the bottle runs, but not for good: %w", err)
		}
		return nil
	})
}

func length(scope requests.Scope, keep func() error) string {
	if keep != nil {
		return "for good"
	}
	return scope.String()
}

// forGood shows the change of the manifest, and asks.
func (m *model) forGood(s requests.Shown) tea.Cmd {
	change, err := m.o.Desks.ForGood(s)
	if err != nil {
		m.say(true, err.Error())
		return nil
	}
	var about []row
	for line := range strings.SplitSeq(strings.TrimSuffix(change.Diff, "\n"), "\n") {
		style, further := diffStyle(m.theme)(strings.TrimSpace(line)), ""
		for _, part := range plain.Wrap(said(line), m.width-8) {
			about, further = append(about, row{{style, further + part}}), "      "
		}
	}
	title := "approve " + s.ID + " for good"
	m.confirm(title, "Grant it, and write this into the manifest?", m.bounded(about, &viewer{title: title, lines: about}), m.unchanged(s), func() tea.Cmd {
		return m.grant(s, requests.Scope{}, change.Write)
	})
	return nil
}

// answer asks for an answer to a question.
func (m *model) answer(s requests.Shown) {
	question := "Your answer:"
	if n := len(s.Choices); n > 0 {
		question = fmt.Sprintf("Your answer, or a number from 1 to %d:", n)
	}
	m.askFor("answer "+s.ID, question, m.unchanged(s), func(text string) tea.Cmd {
		if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(s.Choices) {
			text = s.Choices[n-1]
		}
		if strings.TrimSpace(text) == "" {
			m.say(true, "an empty answer is none")
			return nil
		}
		return m.decide(s, requests.Decision{Answer: text}, "answering")
	})
}

// edit hands a request to the operator's editor.
func (m *model) edit(s requests.Shown) tea.Cmd {
	return m.suspend("editing "+s.ID, func() error { return m.o.Desks.Edit(m.ctx, s) })
}

// diff shows what a push would change.
func (m *model) diff(s requests.Shown) tea.Cmd {
	m.say(false, "reading the diff of "+s.ID+" …")
	return func() tea.Msg {
		text, err := m.o.Desks.Diff(m.ctx, s.Bottle, s.ID)
		return did{what: "reading the diff of " + s.ID, err: err, then: func(m *model) tea.Cmd {
			m.viewer = &viewer{title: "what " + s.ID + " changes", lines: foreign(m.theme, text, diffStyle(m.theme)), extra: []binding{{"a", "approve"}, {"r", "reject"}}}
			m.viewer.do = func(m *model, key string) tea.Cmd {
				if now, ok := m.request(s.Bottle, s.ID); ok && (key == "a" || key == "r") {
					if now.Digest != s.Digest || now.State != s.State {
						m.viewer = nil
						m.say(true, requests.ErrChanged.Error())
						return nil
					}
					return m.pressRequest(s, key)
				}
				return nil
			}
			return nil
		}}
	}
}

// titleOf a request.
func titleOf(s requests.Shown) string {
	return fmt.Sprintf("%s  %s of %s", said(s.ID), said(string(s.Kind)), said(s.Bottle))
}

// whole is all of a request.
func (m *model) whole(s requests.Shown) *viewer {
	return &viewer{title: titleOf(s), lines: m.detail(s, m.width)}
}
