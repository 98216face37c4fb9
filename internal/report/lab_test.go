package report

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

const identity = "implementer-k7x2m4"

var morning = time.Date(2026, 3, 9, 9, 12, 4, 0, time.UTC)

// diary writes a log as the bundle's parent does.
type diary struct {
	t     *testing.T
	chain *audit.Chain
	log   bytes.Buffer
	at    time.Time
}

func newDiary(t *testing.T) *diary {
	return &diary{t: t, chain: audit.Continue(audit.Head{}), at: morning}
}

func (d *diary) write(after time.Duration, service string, e audit.Event) {
	d.t.Helper()
	d.at = d.at.Add(after)
	e.Time, e.Bottle, e.Service = d.at, identity, service
	line, err := d.chain.Line(e)
	if err != nil {
		d.t.Fatal(err)
	}
	d.log.Write(line)
}

func (d *diary) ask(after time.Duration, kind string, r requests.Request) {
	snapshot, err := json.Marshal(r)
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(after, "supervise", audit.Event{Kind: kind, Request: r.ID, Reason: string(r.State), Snapshot: snapshot})
}

// ended is the record of the bottle once the log is all.
func (d *diary) ended() state.Metadata {
	head, _, err := audit.ReadHead(bytes.NewReader(d.log.Bytes()))
	if err != nil {
		d.t.Fatal(err)
	}
	code, at := 0, d.at
	return state.Metadata{
		Identity: identity, Agent: "implementer", Bottle: "dev", Backend: "docker", Runtime: "runsc", Runs: 1, Image: "bot-bottle/claude:b6cea0e6219a",
		ImageID: "sha256:24ee92e3684c13755067e77f5dc8e13baf9e184c81a9d0b3b35d92a5bbabb98b", Manifest: "1a4c81fae148f1c6d76235efc5719c401710e7933b510d818d9b03164e536a4d",
		Versions: map[string]string{"bot-bottle": "v0.4.0", "engine": "20.10.24"}, StartedAt: morning, EndedAt: &at, ExitCode: &code, Audit: &head,
	}
}

func (d *diary) page(m state.Metadata) (*Report, string) {
	d.t.Helper()
	r, err := Read(bytes.NewReader(d.log.Bytes()), m, Options{Prices: ListPrices(), Now: d.at.Add(time.Minute), Program: "v0.4.0"})
	if err != nil {
		d.t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		d.t.Fatal(err)
	}
	return r, b.String()
}

// aDay is a bottle's work as it commonly is: two hours, a request that is granted and one
// that is not, a push that is refused for a secret and one that goes through.
func aDay(t *testing.T) *diary {
	d, dice := newDiary(t), rand.New(rand.NewPCG(7, 7))
	rule := 0
	d.write(0, "bundle", audit.Event{Kind: audit.Begin})
	d.write(time.Second, "git-gate", audit.Event{Kind: audit.Fetch, Decision: audit.Allow, Repository: "widget", Updates: []audit.Update{{Ref: "refs/heads/main", New: "3f1c2a9d0e5b7c8a1d2e3f405162738495a6b7c8"}}, Millis: 840})
	message := func(after time.Duration, scale float64) {
		in := int64(9000 + scale*float64(dice.IntN(60000)))
		d.write(after, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Protocol: policy.HTTPS, Host: "api.anthropic.com", Port: 443, Method: "POST", Path: "/v1/messages", Rule: &rule, Secret: "ANTHROPIC_API_KEY",
			Status: 200, BytesOut: in * 4, BytesIn: 2000 + int64(dice.IntN(14000)), Millis: float64(900 + dice.IntN(9000)),
			Usage: audit.Usage{Model: "claude-sonnet-4-20250514", TokensIn: in, TokensCached: in * int64(70+dice.IntN(25)) / 100, TokensOut: int64(120 + dice.IntN(2200))}})
	}
	get := func(after time.Duration, host, path string, bytes int64) {
		d.write(after, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Protocol: policy.HTTPS, Host: host, Port: 443, Method: "GET", Path: path, Rule: &rule, Status: 200, BytesOut: 400, BytesIn: bytes, Millis: 80})
	}
	deny := func(after time.Duration, host, method, path, why string) {
		d.write(after, "egress", audit.Event{Kind: audit.Request, Decision: audit.Deny, Protocol: policy.HTTPS, Host: host, Port: 443, Method: method, Path: path, Reason: why, Status: 403})
	}
	for i := range 46 {
		message(time.Duration(8+dice.IntN(50))*time.Second, float64(i)/30)
		if i%5 == 1 {
			for range 3 + dice.IntN(6) {
				get(time.Second, "proxy.golang.org", "/golang.org/x/net/@v/v0.62.0.zip", int64(20000+dice.IntN(900000)))
			}
		}
		switch i {
		case 6:
			for range 4 {
				deny(2*time.Second, "telemetry.example", "POST", "/v1/events", "no route allows the host telemetry.example")
			}
		case 12:
			d.write(time.Second, "egress", audit.Event{Kind: audit.Lookup, Decision: audit.Deny, Host: "pastebin.example", Reason: "no route has this name"})
			deny(time.Second, "pastebin.example", "POST", "/api/paste", "no route allows the host pastebin.example")
		case 15:
			deny(3*time.Second, "api.github.com", "POST", "/repos/acme/widget/pulls", "no route to api.github.com allows POST here")
			asked := requests.Request{ID: "k7x2m4-1", Kind: requests.Egress, State: requests.Pending, Asked: d.at, Why: []string{"To open the pull request that I was asked for."},
				Routes: []policy.Route{{Host: "api.github.com", Port: 443, Protocol: policy.HTTPS, Methods: []string{"POST"}, Paths: []string{"/repos/acme/widget/pulls"}}}}
			d.ask(4*time.Second, audit.Ask, asked)
			asked.State, asked.Decided, asked.Grant = requests.Approved, &requests.Outcome{At: d.at.Add(70 * time.Second), By: "sam"}, &requests.Grant{Scope: requests.Scope{Uses: 1}}
			d.ask(70*time.Second, audit.Decision, asked)
			d.write(5*time.Second, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Protocol: policy.HTTPS, Host: "api.github.com", Port: 443, Method: "POST", Path: "/repos/acme/widget/pulls", Grant: "k7x2m4-1", Secret: "GH_TOKEN", Status: 201, BytesOut: 2210, BytesIn: 18400, Millis: 612})
		case 22:
			d.write(6*time.Second, "git-gate", audit.Event{Kind: audit.Push, Decision: audit.Deny, Repository: "widget", Reason: "a secret in what is pushed", Commits: 3, Updates: []audit.Update{{Ref: "refs/heads/agent/limits", Old: "", New: "9d04c1f2b7a8e6d5c4b3a29180706f5e4d3c2b1a"}},
				Findings: []audit.Finding{{Rule: "github-pat", Part: "blob", Action: "block", Place: "testdata/env:3", Commit: "9d04c1f2b7a8"}}})
		case 27:
			d.write(9*time.Second, "git-gate", audit.Event{Kind: audit.Push, Decision: audit.Allow, Repository: "widget", Commits: 4, Updates: []audit.Update{{Ref: "refs/heads/agent/limits", Old: "", New: "b81e77c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4"}}, Millis: 1830})
		case 30:
			d.write(time.Second, "pipelock", audit.Event{Kind: audit.Flag, Protocol: policy.HTTPS, Host: "docs.example", Port: 443, Method: "GET", Path: "/guide", Rule: &rule, Status: 200, Reason: "the answer holds what may be orders to the agent (INJ-Prompt Injection); it was handed on",
				Findings: []audit.Finding{{Rule: "INJ-Prompt Injection", Part: "answer", Action: "alert", Scanner: "pipelock", Scan: "scan-bb6912ab34cd56ef"}}})
		case 33:
			asked := requests.Request{ID: "k7x2m4-2", Kind: requests.Egress, State: requests.Pending, Asked: d.at, Why: []string{"I want to upload the logs to compare them."}, Routes: []policy.Route{{Host: "files.example", Port: 443, Protocol: policy.HTTPS}}}
			d.ask(time.Second, audit.Ask, asked)
			asked.State, asked.Decided = requests.Rejected, &requests.Outcome{At: d.at.Add(40 * time.Second), By: "sam", Reason: "keep them in the repository"}
			d.ask(40*time.Second, audit.Decision, asked)
		case 40:
			d.write(time.Second, "egress", audit.Event{Kind: audit.Request, Decision: audit.Deny, Protocol: policy.HTTPS, Host: "api.github.com", Port: 443, Method: "POST", Path: "/gists", Reason: "a secret in what is sent", Status: 403, Findings: []audit.Finding{{Rule: "own-placeholder", Secret: "GH_TOKEN", Part: "body", Action: "block"}}})
		}
	}
	d.write(20*time.Second, "bundle", audit.Event{Kind: audit.End})
	return d
}

// hostile is a log in which every text that a bottle, an upstream or an operator's agent can
// choose tries to become something else.
func hostile(t *testing.T, all ...string) *diary {
	d := newDiary(t)
	d.write(0, "bundle", audit.Event{Kind: audit.Begin, Reason: all[0]})
	for _, what := range all {
		d.attack(what)
	}
	d.at = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	d.write(0, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Host: "from.the.future.example"})
	d.at = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	d.write(0, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Host: "from.the.past.example"})
	d.at = morning.Add(time.Hour)
	d.write(0, "bundle", audit.Event{Kind: audit.End})
	return d
}

func (d *diary) attack(what string) {
	for i := range 40 {
		d.write(time.Second, "egress", audit.Event{Kind: audit.Request, Decision: audit.Deny, Host: what, Method: what, Path: "/" + what, Reason: what, Secret: what, Protocol: "https", Port: 443 + i, BytesOut: -5, BytesIn: 1 << 62})
	}
	d.write(time.Second, "egress", audit.Event{Kind: audit.Request, Decision: audit.Allow, Host: strings.Repeat("w", 500), Path: what, Secret: what, Usage: audit.Usage{Model: what, TokensIn: 1 << 60, TokensOut: -1, TokensCached: 1 << 61}})
	d.write(time.Second, "egress", audit.Event{Kind: audit.Lookup, Decision: audit.Deny, Host: what, Reason: what})
	d.write(time.Second, "pipelock", audit.Event{Kind: audit.Flag, Host: what, Path: "/" + what, Reason: what, Findings: []audit.Finding{{Rule: what, Scan: what}}})
	d.write(time.Second, what, audit.Event{Kind: audit.Lifecycle, Reason: what})
	d.write(time.Second, "git-gate", audit.Event{Kind: audit.Push, Decision: audit.Deny, Repository: what, Reason: what, Updates: []audit.Update{{Ref: what, Old: what, New: what, Forced: true}}, Findings: []audit.Finding{{Rule: what, Place: what, Commit: what}}})
	d.ask(time.Second, audit.Decision, requests.Request{ID: what, Kind: requests.Question, State: requests.State(what), Question: what, Choices: []string{what}, Why: []string{what, what}, Asked: d.at,
		Decided: &requests.Outcome{At: d.at, By: what, Reason: what, Answer: what, Result: what}, Grant: &requests.Grant{Why: what, Ended: d.at}})
}

// injections are what HTML, attributes, styles, SVG and templates could be talked into.
func injections() []string {
	return []string{
		`<script>window.pwned=1</script>`, `"><img src=https://evil.example/x onerror=window.pwned=1>`, `' onmouseover='window.pwned=1`, `</style><script>window.pwned=1</script>`,
		`</title></svg><svg onload=window.pwned=1>`, `<iframe src=https://evil.example></iframe>`, `<meta http-equiv=refresh content="0;url=https://evil.example">`, `{{template "x"}}{{.}}`,
		`<link rel=stylesheet href=https://evil.example/a.css>`, `javascript:window.pwned=1`, "\u202e<b>turned\u2028\x1b]0;x\x07", `<!-- `, `<base href="https://evil.example/">`, `&lt;script&gt;`, strings.Repeat("ﷺ", 300),
	}
}

func must(t *testing.T, cond bool, format string, args ...any) {
	t.Helper()
	if !cond {
		t.Errorf(format, args...)
	}
}
