package dashboard

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// noon is when the tests are.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fake is bottles in memory, each with a real ledger. It notes what the dashboard does.
type fake struct {
	found   []Found
	ledgers map[string]*requests.Ledger
	policy  policy.Policy
	diff    string
	did     []string
	decided []requests.Decision
	change  Change
}

func (f *fake) Bottles(context.Context) ([]Found, error) { return f.found, nil }

func (f *fake) Stop(_ context.Context, identity string) error {
	f.did = append(f.did, "stop "+identity)
	return nil
}

func (f *fake) Agents() ([]string, error) { return []string{"implementer", "reviewer"}, nil }

func (f *fake) Watch(ctx context.Context, identity string, tell func(control.Requests)) error {
	tell(f.now(identity))
	<-ctx.Done()
	return nil
}

func (f *fake) now(identity string) control.Requests {
	var now control.Requests
	if l := f.ledgers[identity]; l != nil {
		for _, r := range l.All() {
			now.Requests = append(now.Requests, l.Show(r, f.policy))
		}
	}
	return now
}

func (f *fake) Decide(_ context.Context, identity, id string, d requests.Decision) (requests.Shown, error) {
	f.decided = append(f.decided, d)
	r, err := f.ledgers[identity].Decide(noon, id, f.policy, d)
	return f.ledgers[identity].Show(r, f.policy), err
}

func (f *fake) Revoke(_ context.Context, identity, id string) error {
	f.did = append(f.did, "revoke "+id)
	return nil
}

func (f *fake) Diff(_ context.Context, identity, id string) (string, error) {
	f.did = append(f.did, "diff "+identity+" "+id)
	return f.diff, nil
}

func (f *fake) Allow(_ context.Context, identity string, r policy.Route) error {
	f.did = append(f.did, "allow "+identity+" "+r.String())
	return nil
}

func (f *fake) Deny(_ context.Context, identity, host string, port int) error {
	f.did = append(f.did, fmt.Sprintf("deny %s %s:%d", identity, host, port))
	return nil
}

func (f *fake) ForGood(requests.Shown) (Change, error) {
	if f.change.Write == nil {
		return Change{}, errors.New("only routes go into the manifest")
	}
	return f.change, nil
}

func (f *fake) Edit(context.Context, requests.Shown) error { return nil }

func (f *fake) Follow(ctx context.Context, _ string, _ func(audit.Event)) error {
	<-ctx.Done()
	return nil
}

func (f *fake) Look(context.Context, string) (Look, error) { return nil, ErrNoScreen }
func (f *fake) Self(args ...string) *exec.Cmd {
	f.did = append(f.did, strings.Join(args, " "))
	return exec.Command("true")
}
func (f *fake) Foreground(*exec.Cmd) error { return nil }
func (f *fake) Passed() []string           { return nil }

// tariff has a price for one model.
type tariff struct{}

func (tariff) Cost(u audit.Usage) (float64, bool) {
	return float64(u.TokensIn+u.TokensOut) / 1e6, strings.HasPrefix(u.Model, "claude-")
}

func (tariff) Money(v float64) string { return fmt.Sprintf("%.2f USD", v) }

// board is a dashboard that is driven by hand.
type board struct {
	t *testing.T
	*model
	fake *fake
}

func newBoard(t *testing.T, f *fake, width, height int) *board {
	t.Helper()
	o := Options{Bottles: f, Desks: f, Logs: f, Screens: f, Terminal: f, By: "op", Open: OpenPane, Prices: tariff{}, PricesOf: "2026-01", Now: func() time.Time { return noon }, Getenv: func(string) string { return "" }}
	b := &board{t, newModel(t.Context(), o, newFeed(o)), f}
	b.send(tea.WindowSizeMsg{Width: width, Height: height})
	b.refresh()
	return b
}

// refresh tells what there is now, as the feed does.
func (b *board) refresh() {
	news := batch{listed{found: b.fake.found}}
	for _, found := range b.fake.found {
		if found.Running {
			news = append(news, logged{identity: found.Slug}, desked{identity: found.Slug, now: b.fake.now(found.Slug)})
		}
	}
	b.send(news)
}

func (b *board) send(msg tea.Msg) tea.Cmd {
	_, cmd := b.Update(msg)
	_ = b.View()
	return cmd
}

// event is one of a bottle's.
func (b *board) event(identity string, e audit.Event) {
	b.send(batch{happened{identity, e}})
}

// press presses keys, and does what they set off.
func (b *board) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		cmd := b.send(keyOf(key))
		if cmd == nil {
			continue
		}
		if done, ok := cmd().(did); ok {
			b.send(done)
		}
	}
}

// typed types a line.
func (b *board) typed(text string) {
	for _, r := range text {
		b.send(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
}

func keyOf(key string) tea.KeyPressMsg {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "tab": tea.KeyTab, "pgdown": tea.KeyPgDown}
	if code, ok := special[key]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	r := []rune(key)[0]
	return tea.KeyPressMsg{Code: r, Text: key}
}

func running(identity, agent string, services ...control.Service) Found {
	slices.Sort(services)
	return Found{Running: true, ActiveAgent: bottle.ActiveAgent{Backend: "docker", Slug: identity, AgentName: agent, StartedAt: noon.Add(-42 * time.Minute).Format(time.RFC3339), Services: services, Status: "running"}}
}

// ask has an agent ask something.
func (f *fake) ask(t *testing.T, identity string, at time.Time, a requests.Ask) requests.Request {
	t.Helper()
	if f.ledgers == nil {
		f.ledgers = map[string]*requests.Ledger{}
	}
	if f.ledgers[identity] == nil {
		f.ledgers[identity] = requests.New(identity[strings.LastIndexByte(identity, '-')+1:])
	}
	r, err := f.ledgers[identity].Ask(at, f.policy, a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// office is a working day: agents in every state.
func office(t *testing.T) *fake {
	t.Helper()
	code := 0
	f := &fake{found: []Found{
		running("docs-writer-p3q7aa", "docs-writer", control.Egress),
		running("implementer-k7x2m4", "implementer", control.Egress, control.GitGate, control.Supervise),
		running("reviewer-a2b3c4", "reviewer", control.Egress, control.Supervise),
		running("tester-zz22yy", "tester", control.Egress, control.GitGate),
		{ActiveAgent: bottle.ActiveAgent{Backend: "docker", Slug: "migrator-mm44nn", AgentName: "migrator"}, Ended: noon.Add(-3 * time.Hour), Code: &code},
	}, policy: policy.Policy{Routes: []policy.Route{{Host: "api.github.com", Methods: []string{"GET"}, Paths: []string{"/repos/acme/**"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "GH_TOKEN"}}}}}
	f.ask(t, "implementer-k7x2m4", noon.Add(-4*time.Minute), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "api.github.com", Methods: []string{"POST"}, Paths: []string{"/repos/acme/widget/pulls"}}, Why: "To open the pull request that I was asked for."})
	f.ask(t, "reviewer-a2b3c4", noon.Add(-50*time.Second), requests.Ask{Kind: requests.Question, Question: "Keep the old API, or remove it in this change?", Choices: []string{"keep and deprecate", "remove"}})
	f.ask(t, "tester-zz22yy", noon.Add(-20*time.Second), requests.Ask{Kind: requests.Pushing, Push: &requests.Push{
		Repository: "widget", Upstream: "ssh://git@github.example/acme/widget.git", Reasons: []string{"every push to it waits for the operator"}, Count: 2,
		Updates: []policy.RefUpdate{{Ref: "refs/heads/agent/flaky", New: "5f2d1c0b9a8e7f6d5c4b3a29181706f5e4d3c2b1"}},
		Commits: []requests.Commit{{ID: "5f2d1c0b9a8e", Author: "Tester <tester@acme.example>", Subject: "retry the upload once"}, {ID: "1a2b3c4d5e6f", Author: "Tester <tester@acme.example>", Subject: "test: wait for the event, do not sleep"}},
		Stat:    []string{"upload.go      | 12 ++++++++--", "upload_test.go | 31 +++++++++++++++++++++++++++++++"}, Diff: "00",
	}})
	f.diff = "diff --git a/upload.go b/upload.go\n--- a/upload.go\n+++ b/upload.go\n@@ -10,3 +10,4 @@ func upload() error {\n \tif err := try(); err != nil {\n-\t\treturn err\n+\t\treturn try()\n \t}\n"
	return f
}

// busy adds what the office's agents did.
func (b *board) busy() {
	at := func(s int) time.Time { return noon.Add(-time.Duration(s) * time.Second) }
	model := audit.Usage{Model: "claude-opus-4-5", TokensIn: 48211, TokensOut: 1893, TokensCached: 45000}
	for i, e := range []struct {
		of string
		e  audit.Event
	}{
		{"implementer-k7x2m4", audit.Event{Time: at(300), Service: "egress", Kind: audit.Request, Decision: audit.Allow, Method: "POST", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Status: 200, BytesOut: 190000, BytesIn: 8123, Millis: 4120, Usage: model}},
		{"docs-writer-p3q7aa", audit.Event{Time: at(200), Service: "egress", Kind: audit.Request, Decision: audit.Allow, Method: "GET", Host: "proxy.golang.org", Port: 443, Path: "/golang.org/x/net/@v/list", Status: 200, BytesIn: 3123, Millis: 80}},
		{"implementer-k7x2m4", audit.Event{Time: at(245), Service: "egress", Kind: audit.Request, Decision: audit.Deny, Method: "POST", Host: "api.github.com", Port: 443, Path: "/repos/acme/widget/pulls", Status: 403, Reason: "no route allows POST here"}},
		{"tester-zz22yy", audit.Event{Time: at(40), Service: "git-gate", Kind: audit.Push, Decision: audit.Deny, Repository: "widget", Updates: []audit.Update{{Ref: "refs/heads/main", Old: "aaaaaaaaaaaaaaaa", New: "bbbbbbbbbbbbbbbb"}}, Commits: 1, Reason: "refs/heads/main is none of those that may be pushed"}},
		{"docs-writer-p3q7aa", audit.Event{Time: at(6), Service: "egress", Kind: audit.Request, Decision: audit.Allow, Method: "POST", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Status: 200, BytesOut: 8000, BytesIn: 900, Millis: 2120, Usage: model}},
		{"docs-writer-p3q7aa", audit.Event{Time: at(20), Service: "pipelock", Kind: audit.Flag, Method: "GET", Host: "docs.example", Port: 443, Path: "/guide", Status: 200, Reason: "the answer holds what may be orders to the agent (INJ-Prompt Injection; scan-bb6912ab34cd56ef); it was handed on"}},
		{"reviewer-a2b3c4", audit.Event{Time: at(90), Service: "egress", Kind: audit.Lookup, Decision: audit.Deny, Host: "telemetry.evil.example", Reason: "no route names this host"}},
	} {
		e.e.Seq = int64(i + 1)
		b.event(e.of, e.e)
	}
	b.bottles["docs-writer-p3q7aa"].noScreen = nil
	b.bottles["implementer-k7x2m4"].noScreen, b.bottles["implementer-k7x2m4"].screen = nil, Screen{State: WaitsForText, Since: at(200), Lines: []string{"● Pushing the branch needs a route that I do not have.", "  I asked for it and wait.", "", "────────────────────────────────", "> ", "────────────────────────────────", "  ⏵⏵ bypass permissions on", ""}}
	b.bottles["docs-writer-p3q7aa"].screen = Screen{State: Working, Since: at(64), Lines: []string{"╭───────────────────────────╮", "│ ✻ Claude Code             │", "╰───────────────────────────╯", "", "● Reading docs/git.md", "", "✻ Drafting… (62s · ↑ 1.2k tokens)", ""}}
}
