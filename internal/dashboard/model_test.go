package dashboard

import (
	"fmt"
	"image/color"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

func (b *board) screen() string { return ansi.Strip(b.View().Content) }

func (b *board) shows(words ...string) {
	b.t.Helper()
	for _, w := range words {
		if !strings.Contains(b.screen(), w) {
			b.t.Errorf("the screen does not show %q:\n%s", w, b.screen())
		}
	}
}

// Each way to grant is the decision that it says it is.
func TestApproveScopes(t *testing.T) {
	for keys, want := range map[string]requests.Scope{
		"o": {Uses: 1}, "t": {For: policy.Span(10 * time.Minute)}, "s": {}, "u5\n": {Uses: 5}, "f90m\n": {For: policy.Span(90 * time.Minute)},
	} {
		b := newBoard(t, office(t), 80, 24)
		shown, _ := b.request("implementer-k7x2m4", "k7x2m4-1")
		b.press("2", "a", keys[:1])
		if rest, ok := strings.CutSuffix(keys[1:], "\n"); ok {
			b.typed(rest)
			b.press("enter")
		}
		if diff := cmp.Diff([]requests.Decision{{Digest: shown.Digest, Approve: true, Scope: want, By: "op"}}, b.fake.decided); diff != "" {
			t.Errorf("%q (-want +got):\n%s", keys, diff)
		}
		b.refresh()
		b.shows("granting k7x2m4-1", "● k7x2m4-1")
	}
}

// What makes no sense grants nothing, and esc never does.
func TestNoGrantByMistake(t *testing.T) {
	for _, keys := range [][]string{{"a", "esc"}, {"a", "u", "0", "enter"}, {"a", "u", "enter"}, {"a", "f", "x", "enter"}, {"a", "f", "-", "1", "m", "enter"}, {"a", "y"}, {"a", "enter"}, {"o"}, {"t"}, {"y"}, {"a", "A"}, {"a", "u", "5", "esc"}, {"r", "esc"}} {
		b := newBoard(t, office(t), 80, 24)
		b.press("2")
		b.press(keys...)
		if len(b.fake.decided) > 0 {
			t.Errorf("%v: decided %v", keys, b.fake.decided)
		}
	}
}

func TestApproveAsAskedAndForGood(t *testing.T) {
	f := office(t)
	f.ask(t, "reviewer-a2b3c4", noon.Add(-time.Hour), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}, For: policy.Span(25 * time.Minute)})
	written := false
	f.change = Change{Diff: "  bottles/dev.md\n  + - {host: docs.example}\n", Write: func() error { written = true; return nil }}
	b := newBoard(t, f, 80, 24)
	b.press("2", "g", "a")
	b.shows("enter for 25m, as asked")
	b.press("enter")
	if len(f.decided) != 1 || f.decided[0].Scope.For != policy.Span(25*time.Minute) {
		t.Errorf("decided %v", f.decided)
	}
	b.refresh()
	b.press("g", "a", "A")
	b.shows("+ - {host: docs.example}", "▶ Grant it, and write this into the manifest?")
	if written || len(f.decided) != 1 {
		t.Error("it was done before the answer")
	}
	b.press("y")
	if !written || len(f.decided) != 2 || f.decided[1].Scope != (requests.Scope{}) {
		t.Errorf("written %t, decided %v", written, f.decided)
	}
}

func TestRejectAndAnswer(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.press("2", "r")
	b.typed("use the mirror")
	b.shows("━━ reject k7x2m4-1 ", "▶ What the agent is told: use the mirror")
	b.press("enter")
	b.refresh()
	b.press("g", "a")
	b.shows("━━ answer a2b3c4-1 ")
	b.typed("2")
	b.press("enter")
	if n := len(b.fake.decided); n != 2 || b.fake.decided[0].Reason != "use the mirror" || b.fake.decided[0].Approve || b.fake.decided[1].Answer != "remove" {
		t.Errorf("decided %#v", b.fake.decided)
	}
}

// A credential is typed unseen, goes into the decision, and nowhere else.
func TestACredentialIsTypedUnseen(t *testing.T) {
	f := office(t)
	f.ask(t, "implementer-k7x2m4", noon.Add(-time.Hour), requests.Ask{Kind: requests.Secret, Route: &policy.Route{Host: "deploy.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "DEPLOY_TOKEN"}})
	b := newBoard(t, f, 80, 24)
	b.press("2", "g", "a", "o")
	b.typed("s3cr3t-value")
	b.shows("▶ The credential (not shown): ••••••••••••")
	if strings.Contains(b.screen(), "s3cr3t") {
		t.Error("it is on the screen")
	}
	b.press("enter")
	if len(f.decided) != 1 || f.decided[0].Secret != "s3cr3t-value" {
		t.Errorf("decided %v", f.decided)
	}
	if strings.Contains(b.screen(), "s3cr3t") {
		t.Error("it is on the screen")
	}
}

// A kind of request that the dashboard does not know is decided by the verb that does.
func TestAnUnknownKindIsHandedOn(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.send(batch{desked{identity: "implementer-k7x2m4", now: control.Requests{Requests: []requests.Shown{{Digest: "d1", Request: requests.Request{ID: "k7x2m4-9", Kind: "capability", State: requests.Pending, Why: []string{"x"}}, Delta: []string{"+ make"}}}}}})
	b.press("2", "g")
	b.shows("capability", "wants      + make")
	_ = b.send(keyOf("a"))
	if !slices.Contains(b.fake.did, "approve k7x2m4-9 --digest d1") {
		t.Errorf("did %v", b.fake.did)
	}
}

func TestRevoke(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.press("2", "a", "t")
	b.refresh()
	b.press("G")
	b.shows("granted    10m; used 0 times", "x revoke")
	b.press("x", "y")
	if !slices.Contains(b.fake.did, "revoke k7x2m4-1") {
		t.Errorf("did %v", b.fake.did)
	}
}

// A row of the traffic is allowed as narrowly as the operator likes, and only where egress runs.
func TestAllowAndDenyARow(t *testing.T) {
	deny := audit.Event{Seq: 9, Time: noon, Service: "egress", Kind: audit.Request, Decision: audit.Deny, Protocol: policy.HTTPS, Method: "PUT", Host: "docs.example", Port: 443, Path: "/a/b"}
	for key, want := range map[string]string{
		"p": "allow docs-writer-p3q7aa https://docs.example:443 PUT /a/b", "m": "allow docs-writer-p3q7aa https://docs.example:443 PUT", "h": "allow docs-writer-p3q7aa https://docs.example:443",
	} {
		b := newBoard(t, office(t), 80, 24)
		b.event("docs-writer-p3q7aa", deny)
		b.press("3", "up", "a", key)
		if !slices.Contains(b.fake.did, want) {
			t.Errorf("%s: did %v", key, b.fake.did)
		}
	}
	b := newBoard(t, office(t), 80, 24)
	shortened := deny
	shortened.Path = "/commit/…(40)"
	b.event("docs-writer-p3q7aa", shortened)
	b.press("3", "up", "a", "p")
	if len(b.fake.did) > 0 {
		t.Errorf("a path that is not whole was allowed: %v", b.fake.did)
	}
	b.press("esc", "d")
	b.shows("━━ deny in docs-writer-p3q7aa ", "┃ docs.example:443")
	b.press("y")
	if !slices.Contains(b.fake.did, "deny docs-writer-p3q7aa docs.example:443") {
		t.Errorf("did %v", b.fake.did)
	}
	b.fake.found[0].Services = nil
	b.refresh()
	b.event("docs-writer-p3q7aa", deny)
	if b.press("a"); b.prompt != nil || strings.Contains(b.screen(), "allow this") {
		t.Error("a route can be made without egress")
	}
}

// While the list follows, the row under the key is another one every moment: the first press
// stops it.
func TestAFollowingRowIsNotDecided(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.press("3")
	for i := range 3 {
		b.event("docs-writer-p3q7aa", audit.Event{Seq: int64(i + 1), Time: noon, Service: "egress", Kind: audit.Request, Decision: audit.Deny, Method: "GET", Host: "docs.example", Port: 443})
	}
	b.press("a")
	if b.prompt != nil {
		t.Error("it asks about a row that nobody has seen")
	}
	b.shows("stands still")
	b.o.Now = func() time.Time { return noon.Add(2 * time.Second) }
	if b.press("a"); b.prompt == nil {
		t.Error("it does not ask")
	}
}

// Who needs the operator stands first, and what is selected stays selected.
func TestOrderAndSelection(t *testing.T) {
	f := office(t)
	b := newBoard(t, f, 80, 24)
	order := func() (names []string) {
		for _, k := range b.ordered() {
			names = append(names, k.Slug)
		}
		return names
	}
	want := []string{"implementer-k7x2m4", "reviewer-a2b3c4", "tester-zz22yy", "docs-writer-p3q7aa", "migrator-mm44nn"}
	if diff := cmp.Diff(want, order()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for b.chosen != "docs-writer-p3q7aa" {
		b.press("down")
	}
	f.ask(t, "docs-writer-p3q7aa", noon, requests.Ask{Kind: requests.Question, Question: "?"})
	b.refresh()
	if b.chosen != "docs-writer-p3q7aa" || order()[0] != "docs-writer-p3q7aa" {
		t.Errorf("%s is selected of %v", b.chosen, order())
	}
	b.press("/")
	b.typed("migr")
	b.press("enter")
	if b.chosen != "migrator-mm44nn" || !strings.Contains(b.screen(), "R resume") || strings.Contains(b.screen(), "attach") {
		t.Errorf("%s is selected:\n%s", b.chosen, b.screen())
	}
	if b.press("esc"); b.panes[0].list().filter != "" {
		t.Error("esc does not show all")
	}
	b.press("/")
	b.typed("migr")
	if b.press("esc"); b.search != nil || b.panes[0].list().filter != "" {
		t.Error("esc does not end the search, and show all")
	}
}

func TestStates(t *testing.T) {
	old, fresh := noon.Add(-time.Hour), noon.Add(-5*time.Second)
	up := running("a-aaaaaa", "a")
	cut := up
	cut.Status = "running, cut off: its sidecar bundle does not run"
	for name, c := range map[string]struct {
		k    known
		want State
	}{
		"ended":                       {known{Found: Found{}}, Exited},
		"cut off":                     {known{Found: cut}, CutOff},
		"asked":                       {known{Found: up, asked: []requests.Shown{{Request: requests.Request{State: requests.Pending}}}, screen: Screen{State: Working}}, WaitsForYou},
		"its screen waits":            {known{Found: up, screen: Screen{State: WaitsForText, Since: old}}, WaitsForText},
		"no screen, traffic now":      {known{Found: up, noScreen: ErrNoScreen, tally: tally{last: fresh}}, Working},
		"no screen, traffic long ago": {known{Found: up, noScreen: ErrNoScreen, tally: tally{last: old}}, Idle},
		"no screen, just started":     {known{Found: Found{Running: true, ActiveAgent: up.ActiveAgent}, noScreen: ErrNoScreen}, Idle},
	} {
		if got, _ := c.k.state(noon); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// What cannot be reached any more stays on the screen, and is said to be old, until it is back.
func TestStale(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.send(batch{desked{identity: "implementer-k7x2m4", err: errOf("the engine is gone")}, listed{err: errOf("the engine is gone")}})
	b.shows("✗ stale", "implementer-k7x2m4", "stale since", "the engine is gone")
	b.refresh()
	if strings.Contains(b.screen(), "stale") {
		t.Errorf("it is back:\n%s", b.screen())
	}
	b.send(batch{listed{found: b.fake.found[1:], err: errOf("one backend is gone")}})
	b.shows("docs-writer-p3q7aa")
	b.send(batch{listed{found: b.fake.found[1:]}})
	if strings.Contains(b.screen(), "docs-writer") {
		t.Error("what is gone is still shown")
	}
}

// A log is told from its beginning again after its connection was lost: nothing counts twice.
func TestALogAgainCountsOnce(t *testing.T) {
	b := newBoard(t, office(t), 120, 24)
	e := audit.Event{Seq: 1, Time: noon, Service: "egress", Kind: audit.Request, Decision: audit.Deny, Host: "x.example", Usage: audit.Usage{TokensIn: 1000}}
	ahead := e
	ahead.Phase = audit.Ahead
	for range 3 {
		b.send(batch{logged{identity: "tester-zz22yy"}, happened{"tester-zz22yy", ahead}, happened{"tester-zz22yy", e}, logged{"tester-zz22yy", errGone}})
	}
	if k := b.bottles["tester-zz22yy"]; k.tally.blocked != 1 || k.tally.in != 1000 || len(b.traffic.all) != 1 {
		t.Errorf("got %+v, %d events", k.tally, len(b.traffic.all))
	}
}

func TestTrafficIsBounded(t *testing.T) {
	var tr traffic
	for i := range 5 * maxTraffic {
		tr.add("a-aaaaaa", audit.Event{Seq: int64(i), Time: noon.Add(time.Duration(i%7) * time.Second), Service: "egress", Kind: audit.Request})
	}
	inOrder := slices.IsSortedFunc(tr.all, func(a, b seen) int { return a.event.Time.Compare(b.event.Time) })
	if len(tr.all) > 2*maxTraffic || !inOrder {
		t.Errorf("%d events are kept, in order %t", len(tr.all), inOrder)
	}
}

func TestAgentsKeys(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.press("s")
	b.shows("━━ stop implementer-k7x2m4 ")
	b.press("n")
	if len(b.fake.did) > 0 {
		t.Errorf("did %v", b.fake.did)
	}
	b.press("y")
	_ = b.send(keyOf("enter"))
	b.press("p")
	b.press("esc", "n")
	b.shows("1 implementer", "2 reviewer")
	b.press("2", "c")
	b.shows("▶ Start it?")
	b.press("y")
	b.press("t")
	if b.at != 2 || b.panes[2].list().filter != "implementer-k7x2m4" {
		t.Errorf("pane %d with filter %q", b.at, b.panes[2].list().filter)
	}
	shown, _ := strings.CutPrefix(b.fake.did[3], "start --dry-run --identity=") // it is what is started
	name, _, _ := strings.Cut(shown, " ")
	if !bottle.ValidIdentity(name) || !strings.HasPrefix(name, "reviewer-") {
		t.Errorf("what is shown has no name of its own: %s", b.fake.did[3])
	}
	want := []string{"stop implementer-k7x2m4", "attach implementer-k7x2m4", "pull implementer-k7x2m4", "start --dry-run --identity=" + name + " --cwd reviewer", "start -y --detach --identity=" + name + " --cwd reviewer"}
	if diff := cmp.Diff(want, b.fake.did); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMouse(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.send(tea.MouseClickMsg{X: b.tabs[1] + 2, Y: 0, Button: tea.MouseLeft})
	if b.at != 1 {
		t.Errorf("pane %d is in front", b.at)
	}
	b.send(tea.MouseClickMsg{X: 5, Y: 4, Button: tea.MouseLeft})
	b.shows("a2b3c4-1  question of")
	b.send(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	b.shows("k7x2m4-1  egress of")
	b.press("a")
	for y := range 24 {
		b.send(tea.MouseClickMsg{X: 3, Y: y, Button: tea.MouseLeft})
	}
	if len(b.fake.decided) > 0 || b.prompt == nil {
		t.Error("a click answers a question")
	}
	b.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	if b.at != 1 || b.panes[1].list().selected != "k7x2m4-1" {
		t.Errorf("the mouse shows something else behind a question: pane %d, %s", b.at, b.panes[1].list().selected)
	}
	b.press("esc")
	b.send(tea.MouseClickMsg{X: 5, Y: 4, Button: tea.MouseRight})
	b.send(tea.MouseClickMsg{X: 5, Y: 4, Button: tea.MouseMiddle})
	if selected := b.panes[1].list().selected; selected != "k7x2m4-1" {
		t.Errorf("another button selects %s", selected)
	}
	b.press("?")
	b.send(tea.MouseClickMsg{X: 5, Y: 4, Button: tea.MouseLeft})
	if selected := b.panes[1].list().selected; selected != "k7x2m4-1" || b.viewer == nil {
		t.Errorf("a click goes through what is in front, to %s", selected)
	}
	top := b.viewer.top
	b.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	if b.viewer.top <= top {
		t.Error("the wheel does not scroll what is in front")
	}
}

// Search in a diff goes to what is sought, and on from there.
func TestViewerSearch(t *testing.T) {
	f := office(t)
	f.diff = strings.Repeat("x\n", 50) + "needle one\n" + strings.Repeat("y\n", 50) + "needle two\n" + strings.Repeat("z\n", 50)
	b := newBoard(t, f, 80, 24)
	b.press("4", "d", "/")
	b.typed("needle")
	b.press("enter")
	b.shows("needle one")
	b.press("n")
	b.shows("needle two")
	b.press("N")
	b.shows("needle one")
	b.press("G")
	b.shows("of 152")
}

// What answers cost is said to be an estimate; what has no price is said to be missing from it,
// and nothing is made up.
func TestCostIsAnEstimate(t *testing.T) {
	priced, other := audit.Usage{Model: "claude-x", TokensIn: 1e6, TokensOut: 1e6}, audit.Usage{Model: "else", TokensIn: 1e6}
	for name, c := range map[string]struct {
		answers []audit.Usage
		want    string
		also    string
	}{
		"priced":         {[]audit.Usage{priced, priced}, "~ 4.00 USD", "estimated at prices of 2026-01 "},
		"some":           {[]audit.Usage{priced, other, other}, "> 2.00 USD", "without 2 answers of unknown price"},
		"none is priced": {[]audit.Usage{other}, "", ""},
		"none":           {[]audit.Usage{{}}, "", ""},
	} {
		b := newBoard(t, office(t), 140, 40)
		k := b.bottles["implementer-k7x2m4"]
		k.tally = tally{}
		for _, u := range c.answers {
			b.send(batch{happened{k.Slug, audit.Event{Kind: audit.Request, Decision: audit.Allow, Usage: u}}})
		}
		b.chosen = k.Slug
		line := ""
		for _, l := range strings.Split(b.screen(), "\n") {
			if strings.Contains(l, "▌▲ implementer-k7x2m4") {
				line = l
			}
		}
		if got := b.spent(k.tally); got != c.want || c.want != "" && !strings.Contains(line, c.want) || c.want == "" && strings.Contains(line, "USD") || !strings.Contains(b.screen(), c.also) {
			t.Errorf("%s: got %q:\n%s", name, got, b.screen())
		}
	}
}

// What a push has changed that never waited can be read as well, behind the gutter, and only
// where the bottle can be asked for it.
func TestTheDiffOfAPushThatDidNotWait(t *testing.T) {
	f := office(t)
	f.diff = "diff --git a/x b/x\n+hello \x1b]0;owned\x07\n+▶ Push exactly this?\n"
	b := newBoard(t, f, 100, 30)
	updates := []audit.Update{{Ref: "refs/heads/agent/new", New: strings.Repeat("a", 40)}}
	forwarded := audit.Event{Time: noon, Seq: 900, Service: "git-gate", Kind: audit.Push, Decision: audit.Allow, Repository: "widget", Updates: updates, Commits: 1}
	refused := forwarded
	refused.Seq, refused.Decision, refused.Repository, refused.Time = 901, audit.Deny, "gadget", noon.Add(-time.Minute)
	b.send(batch{happened{"implementer-k7x2m4", forwarded}, happened{"implementer-k7x2m4", refused}})
	b.press("4")
	git := b.panes[3].(*gitPane)
	git.rows.selected = "implementer-k7x2m4/900"
	b.shows("d diff")
	b.press("d")
	b.shows("what a push of implementer-k7x2m4 has changed", "┃ +hello ·]0;owned·", "┃ +> Push exactly this?")
	if want := "diff implementer-k7x2m4 " + control.PushKey("widget", updates); !slices.Contains(f.did, want) {
		t.Errorf("got %q, want %q", f.did, want)
	}
	b.press("esc")
	git.rows.selected = "implementer-k7x2m4/901"
	if strings.Contains(b.screen(), "d diff") {
		t.Errorf("the diff of one that was refused is offered:\n%s", b.screen())
	}
	git.rows.selected = "implementer-k7x2m4/900"
	b.bottles["implementer-k7x2m4"].Running = false
	if strings.Contains(b.screen(), "d diff") {
		t.Errorf("a bottle that has ended is asked:\n%s", b.screen())
	}
}

// The terminal's answer chooses the colours, as often as it comes.
func TestTheTerminalsBackgroundChoosesTheColours(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	dark := b.View().Content
	b.send(tea.BackgroundColorMsg{Color: color.White})
	light := b.View().Content
	b.send(tea.BackgroundColorMsg{Color: color.Black})
	if light == dark || b.View().Content != dark {
		t.Error("the colours do not follow the terminal's background")
	}
}

// Each key of the agents pane does its work on a bottle that it makes sense for, and is not
// offered and does nothing on any other.
func TestAgentsKeysWorkWhereTheyMakeSense(t *testing.T) {
	for _, c := range []struct{ of, key, what, want string }{
		{"tester-zz22yy", "enter", "attach", "attach tester-zz22yy"},
		{"migrator-mm44nn", "enter", "attach", ""},
		{"migrator-mm44nn", "s", "stop", ""},
		{"tester-zz22yy", "R", "resume", ""},
		{"migrator-mm44nn", "R", "resume", "resume --dry-run migrator-mm44nn"},
		{"tester-zz22yy", "l", "logs", "logs -f tester-zz22yy"},
		{"migrator-mm44nn", "l", "logs", "logs migrator-mm44nn"},
		{"tester-zz22yy", "p", "pull", "pull tester-zz22yy"},
		{"migrator-mm44nn", "p", "pull", "pull migrator-mm44nn"},
	} {
		b := newBoard(t, office(t), 120, 24)
		b.chosen = c.of
		if b.send(ticked{}); strings.Contains(b.screen(), " "+c.key+" "+c.what+" ") != (c.want != "") {
			t.Errorf("%s of %s:\n%s", c.what, c.of, b.screen())
		}
		b.press(c.key)
		if got := strings.Join(b.fake.did, "; "); got != c.want || c.want == "" && b.prompt != nil {
			t.Errorf("%s of %s: did %q, want %q; asks: %t", c.what, c.of, got, c.want, b.prompt != nil)
		}
	}
}

// A verb is offered only where the service behind it runs: no traffic is shown or changed in a
// bottle without egress, nor in one that has ended; nothing is asked where nothing can be.
func TestKeysOfServicesThatDoNotRun(t *testing.T) {
	f := office(t)
	f.found[0].Services, f.found[3].Services, f.found[4].Services = []control.Service{control.GitGate}, []control.Service{control.Egress}, []control.Service{control.Egress}
	b := newBoard(t, f, 120, 24)
	b.chosen = "docs-writer-p3q7aa"
	b.send(ticked{})
	if b.press("t"); b.at != 0 || strings.Contains(b.screen(), "t traffic") {
		t.Errorf("the traffic of a bottle without egress:\n%s", b.screen())
	}
	if b.press("a"); b.at != 0 || strings.Contains(b.screen(), "a asks") {
		t.Errorf("what is asked in a bottle that asks nothing:\n%s", b.screen())
	}
	b.chosen = "implementer-k7x2m4"
	b.send(ticked{})
	b.shows("a asks", "t traffic")
	if b.press("a"); b.at != 1 || b.panes[1].list().selected != "k7x2m4-1" {
		t.Errorf("pane %d, %s is selected", b.at, b.panes[1].list().selected)
	}

	deny := audit.Event{Seq: 9, Time: noon, Service: "egress", Kind: audit.Request, Decision: audit.Deny, Method: "GET", Host: "docs.example", Port: 443, Path: "/"}
	b.event("migrator-mm44nn", deny)
	b.press("3", "up", "a", "d")
	if b.prompt != nil || strings.Contains(b.screen(), "allow this") {
		t.Errorf("a route of a bottle that has ended:\n%s", b.screen())
	}
	b.event("tester-zz22yy", audit.Event{Time: noon, Seq: 900, Service: "git-gate", Kind: audit.Push, Decision: audit.Allow, Repository: "widget", Updates: []audit.Update{{Ref: "refs/heads/x", New: strings.Repeat("a", 40)}}, Commits: 1})
	b.press("4")
	b.panes[3].list().selected = "tester-zz22yy/900"
	b.press("d")
	if len(f.did) > 0 || strings.Contains(b.screen(), "d diff") {
		t.Errorf("a bottle without git-gate is asked for a diff: %v\n%s", f.did, b.screen())
	}
}

// A push of which nobody knows whether it arrived is not shown as pushed, nor as refused.
func TestAPushThatNobodyKnowsOf(t *testing.T) {
	b := newBoard(t, office(t), 120, 24)
	b.event("tester-zz22yy", audit.Event{Time: noon, Seq: 900, Service: "git-gate", Kind: audit.Push, Decision: audit.Unknown, Repository: "widget", Updates: []audit.Update{{Ref: "refs/heads/x", New: strings.Repeat("a", 40)}}, Commits: 1, Reason: "whether it is upstream is not known"})
	b.press("4")
	b.panes[3].list().selected = "tester-zz22yy/900"
	b.shows("unknown   tester-zz22yy", "whether it is upstream is not known")
	if b.press("d"); len(b.fake.did) > 0 {
		t.Errorf("it has a diff: %v", b.fake.did)
	}
}

// What start says is wrong is shown, and nothing is asked then.
func TestNothingIsStartedThatCannotBe(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.o.Terminal = &failing{b.fake}
	b.press("n", "1", "enter")
	b.shows("┃ the manifest has no such bottle", "start implementer")
	if b.prompt != nil {
		t.Error("it asks whether to start it")
	}
	b.press("y")
	if slices.ContainsFunc(b.fake.did, func(did string) bool { return strings.HasPrefix(did, "start -y") }) {
		t.Errorf("did %v", b.fake.did)
	}
}

// failing is a terminal whose programs fail.
type failing struct{ *fake }

func (f *failing) Self(args ...string) *exec.Cmd {
	f.did = append(f.did, strings.Join(args, " "))
	return exec.Command("sh", "-c", "echo the manifest has no such bottle >&2; exit 2")
}

// Panes come one after the other, both ways; in the preview the arrows choose the agent.
func TestPanes(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	var seen []int
	for range 6 {
		b.press("tab")
		seen = append(seen, b.at)
	}
	b.send(tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift})
	b.send(tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift})
	if want := []int{1, 2, 3, 4, 0, 1}; !slices.Equal(seen, want) || b.at != 4 {
		t.Errorf("got %v, then %d", seen, b.at)
	}
	before := b.chosen
	b.press("down")
	if b.chosen == before || !strings.Contains(strings.Split(b.screen(), "\n")[2], b.chosen) {
		t.Errorf("%s is chosen:\n%s", b.chosen, b.screen())
	}
}

// A key that comes just after what was selected has gone does nothing for a moment.
func TestAKeyAfterTheSelectionHasMoved(t *testing.T) {
	b := newBoard(t, office(t), 80, 24)
	b.chosen = "tester-zz22yy"
	b.refresh()
	b.fake.found = slices.DeleteFunc(b.fake.found, func(f Found) bool { return f.Slug == "tester-zz22yy" })
	b.refresh()
	if b.press("s"); b.prompt != nil {
		t.Errorf("it asks about %s", b.chosen)
	}
	b.shows("the selection has just moved")
	b.o.Now = func() time.Time { return noon.Add(2 * time.Second) }
	if b.press("s"); b.prompt == nil {
		t.Error("it does not ask")
	}

	b = newBoard(t, office(t), 80, 24)
	b.fake.ask(t, "implementer-k7x2m4", noon, requests.Ask{Kind: requests.Pushing, Push: &requests.Push{Repository: "widget", Updates: []policy.RefUpdate{{Ref: "refs/heads/x", New: strings.Repeat("a", 40)}}, Count: 1, Diff: "00"}})
	b.refresh()
	b.press("4")
	if selected := b.panes[3].list().selected; selected != "zz22yy-1" {
		t.Fatalf("%s is selected", selected)
	}
	b.fake.found = slices.DeleteFunc(b.fake.found, func(f Found) bool { return f.Slug == "tester-zz22yy" })
	b.refresh()
	if b.press("a"); b.prompt != nil {
		t.Error("a key meant for one push asks about another")
	}
}

// A push that waited for the operator is one row: what the gate logged of it, that it was not let
// through at once and what became of it, is no other push.
func TestAPushThatWaitedIsOneRow(t *testing.T) {
	f := office(t)
	b := newBoard(t, f, 100, 30)
	updates := []audit.Update{{Ref: "refs/heads/agent/flaky", New: "5f2d1c0b9a8e7f6d5c4b3a29181706f5e4d3c2b1"}}
	asked := noon.Add(-20 * time.Second)
	before := audit.Event{Time: asked.Add(-time.Minute), Seq: 900, Service: "git-gate", Kind: audit.Push, Decision: audit.Deny, Repository: "widget", Updates: updates}
	held := before
	held.Seq, held.Time, held.Millis = 901, asked.Add(-50*time.Millisecond), 60
	b.send(batch{happened{"tester-zz22yy", before}, happened{"tester-zz22yy", held}})
	b.press("4")
	b.shows("▲ 11:59:40 held")
	if n := strings.Count(b.screen(), "refused"); n != 1 {
		t.Errorf("%d pushes are refused, not one:\n%s", n, b.screen())
	}
	b.press("g", "a", "y")
	if _, err := f.ledgers["tester-zz22yy"].Finish("zz22yy-1", control.Forwarded); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	sent := held
	sent.Seq, sent.Time, sent.Decision, sent.Request = 902, noon, audit.Allow, "zz22yy-1"
	b.send(batch{happened{"tester-zz22yy", sent}})
	if n := strings.Count(b.screen(), "● 12:00:00 pushed"); n != 1 || strings.Contains(b.screen(), "approved") {
		t.Errorf("it was pushed %d times:\n%s", n, b.screen())
	}
}

// Whoever decides one request after the other comes to the next each time, and not to where
// the last has gone.
func TestAfterADecisionComesTheNext(t *testing.T) {
	f := office(t)
	for range 3 {
		f.ask(t, "implementer-k7x2m4", noon.Add(-time.Minute), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: fmt.Sprintf("h%d.example.net", len(f.ledgers["implementer-k7x2m4"].All())), Methods: []string{"GET"}}})
	}
	b := newBoard(t, f, 100, 30)
	b.press("2", "down")
	p := b.panes[1].(*requestsPane)
	if p.rows.selected != "k7x2m4-2" {
		t.Fatalf("%s is selected", p.rows.selected)
	}
	b.press("a", "o")
	b.refresh()
	if p.rows.selected != "k7x2m4-3" {
		t.Errorf("%s is selected:\n%s", p.rows.selected, b.screen())
	}
	b.press("a")
	b.shows("the selection has just moved")
	b.o.Now = func() time.Time { return noon.Add(2 * time.Second) }
	b.press("r", "enter")
	b.refresh()
	if p.rows.selected != "k7x2m4-4" {
		t.Errorf("%s is selected:\n%s", p.rows.selected, b.screen())
	}
}

// On the smallest screen it is seen what is asked for, how much waits, that what is shown is
// stale, and that there is more.
func TestTheSmallestScreenSaysWhatCounts(t *testing.T) {
	f := office(t)
	for i := range 9 {
		f.ask(t, "implementer-k7x2m4", noon.Add(time.Duration(i)*time.Minute), requests.Ask{Kind: requests.Capability, Image: &requests.Image{Packages: []string{fmt.Sprintf("package%d", i)}}})
	}
	b := newBoard(t, f, leastWidth, leastHeight)
	b.press("2")
	b.shows("▲ 12", "5 Pre", "+ https://api.github.com:443 POST"[:14], "(1–4 of 12)")
	b.press("G")
	b.shows("capability ", "+ package package8", "(9–12 of 12)")
	b.send(batch{listed{err: errOf("the engine does not answer")}})
	b.shows("✗ stale")
}

// Attack G2: the line that would go into the manifest is longer than the screen is wide, with what
// matters at its end. All of it is shown before the answer, however small the screen.
func TestAttackG2_AllOfWhatGoesIntoTheManifestIsShown(t *testing.T) {
	for _, n := range []int{3, 16} {
		f := office(t)
		f.ask(t, "reviewer-a2b3c4", noon.Add(-time.Hour), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}})
		var paths string
		for i := range n {
			paths += fmt.Sprintf(", /a/rather/long/path/of/some/number/%d/**", i)
		}
		f.change = Change{Diff: "  bottles/dev.md\n  + - {host: docs.example, paths: [/**" + paths + ", /the/end]}\n", Write: func() error { return nil }}
		b := newBoard(t, f, 80, 24)
		b.press("2", "g", "a", "A")
		b.shows("▶ Grant it, and write this into the manifest?")
		if n > 3 {
			b.shows("read all of it above")
			b.press("end")
		}
		b.shows("/the/end]}")
	}
}

// An error of several lines is told on one, without marks for the ends of the others.
func TestAnErrorOfSeveralLinesIsTold(t *testing.T) {
	b := newBoard(t, office(t), 120, 24)
	b.say(true, "bottles/bad.md:2: unknown key foo\nbottles/bad.md:3: unknown key bar\n")
	b.shows("bottles/bad.md:2: unknown key foo; bottles/bad.md:3: unknown key bar")
	if strings.Contains(b.screen(), "·bottles") {
		t.Error(b.screen())
	}
}

// Of a start that fails, the error is told with what to do about it, and not that alone.
func TestWhatAStartEndedWithIsTold(t *testing.T) {
	for said, want := range map[string]string{
		"  agent  x\nbot-bottle: building\nbot-bottle: cannot start: no engine\n  start it: systemctl start docker\n": "cannot start: no engine\n  start it: systemctl start docker\n",
		"bot-bottle: no\n": "no\n", "killed": "killed", "": "",
	} {
		if got := lastError(said); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}
