package dashboard

// help says what the keys do.
func help(m *model) *viewer {
	t := m.theme
	v := &viewer{title: "help"}
	section := func(title string, keys ...binding) {
		v.lines = append(v.lines, row{}, row{{t.title, "  " + title}})
		for _, b := range keys {
			v.lines = append(v.lines, row{{t.text, "    "}, col(t.key, b.key, 14), {t.text, b.what}})
		}
	}
	section("Everywhere", binding{"1 … 5, tab", "another pane"}, binding{"↑ ↓ pgup pgdn", "select; the wheel and a click do, too"}, binding{"g G", "the first, the last"}, binding{"/", "show only what matches; esc shows all"}, binding{"q, ctrl-c", "quit: all bottles run on"})
	section("Agents", binding{"enter", "attach to its terminal; ctrl-p ctrl-q comes back"}, binding{"n", "start a new agent"}, binding{"s", "stop; home and workspace stay"}, binding{"R", "resume one that has ended"}, binding{"l", "its log"}, binding{"p", "pull its branches into the repository at hand"}, binding{"a, t", "what it asks for; its traffic"})
	section("Requests", binding{"a", "approve: once, for some uses, for a time, as long as it runs, for good; or answer"}, binding{"r", "reject, with a reason for the agent"}, binding{"e", "grant something else: edit it in $EDITOR, and look at it again"}, binding{"v", "all of it"}, binding{"x", "take a grant back"}, binding{"h", "show what was decided, too"})
	section("Traffic", binding{"a, d", "allow, or deny, what the row is about"}, binding{"b", "only what was denied"}, binding{"G", "follow"})
	section("Git", binding{"d, enter", "what a push changes, or one of the last has changed"}, binding{"a, r", "approve, reject"})
	section("Signs", binding{"▲", "waits for you"}, binding{"?", "its program waits for input"}, binding{"✗", "was denied, or does not work"}, binding{"● ○ ·", "works, idles, has ended"}, binding{"! ", "risks: read them before you approve"}, binding{"┃ and |", "what follows was chosen by an agent, and proves nothing"}, binding{"━━ ▶", "the dashboard asks you: nothing from a bottle ever stands there"})
	return v
}
