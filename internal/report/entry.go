package report

import (
	"fmt"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// Entry is a line of the timeline. Allowed requests to one host that follow each other are
// one entry.
type Entry struct {
	At     time.Time
	Until  time.Time
	Class  string // one of our words: allow, deny, flag, git, ask, life
	Label  string // in a word
	What   string
	Detail string
	Count  int64

	host string
}

func (c *counter) entry(e audit.Event) {
	next := entryOf(e)
	all := c.report.Entries
	if n := len(all) - 1; n >= 0 && next.joins(all[n]) {
		all[n].Count++
		all[n].Until = next.At
		all[n].What = fmt.Sprintf("%d requests to %s", all[n].Count, next.host)
		all[n].Detail = ""
		return
	}
	if len(all) >= maxEntries {
		c.report.Left++
		return
	}
	c.report.Entries = append(all, next)
}

func (e Entry) joins(before Entry) bool {
	return e.Class == "allow" && before.Class == "allow" && e.host == before.host
}

func entryOf(e audit.Event) Entry {
	n := Entry{At: e.Time, Until: e.Time, Class: "allow", Label: "allowed", What: target(e), Detail: e.Reason, Count: 1, host: e.Host}
	switch e.Kind {
	case audit.Begin:
		n.Class, n.Label, n.What = "life", "begin", "a run of the bottle begins"
	case audit.End:
		n.Class, n.Label, n.What = "life", "end", "the run ended in good order"
	case audit.AgentEnd:
		n.Class, n.Label, n.What, n.Detail = "life", "end", e.Words(), ""
	case audit.Lifecycle:
		n.Class, n.Label, n.What = "life", "service", e.Service
	case audit.Scanner:
		n.Class, n.Label, n.What = "life", "service", e.Service
	case audit.Flag:
		n.Class, n.Label = "flag", "flagged"
	case audit.Ask:
		n.Class, n.Label, n.What = "ask", "asked", e.Request
	case audit.Edit:
		n.Class, n.Label, n.What = "ask", "edited", e.Request
	case audit.Decision:
		n.Class, n.Label, n.What = "ask", "decided", e.Request
	case audit.GrantEnd:
		n.Class, n.Label, n.What = "ask", "grant ended", e.Request
	case audit.Push, audit.Fetch:
		n.Class, n.Label = "git", e.Kind
	}
	if e.Decision == audit.Unknown {
		n.Label = "not known"
	}
	switch {
	case e.Held():
		n.Class, n.Label = "ask", "held"
	case e.Kind == audit.Decision && e.Decision == audit.Deny:
		n.Label = "rejected"
	case e.Decision == audit.Deny:
		n.Label = map[bool]string{true: "refused", false: "blocked"}[n.Class != "allow"]
		n.Class = "deny"
	}
	if e.Status != 0 && n.Class == "allow" {
		n.Detail = fmt.Sprintf("status %d", e.Status)
	}
	return n
}
