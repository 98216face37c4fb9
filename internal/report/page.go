package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// contentPolicy forbids everything but the one style sheet that is in the page, which it
// names by its hash.
func contentPolicy() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'", base64.StdEncoding.EncodeToString(sum[:]))
}

// Write writes the page.
func (r *Report) Write(w io.Writer) error {
	page, err := template.New("page").Funcs(functions()).Parse(pageHTML)
	if err != nil {
		return err
	}
	return page.Execute(w, r)
}

// functions are what the page says of a value. All that comes from a log goes through plain
// and is escaped by the template; only the style sheet, which is ours, is not.
func functions() template.FuncMap {
	return template.FuncMap{
		"css": func() template.CSS { return template.CSS(pageCSS) }, "csp": contentPolicy,
		"plain": plain, "grouped": grouped, "grouped64": func(n int) string { return grouped(int64(n)) }, "brief": brief, "size": size, "lasted": lasted, "stamp": stamp,
		"time": func(t time.Time) string { return t.UTC().Format("15:04:05") }, "iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"rows": rows, "more": more, "first": firstUpdates, "beyond": func(all []audit.Update) int { return max(0, len(all)-maxUpdates) }, "firstFindings": firstFindings,
		"id": shortID, "wants": wants, "stateClass": stateClass,
	}
}

// rows are as many of a list as a table has.
func rows(list any) any {
	switch all := list.(type) {
	case []*Host:
		return all[:min(len(all), maxRows)]
	case []*Model:
		return all[:min(len(all), maxRows)]
	case []*Block:
		return all[:min(len(all), maxRows)]
	case []requests.Request:
		return all[:min(len(all), maxRows)]
	}
	return nil
}

// more says how many a table had no room for.
func more(n int) string {
	if n <= maxRows {
		return ""
	}
	return fmt.Sprintf("%s more are not shown.", grouped(int64(n-maxRows)))
}

// maxUpdates and maxFindings bound what is told of one push.
const (
	maxUpdates  = 8
	maxFindings = 5
)

func firstUpdates(all []audit.Update) []audit.Update { return all[:min(len(all), maxUpdates)] }

func firstFindings(all []audit.Finding) []audit.Finding { return all[:min(len(all), maxFindings)] }

// shortID is the beginning of an object's id.
func shortID(id string) string {
	if id == "" {
		return "none"
	}
	return plain(id[:min(len(id), 9)])
}

// wants is what a request is for, in the words of the operator's list.
func wants(r requests.Request) string {
	switch r.Kind {
	case requests.Question:
		return r.Question
	case requests.Limit:
		if r.More != nil {
			return "more: " + r.More.String() + " " + r.Host
		}
	case requests.Pushing:
		return "a push that was held"
	case requests.Repo:
		if r.Git != nil {
			return r.Git.Repository + ": " + r.Git.Push.String()
		}
	case requests.Capability:
		if r.Image != nil {
			return "a change of the image: " + strings.TrimSpace(strings.Join(r.Image.Packages, " ")+" "+r.Image.Dockerfile)
		}
	}
	text := ""
	for i, route := range r.Routes {
		if i > 0 {
			text += "; "
		}
		text += route.String()
	}
	return text
}

func stateClass(s requests.State) string {
	switch s {
	case requests.Approved, requests.Answered:
		return "allow"
	case requests.Rejected:
		return "deny"
	}
	return "ask"
}

// Day is the part of the timeline of one day.
type Day struct {
	Name    string
	Entries []Entry
	Events  int
	Blocked int
}

// Days are the timeline, by day.
func (r *Report) Days() []Day {
	var all []Day
	for _, e := range r.Entries {
		name := e.At.UTC().Format("Monday, 2 January 2006")
		if n := len(all); n == 0 || all[n-1].Name != name {
			all = append(all, Day{Name: name})
		}
		day := &all[len(all)-1]
		day.Entries = append(day.Entries, e)
		day.Events++
		if e.Class == "deny" {
			day.Blocked++
		}
	}
	return all
}

// Open reports whether a day's part is unfolded at first.
func (r *Report) Open(day int) bool { return day == 0 || len(r.Entries) <= 200 }

// Tokens are all of them.
func (r *Report) Tokens() int64 { return r.Totals.TokensIn + r.Totals.TokensOut }

// Money is a sum in words.
func (r *Report) Money(v float64) string { return r.Prices.Money(v) }

// Spent is what all answers cost, as far as there are prices.
func (r *Report) Spent() string { return r.Prices.Money(r.Totals.Cost) }

// CostNote says what the cost is made of.
func (r *Report) CostNote() string {
	switch {
	case r.Totals.Priced == 0 && r.Totals.Unpriced == 0:
		return "no model was asked"
	case r.Totals.Priced == 0:
		return "no price is known of its models"
	case r.Totals.Unpriced > 0:
		return fmt.Sprintf("without %s answers of unknown price", grouped(r.Totals.Unpriced))
	}
	return "at prices of " + plain(r.Prices.AsOf)
}

// Reached is how many hosts the bottle reached.
func (r *Report) Reached() (n int) {
	for _, h := range r.Hosts {
		if h.Requests > h.Blocked {
			n++
		}
	}
	return n
}

// HostShare is a host's share of the requests of the busiest, in percent.
func (r *Report) HostShare(h *Host) int64 {
	var all []int64
	for _, other := range r.Hosts {
		all = append(all, other.Requests)
	}
	return share(h.Requests, all)
}

// LastRun is when the last run was, as far as that is known.
func (r *Report) LastRun() string {
	if r.Running && r.Bottle.EndedAt == nil {
		return "since " + stamp(r.Bottle.StartedAt)
	}
	return "from " + stamp(r.Bottle.StartedAt) + " to " + stamp(ended(r.Bottle))
}

// Ending says how the bottle ended.
func (r *Report) Ending() string {
	switch {
	case r.Bottle.EndedAt == nil && r.Running:
		return "It runs."
	case r.Bottle.EndedAt == nil:
		return "It has not ended, or nobody saw it end."
	case r.Bottle.ExitCode != nil:
		return fmt.Sprintf("The agent ended with status %d.", *r.Bottle.ExitCode)
	}
	return "It was stopped."
}
