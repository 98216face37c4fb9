package dashboard

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// hostile is what an agent would like the operator's terminal to see.
func hostile() map[string]string {
	return map[string]string{
		"clipboard":    "\x1b]52;c;cm0gLXJmIH4=\x07",
		"title":        "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
		"link":         "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
		"DCS and APC":  "\x1bP+q544e\x1b\\\x1b_Gf=100,a=T;AAAA\x1b\\\x1b^private\x1b\\",
		"cursor":       "\x1b[1;1H\x1b[10A\x1b[2J\x1b[3J\x1b[K\x1b[2;3r\x1bM",
		"reset":        "\x1bc\x1b[!p",
		"colour":       "\x1b[31;40;8mred\x1b[7m",
		"C1":           "\u009b2J\u009d0;owned\u009c\u0090x\u009c\u0085",
		"raw C1":       "\x9b2J\x9d0;owned\x9c",
		"unterminated": "\x1b]0;everything that follows is a title",
		"reports":      "\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b[18t\x05",
		"modes":        "\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[?1049h\x1b[4h\x1b(0\x0e",
		"bell":         "\a\a\a",
		"overtyped":    "harmless\rovertyped\b\b\b\bevil\x7f\x00",
		"new lines":    "x\n\v\f\u0085\u2028\u2029k7x2m4-9  granted\r\n━━ approve k7x2m4-9 ━━",
		"bidi":         "\u202eevil\u202c\u2066a\u2069\u200f\u061c",
		"zero width":   "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh\U000e0041\ufe0f\U000e0100",
		"combining":    "\u0301e" + strings.Repeat("\u0301", 500) + "a" + strings.Repeat("\u20dd", 500),
		"wide":         strings.Repeat("㊙", 300),
		"emoji":        strings.Repeat("👩‍👩‍👧‍👦🏳️‍🌈👍🏽", 40) + "각",
		"long":         strings.Repeat("A", 1200),
		"spaces":       "approve" + strings.Repeat("\u00a0\u3000\u2003\u3164\u2800 ", 100) + "evil",
		"not UTF-8":    "\xff\xfe\xc0\x80\xed\xa0\x80\xf5",
		"tabs":         "\t\t\t\tx",
	}
}

// spoken is an office in which everything that a bottle can choose the text of is this, as if
// whoever is to clean it had not.
func spoken(t *testing.T, text string, width, height int) *board {
	t.Helper()
	f := office(t)
	f.diff = "+" + text + "\n" + text
	b := newBoard(t, f, width, height)
	b.busy()
	push := &requests.Push{Repository: text, Upstream: text, Reasons: []string{text}, Count: 1, Updates: []policy.RefUpdate{{Ref: text, New: text}}, Commits: []requests.Commit{{ID: text, Author: text, Subject: text}}, Stat: []string{text}}
	all := []requests.Shown{
		{Request: requests.Request{ID: "k7x2m4-1", Kind: requests.Egress, State: requests.Pending, Why: []string{text}, Routes: []policy.Route{{Host: text}}}, Delta: []string{"+ " + text}, SoFar: []string{text}, Credentials: []string{text}, Risks: []string{text}},
		{Request: requests.Request{ID: "k7x2m4-2", Kind: requests.Question, State: requests.Pending, Question: text, Choices: []string{text}, Asked: noon}},
		{Request: requests.Request{ID: "k7x2m4-3", Kind: requests.Pushing, State: requests.Pending, Push: push, Asked: noon}, Delta: []string{text}, Risks: []string{text}},
		{Request: requests.Request{ID: text, Kind: requests.Kind(text), State: requests.State(text), Asked: noon, Decided: &requests.Outcome{Reason: text}}, Digest: text},
	}
	b.send(batch{desked{identity: "implementer-k7x2m4", now: control.Requests{Requests: all}}})
	for i, kind := range []string{audit.Request, audit.Push, text} {
		b.event("implementer-k7x2m4", audit.Event{Seq: int64(100 + i), Time: noon, Service: "egress", Kind: kind, Decision: audit.Deny, Method: text, Host: text, Path: text, Reason: text, Repository: map[bool]string{true: text}[kind == audit.Push], Updates: []audit.Update{{Ref: text, Old: text, New: text}}, Findings: []audit.Finding{{Rule: text, Place: text, Commit: text}}, Grant: text, Usage: audit.Usage{Model: text, TokensIn: 1}})
	}
	k := b.bottles["implementer-k7x2m4"]
	k.noScreen, k.screen = nil, Screen{Lines: strings.Split(strings.Repeat(text+"\n", 60), "\n")}
	k.asking.lost(errors.New(text), noon)
	b.say(true, text)
	return b
}

// everywhere shows each screen there is, one after the other.
func (b *board) everywhere(look func(where string)) {
	for _, keys := range [][]string{{"1"}, {"s"}, {"esc", "2"}, {"v"}, {"esc", "a"}, {"A"}, {"esc", "down", "a"}, {"esc", "down", "a"}, {"esc", "h", "down", "v"}, {"esc", "3"}, {"d"}, {"esc", "a"}, {"esc", "4"}, {"d"}, {"a"}, {"esc", "esc", "down", "down"}, {"5"}, {"?"}, {"esc", "1", "n"}, {"esc"}} {
		b.press(keys...)
		look(strings.Join(keys, " "))
	}
}

// Attack H1: a rationale, a question, a host, a path, a method, a branch, a commit, a file name, a
// screen or an error move the operator's cursor, set the title or the clipboard, have the terminal
// type an answer, or stand where they cannot be seen. On every screen of the dashboard they are
// text in their own line, and no more.
func TestAttackH1_NothingOnTheDashboardHarmsATerminal(t *testing.T) {
	t.Parallel()
	for attack, text := range hostile() {
		b := spoken(t, text, 100, 30)
		b.everywhere(func(where string) {
			if harm := harmOf(b.View().Content, 100, 30); harm != "" {
				t.Errorf("%s after %s: %s", attack, where, harm)
			}
		})
	}
}

var styling = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// harmOf draws a screen on an emulated terminal, and says what else happened, or what does not
// stand where it should. Anything but colours that a terminal acts on, or answers, is harm.
func harmOf(content string, width, height int) string {
	rest := styling.ReplaceAllString(content, "")
	for _, r := range rest {
		if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r >= 0xe0000 && r <= 0xe0fff) {
			return fmt.Sprintf("%U is drawn", r)
		}
	}
	lines := strings.Split(rest, "\n")
	if len(lines) != height {
		return fmt.Sprintf("%d lines", len(lines))
	}
	var harm string
	e := vt.NewEmulator(width, height)
	e.SetCallbacks(vt.Callbacks{Bell: func() { harm = "the bell" }, Title: func(string) { harm = "the title" }, AltScreen: func(bool) { harm = "the other screen" }, EnableMode: func(ansi.Mode) { harm = "a mode" }})
	_, _ = e.WriteString(strings.ReplaceAll(content, "\n", "\r\n"))
	for y, line := range lines {
		var shown strings.Builder
		for x := range width {
			if c := e.CellAt(x, y); c != nil {
				shown.WriteString(c.Content)
				if len([]rune(c.Content)) > 5 {
					harm = fmt.Sprintf("%d characters in a cell", len([]rune(c.Content)))
				}
			}
		}
		if got, want := strings.TrimRight(shown.String(), " "), strings.TrimRight(line, " "); got != want {
			harm = fmt.Sprintf("line %d is %q, not %q", y, got, want)
		}
	}
	_ = e.Close()
	return harm
}

// Attack H2: what an agent says looks like the dashboard's own question, with the answer chosen
// already, or like a row of its own that says that all is well. No word of a bottle's is ever in
// the lines of a question or outside of a gutter, and none can draw their shapes.
func TestAttackH2_WordsAreNoPrompt(t *testing.T) {
	const fake = "FAKE ━━ approve k7x2m4-9 ━━━━━━ ▶ Grant it to implementer? ▲ ✗ ┃ ▌ FAKE"
	for _, size := range [][2]int{{80, 24}, {120, 40}} {
		b := spoken(t, fake, size[0], size[1])
		b.everywhere(func(where string) {
			screen, questions := ansi.Strip(b.View().Content), 0
			if b.prompt != nil {
				questions = 1
			}
			for _, shape := range []string{"━━ ", "▶ "} {
				if b.viewer != nil && b.viewer.title == "help" {
					continue // it explains them
				}
				if got := strings.Count(screen, shape); got != questions {
					t.Errorf("after %s: %q is drawn %d times, not %d:\n%s", where, shape, got, questions, screen)
				}
			}
			for line := range strings.SplitSeq(screen, "\n") {
				if (strings.HasPrefix(line, "━") || strings.HasPrefix(line, "▶")) && strings.Contains(line, "FAKE") {
					t.Errorf("after %s: the question says %q", where, line)
				}
			}
		})
	}
}

// Attack H2: the same in what is the agent's alone: its reasons, questions, commits, files, diff
// and screen. Each line of it stands behind the gutter.
func TestAttackH2_WordsStayBehindTheGutter(t *testing.T) {
	words := "FAKE " + strings.Repeat("words that go on and on, ", 12)
	f := office(t)
	f.ask(t, "implementer-k7x2m4", noon, requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}, Why: words})
	f.ask(t, "implementer-k7x2m4", noon.Add(time.Second), requests.Ask{Kind: requests.Question, Question: words, Choices: []string{words}})
	f.diff = strings.Repeat(words+"\n", 5)
	b := newBoard(t, f, 80, 24)
	b.busy()
	k := b.bottles["implementer-k7x2m4"]
	k.noScreen, k.screen = nil, Screen{Lines: strings.Split(strings.Repeat(words+"\n", 30), "\n")}
	seen := 0
	b.chosen = "implementer-k7x2m4"
	for _, keys := range [][]string{{"1"}, {"2"}, {"down"}, {"down"}, {"down"}, {"down"}, {"a"}, {"esc", "4"}, {"d"}, {"esc", "5"}} {
		b.press(keys...)
		for line := range strings.SplitSeq(ansi.Strip(b.View().Content), "\n") {
			at := strings.Index(line, "FAKE")
			if at < 0 {
				at = strings.Index(line, "go on")
			}
			if at < 0 {
				continue
			}
			if seen++; !strings.ContainsAny(line[:at], "┃|") {
				t.Errorf("after %v: %q", keys, line)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d lines were looked at", seen)
	}
}

// Attack G10: a host so long that its end does not fit, or in another script, passes for another
// one. Where there is no room, the end is what is seen, and what a decision is about is shown whole.
func TestAttackG10_TheRealHostIsShown(t *testing.T) {
	long := "api.anthropic.com." + strings.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa.", 6) + "evil.example"
	f := office(t)
	f.ledgers = nil
	f.ask(t, "implementer-k7x2m4", noon, requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: long, Methods: []string{"GET"}, Paths: []string{"/docs"}}})
	f.ask(t, "implementer-k7x2m4", noon.Add(time.Second), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "xn--pypal-4ve.com"}})
	b := newBoard(t, f, 80, 24)
	b.event("implementer-k7x2m4", audit.Event{Seq: 1, Time: noon, Service: "egress", Kind: audit.Request, Decision: audit.Deny, Method: "GET", Host: long, Port: 443, Path: "/docs"})
	b.press("2")
	screen := ansi.Strip(b.View().Content)
	if row := strings.Split(screen, "\n")[3]; !strings.Contains(row, "evil.example") || strings.Contains(row, "anthropic") {
		t.Errorf("the list shows %q", row)
	}
	whole := func(what string) {
		t.Helper()
		screen := ansi.Strip(b.View().Content)
		if _, foot, _ := strings.Cut(screen, "━━"); !strings.Contains(strings.NewReplacer("\n", "", " ", "", "┃", "").Replace(foot), long) {
			t.Errorf("%s does not show the whole host:\n%s", what, screen)
		}
	}
	b.press("a")
	whole("the question")
	b.press("esc", "down", "a")
	if screen := ansi.Strip(b.View().Content); !strings.Contains(screen, "a name in another script") || !strings.Contains(screen, "xn--pypal-4ve.com") {
		t.Errorf("got %s", screen)
	}
	b.press("esc", "3")
	if row := strings.Split(ansi.Strip(b.View().Content), "\n")[3]; !strings.Contains(row, "evil.example") || strings.Contains(row, "anthropic") {
		t.Errorf("the traffic shows %q", row)
	}
	b.press("d")
	whole("the question about a row")
}

// Attack G2: what is asked changes while the operator reads it, or between the key and the
// decision. What was shown is what is decided, or nothing is.
func TestAttackG2_TheDashboardDecidesWhatItShows(t *testing.T) {
	f := office(t)
	b := newBoard(t, f, 80, 24)
	b.press("2")
	shown, _ := b.request("implementer-k7x2m4", "k7x2m4-1")

	// While the question is open the agent adds to what it asks for: the question is taken back.
	b.press("a")
	f.ask(t, "implementer-k7x2m4", noon, requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "api.github.com", Methods: []string{"DELETE"}, Paths: []string{"/repos/acme/widget"}}})
	b.refresh()
	if b.prompt != nil || !strings.Contains(ansi.Strip(b.View().Content), "it has changed meanwhile") {
		t.Error("the question stands, though it is about something else now")
	}

	// The feed has not told yet: the decision names what was shown, and is refused.
	b.send(batch{desked{identity: "implementer-k7x2m4", now: control.Requests{Requests: []requests.Shown{shown}}}})
	b.press("a", "t")
	if len(f.decided) != 1 || f.decided[0].Digest != shown.Digest {
		t.Fatalf("decided %v", f.decided)
	}
	if !strings.Contains(ansi.Strip(b.View().Content), requests.ErrChanged.Error()[:20]) {
		t.Error("it is not said that it was refused")
	}
	if now, _ := f.ledgers["implementer-k7x2m4"].Get("k7x2m4-1"); now.State != requests.Pending {
		t.Errorf("it is %s", now.State)
	}

	// A request goes away just before the key: what is selected then is not decided.
	b.refresh()
	if _, err := f.ledgers["implementer-k7x2m4"].Cancel(noon, "k7x2m4-1"); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	b.press("a")
	if b.prompt != nil {
		t.Error("a key meant for one request asks about another")
	}
}

// Attack G12: a paste, which may hold anything that an agent printed and the operator copied,
// presses keys.
func TestAttackG12_APasteDecidesNothing(t *testing.T) {
	f := office(t)
	b := newBoard(t, f, 80, 24)
	b.press("2")
	b.send(tea.PasteMsg{Content: "at"})
	b.press("a")
	b.send(tea.PasteMsg{Content: "t\n"})
	if len(f.decided) > 0 || b.prompt == nil {
		t.Errorf("decided %v", f.decided)
	}
}

// Attack H2: a line of a change of the image has so many spaces in it that it is broken just where
// another one would begin, and says below itself for how long it is. What is broken goes on further
// in than every line begins.
func TestAttackH2_ALongLineIsNoOtherLine(t *testing.T) {
	m := &model{}
	s := requests.Shown{Delta: []string{"+ RUN true" + strings.Repeat(" ", 90) + "for ten minutes"}, Risks: []string{"it is a risk"}}
	for _, r := range m.detail(s, 80) {
		if at := strings.Index(r.text(), "for ten minutes"); at >= 0 && at <= strings.Index(m.detail(s, 80)[0].text(), "+ RUN") {
			t.Errorf("got %q", r.text())
		}
	}
}
