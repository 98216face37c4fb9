package report

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// What a day's log adds up to.
func TestTotals(t *testing.T) {
	d := aDay(t)
	r, page := d.page(d.ended())
	must(t, r.Chain.Whole, "the chain: %s", r.Chain.Why)
	must(t, r.Totals.Blocked == 8+1 && r.Totals.Pushes == 2 && r.Totals.PushesRefused == 1 && r.Totals.Findings == 2 && r.Totals.Flagged == 1, "got %+v", r.Totals)
	must(t, r.Totals.Asked == 2 && r.Totals.Granted == 1 && r.Totals.Refused == 1, "got %+v", r.Totals)
	must(t, r.Requests[0].Grant.Used == 1, "the grant's uses: %+v", r.Requests[0].Grant)
	must(t, len(r.Models) == 1 && r.Models[0].Answers == 46 && r.Totals.Priced == 46, "got %+v", r.Models[0])
	var cost float64
	for _, b := range r.series.of {
		cost += b.cost
	}
	must(t, cost > 0 && cost-r.Totals.Cost < 1e-9 && r.Totals.Cost-cost < 1e-9, "cost over time is %v, in all %v", cost, r.Totals.Cost)
	for _, want := range []string{`content="default-src &#39;none&#39;; style-src &#39;sha256-`, "The audit log is whole.", "telemetry.example", "refs/heads/agent/limits", "github-pat", "keep them in the repository", "the operator", r.Chain.Report.Hash, "cost so far", "The agent ended with status 0.", "Flagged answers", "flagged</span>", "docs.example/guide", "orders to the agent (INJ-Prompt Injection)"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// A push that the operator lets through is one push: while it waits, it is neither refused nor has
// it left. Nor is what the operator rejects something that the bottle tried.
func TestAHeldPushIsCountedOnce(t *testing.T) {
	d := aDay(t)
	before, _ := d.page(d.ended())
	push := audit.Event{Kind: audit.Push, Decision: audit.Deny, Reason: "it waits for the operator as k7x2m4-9", Request: "k7x2m4-9", Repository: "widget", Commits: 1, BytesOut: 200_000}
	d.write(time.Second, "git-gate", push)
	d.write(time.Second, "supervise", audit.Event{Kind: audit.Decision, Decision: audit.Deny, Request: "k7x2m4-8", Reason: "rejected by uid 0"})
	push.Decision, push.Reason = audit.Allow, "approved as k7x2m4-9: forwarded"
	d.write(time.Second, "git-gate", push)
	r, page := d.page(d.ended())
	got, was := r.Totals, before.Totals
	must(t, got.Pushes == was.Pushes+1 && got.PushesHeld == 1 && got.PushesRefused == was.PushesRefused && got.Blocked == was.Blocked && got.BytesOut == was.BytesOut+200_000, "got %+v, and before %+v", got, was)
	var out float64
	for _, b := range r.series.of {
		out += b.out
	}
	must(t, int64(out) == got.BytesOut, "over time %v left, in all %d", out, got.BytesOut)
	must(t, strings.Contains(page, ", 1 held<") && strings.Contains(page, ">held</span>") && strings.Contains(page, ">rejected</span>"), "the page does not say it")
}

// Of every kind of request the page says what was asked for.
func TestWhatWasAskedForIsSaid(t *testing.T) {
	for want, r := range map[string]requests.Request{
		"up: push to refs/heads/main":      {Kind: requests.Repo, Git: &requests.Git{Repository: "up", Push: policy.Push{Refs: []string{"refs/heads/main"}}}},
		"a change of the image: ffmpeg jq": {Kind: requests.Capability, Image: &requests.Image{Packages: []string{"ffmpeg", "jq"}}},
		"a change of the image: RUN true":  {Kind: requests.Capability, Image: &requests.Image{Dockerfile: "RUN true"}},
		"Keep it?":                         {Kind: requests.Question, Question: "Keep it?"},
		"https://a.example:443 GET":        {Kind: requests.Egress, Routes: []policy.Route{{Host: "a.example", Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET"}}}},
	} {
		if got := wants(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A bottle that runs is said to run; of one that was not seen to, nothing is made up.
func TestABottleThatRunsIsSaidToRun(t *testing.T) {
	for _, c := range []struct {
		running       bool
		lead, lastRun string
	}{
		{true, " It runs.", "<dd>since "},
		{false, " It has not ended, or nobody saw it end.", " to —"},
	} {
		d := aDay(t)
		m := d.ended()
		m.EndedAt, m.ExitCode = nil, nil
		r, err := Read(strings.NewReader(d.log.String()), m, Options{Now: d.at, Running: c.running})
		if err != nil {
			t.Fatal(err)
		}
		var page strings.Builder
		if err := r.Write(&page); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.String(), c.lead) || !strings.Contains(page.String(), c.lastRun) {
			t.Errorf("running %t: it does not say %q and %q", c.running, c.lead, c.lastRun)
		}
	}
}

// A broken log makes a page that says so, above all else.
func TestABrokenLogIsSaid(t *testing.T) {
	d := aDay(t)
	m := d.ended()
	whole := d.log.String()
	for name, log := range map[string]string{
		"changed": strings.Replace(whole, "telemetry.example", "telemetry.exampl3", 1), "cut": whole[:strings.LastIndex(strings.TrimSuffix(whole, "\n"), "\n")+1], "torn": whole[:len(whole)-9], "empty": "",
		"no event": strings.Replace(whole, `"event":"request"`, `"event":""`, 1),
	} {
		r, err := Read(strings.NewReader(log), m, Options{Now: d.at})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		if r.Chain.Whole || !strings.Contains(b.String(), "The audit log is not whole.") || strings.Contains(b.String(), "The audit log is whole.") {
			t.Errorf("%s: got %+v", name, r.Chain)
		}
	}
	if _, err := Read(io.MultiReader(strings.NewReader(whole[:200]), failing{}), m, Options{Now: d.at}); err == nil {
		t.Error("a log that could not be read made a report")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("lost") }

// Attack H3: a bottle fills the log with markup, scripts, styles and references, where it may
// choose a text. None of it becomes a part of the page: the page has the elements that it has
// with harmless texts, no attribute of them is another, and nothing in it refers elsewhere.
func TestAttackH3_NothingOfALogBecomesMarkup(t *testing.T) {
	harmless := shape(t, hostilePage(t, "word"))
	for _, what := range injections() {
		page := hostilePage(t, what)
		if got := shape(t, page); got != harmless {
			t.Errorf("%q changed the page:\n%s", what, firstDifference(got, harmless))
		}
		if strings.ContainsAny(page, "\x1b\x07\u202e\u2028") {
			t.Errorf("%q: a control got into the page", what)
		}
	}
}

// hostilePage is the page of a log in which every text is one of all, and of such a record.
func hostilePage(t *testing.T, all ...string) string {
	d, what := hostile(t, all...), all[0]
	m := d.ended()
	m.Agent, m.Bottle, m.Backend, m.Runtime, m.Image, m.ImageID, m.Manifest, m.Versions = what, what, what, what, what, what, what, map[string]string{what: what}
	_, page := d.page(m)
	return page
}

// shape is a page's elements and attributes, without its texts and without numbers.
func shape(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	for tokens := html.NewTokenizer(strings.NewReader(page)); ; {
		switch tokens.Next() {
		case html.ErrorToken:
			return b.String()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			b.WriteString("<" + token.Data)
			for _, a := range token.Attr {
				b.WriteString(" " + a.Key)
				if a.Key == "class" || a.Key == "href" || a.Key == "src" || a.Key == "content" || a.Key == "style" {
					b.WriteString("=" + a.Val)
				}
			}
			b.WriteString(">\n")
		case html.EndTagToken:
			token := tokens.Token()
			b.WriteString("</" + token.Data + ">\n")
		case html.CommentToken:
			b.WriteString("<!>\n")
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + " instead of " + y[i]
		}
	}
	return "one is longer"
}

// A log of any length makes a page of a bounded one.
func TestThePageIsBounded(t *testing.T) {
	d := newDiary(t)
	d.write(0, "bundle", audit.Event{Kind: audit.Begin})
	for i := range 30000 {
		host := strings.Repeat("h", 1+i%400) + ".example"
		d.write(time.Second, "egress", audit.Event{Kind: audit.Request, Decision: audit.Deny, Host: host, Path: strings.Repeat("p", 500), Reason: strings.Repeat("r", 400) + host})
	}
	r, page := d.page(state.Metadata{Identity: identity})
	must(t, len(page) < 3<<20, "it has %d bytes", len(page))
	must(t, r.Left > 0 && strings.Contains(page, "have no room here") && strings.Contains(page, "more are not shown"), "it does not say what it leaves out")
	must(t, r.Totals.Blocked == 30000, "got %d", r.Totals.Blocked)
}

// The log of a real bottle, in a format of the past.
func TestARealLog(t *testing.T) {
	log, err := os.ReadFile("../state/testdata/v1/state/reviewer-nsi4iz/audit.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(bytes.NewReader(log), state.Metadata{Identity: "reviewer-nsi4iz"}, Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	must(t, r.Chain.Whole && r.Totals.Requests == 3 && len(r.Hosts) == 1 && r.Hosts[0].Secrets[0] == "ANTHROPIC_API_KEY", "got %+v", r.Totals)
}

func TestPrices(t *testing.T) {
	p := ListPrices()
	for model, want := range map[string]bool{"claude-sonnet-4-20250514": true, "claude-opus-4-1": true, "claude-3-5-haiku-latest": true, "claude-opus-4-9-20270101": false, "": false, "claude-sonnet-4-2025": false} {
		if _, ok := p.Cost(audit.Usage{Model: model, TokensIn: 1}); ok != want {
			t.Errorf("%q: got %t", model, ok)
		}
	}
	if c, _ := p.Cost(audit.Usage{Model: "claude-opus-4-1", TokensIn: 3e6, TokensCached: 2e6, TokensOut: 1e6}); c != 15+3+75 {
		t.Errorf("got %v", c)
	}
	for name, text := range map[string]string{"no json": "x", "unknown": `{"as_of":"a","currency":"b","per_million":{"m":{}},"more":1}`, "empty": `{}`, "negative": `{"as_of":"a","currency":"b","per_million":{"m":{"in":-1}}}`} {
		if _, err := ReadPrices(strings.NewReader(text)); err == nil {
			t.Errorf("%s: taken for prices", name)
		}
	}
}

// However long a bottle ran, a chart has its bars, and they add up.
func TestSeriesFolds(t *testing.T) {
	s := newSeries(morning.Add(1000 * time.Hour))
	s.begin(morning)
	for i := range 5000 {
		s.add(audit.Event{Kind: audit.Request, Time: morning.Add(time.Duration(i) * 7 * time.Minute)}, false, 0)
	}
	s.add(audit.Event{Kind: audit.Request, Time: morning.Add(-time.Hour)}, false, 0)
	s.add(audit.Event{Kind: audit.Request, Time: morning.AddDate(7000, 0, 0)}, false, 0)
	var whole float64
	for _, b := range s.of {
		whole += b.allowed
	}
	must(t, whole == 5002 && s.last < buckets, "got %v in %d", whole, s.last)
}
