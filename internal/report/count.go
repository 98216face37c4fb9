package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// counter reads events one after the other and keeps what the page shows of them.
type counter struct {
	report *Report
	hosts  map[string]*Host
	models map[string]*Model
	blocks map[string]*Block
	ahead  map[string]audit.Event // begun, and without an end so far
	asked  map[string]int         // where a request is among the report's
	last   string                 // kind of the last event
}

func newCounter(r *Report) *counter {
	return &counter{r, map[string]*Host{}, map[string]*Model{}, map[string]*Block{}, map[string]audit.Event{}, map[string]int{}, ""}
}

// others stands for the rest where there are too many of something.
const others = "(others)"

// slot is where a key is counted: its own, or the one of all that came too late.
func slot[T any](all map[string]*T, key string) (*T, string) {
	if v, ok := all[key]; ok {
		return v, key
	}
	if len(all) >= maxKeys {
		key = others
	}
	if all[key] == nil {
		all[key] = new(T)
	}
	return all[key], key
}

func beginning(e audit.Event) string {
	return fmt.Sprintf("%d %q %q %q", e.Time.UnixNano(), e.Host, e.Method, e.Path)
}

func (c *counter) add(e audit.Event) {
	t := &c.report.Totals
	t.Events++
	c.last = e.Kind
	if t.First.IsZero() {
		t.First = e.Time
		c.report.series.begin(e.Time)
	}
	if e.Time.After(t.Last) && !e.Time.After(c.report.Now.Add(time.Hour)) {
		t.Last = e.Time
	}
	if e.Phase == audit.Ahead || e.Phase == audit.Open {
		if len(c.ahead) < maxKeys {
			c.ahead[beginning(e)] = e
		}
		return
	}
	delete(c.ahead, beginning(e))
	c.request(e)
	c.tally(e)
}

// request takes down what a request to the operator has become.
func (c *counter) request(e audit.Event) {
	all := c.report.Requests
	if i, known := c.asked[e.Grant]; known && (e.Decision == audit.Allow || e.Decision == audit.Unknown) && all[i].Grant != nil {
		all[i].Grant.Used++
	}
	var r requests.Request
	if e.Snapshot == nil || json.Unmarshal(e.Snapshot, &r) != nil {
		return
	}
	if i, known := c.asked[r.ID]; known {
		if before := all[i].Grant; before != nil && r.Grant != nil {
			r.Grant.Used = max(r.Grant.Used, before.Used)
		}
		all[i] = r
	} else if len(all) < maxKeys {
		c.asked[r.ID] = len(all)
		c.report.Requests = append(all, r)
	}
}

// tally counts an event whose end is known.
func (c *counter) tally(e audit.Event) {
	t := &c.report.Totals
	if e.Kind == audit.Flag {
		t.Flagged++
	} else {
		t.Findings += int64(len(e.Findings))
	}
	denied := e.Decision == audit.Deny && !e.Held() && e.Kind != audit.Decision // the operator's own is no attempt
	if denied {
		t.Blocked++
		c.block(e)
	}
	switch e.Kind {
	case audit.Request, audit.Connect:
		c.traffic(e, denied)
	case audit.Lookup:
		t.Lookups++
	case audit.Push, audit.Fetch:
		c.git(e, denied)
	}
	c.report.series.add(e, denied, c.usage(e))
	c.entry(e)
}

func (c *counter) traffic(e audit.Event, denied bool) {
	t := &c.report.Totals
	t.Requests++
	t.BytesOut, t.BytesIn = t.BytesOut+max(0, e.BytesOut), t.BytesIn+max(0, e.BytesIn)
	h, name := slot(c.hosts, e.Host)
	h.Name = name
	h.Requests++
	h.BytesOut, h.BytesIn = h.BytesOut+max(0, e.BytesOut), h.BytesIn+max(0, e.BytesIn)
	if denied {
		h.Blocked++
	} else {
		t.Allowed++
	}
	if e.Secret != "" && !denied && !slices.Contains(h.Secrets, e.Secret) && len(h.Secrets) < 8 {
		h.Secrets = append(h.Secrets, e.Secret)
	}
}

// usage counts a model's answer, and returns what it cost.
func (c *counter) usage(e audit.Event) (cost float64) {
	if e.Model == "" && e.TokensIn == 0 && e.TokensOut == 0 {
		return 0
	}
	t := &c.report.Totals
	e.TokensIn, e.TokensOut, e.TokensCached = max(0, e.TokensIn), max(0, e.TokensOut), max(0, e.TokensCached)
	cost, priced := c.report.Prices.Cost(e.Usage)
	m, name := slot(c.models, cmp.Or(e.Model, "(unnamed)"))
	m.Name, m.Priced = name, priced
	m.Answers++
	m.In, m.Cached, m.Out, m.Cost = m.In+e.TokensIn, m.Cached+e.TokensCached, m.Out+e.TokensOut, m.Cost+cost
	t.TokensIn, t.TokensCached, t.TokensOut, t.Cost = t.TokensIn+e.TokensIn, t.TokensCached+e.TokensCached, t.TokensOut+e.TokensOut, t.Cost+cost
	if priced {
		t.Priced++
	} else {
		t.Unpriced++
	}
	return cost
}

func (c *counter) git(e audit.Event, denied bool) {
	t := &c.report.Totals
	switch {
	case e.Kind == audit.Push && e.Held():
		t.PushesHeld++
	case e.Kind == audit.Push:
		t.Pushes++
		if denied {
			t.PushesRefused++
		}
	}
	if e.Decision != audit.Deny { // else it has come as far as the gate
		t.BytesOut, t.BytesIn = t.BytesOut+max(0, e.BytesOut), t.BytesIn+max(0, e.BytesIn)
	}
	if len(c.report.Gits) < maxRows {
		c.report.Gits = append(c.report.Gits, Git{e})
	}
}

func (c *counter) block(e audit.Event) {
	what := target(e)
	b, key := slot(c.blocks, what+"\x00"+e.Reason)
	if key == others {
		what = others
	}
	if b.Count == 0 {
		b.What, b.Reason, b.First = what, e.Reason, e.Time
	}
	b.Count++
	b.Last = e.Time
}

// target is what an event was about.
func target(e audit.Event) string {
	switch {
	case e.Repository != "":
		return strings.TrimSpace(e.Kind + " " + e.Repository + " " + refs(e))
	case e.Host == "":
		return e.Kind
	case e.Kind == audit.Lookup:
		return "look-up of " + e.Host
	}
	at := e.Host
	if e.Port != 0 && e.Port != 443 {
		at = fmt.Sprintf("%s:%d", at, e.Port)
	}
	return strings.TrimSpace(e.Method + " " + at + e.Path)
}

func refs(e audit.Event) string {
	switch len(e.Updates) {
	case 0:
		return ""
	case 1:
		return e.Updates[0].Ref
	}
	return fmt.Sprintf("%s and %d more", e.Updates[0].Ref, len(e.Updates)-1)
}

// finish sorts what was counted. What never ended is told of last.
func (c *counter) finish() {
	open := slices.SortedFunc(maps.Values(c.ahead), func(a, b audit.Event) int { return a.Time.Compare(b.Time) })
	for _, e := range open {
		if e.Reason = "its end is not on record"; e.Kind == audit.Push {
			e.Decision = audit.Unknown
		}
		c.tally(e)
	}
	c.agentsEnd()
	r := c.report
	r.Hosts = slices.SortedFunc(maps.Values(c.hosts), func(a, b *Host) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	r.Models = slices.SortedFunc(maps.Values(c.models), func(a, b *Model) int {
		return cmp.Or(cmp.Compare(b.In+b.Out, a.In+a.Out), cmp.Compare(a.Name, b.Name))
	})
	r.Blocked = slices.SortedFunc(maps.Values(c.blocks), func(a, b *Block) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What), cmp.Compare(a.Reason, b.Reason))
	})
}

// agentsEnd tells of an agent's end that is on record and in no log: an older version wrote it.
func (c *counter) agentsEnd() {
	m := c.report.Bottle
	if c.last == audit.AgentEnd || m.EndedAt == nil || len(c.report.Entries) >= maxEntries {
		return
	}
	what := "the agent was stopped"
	if m.ExitCode != nil {
		what = fmt.Sprintf("the agent ended with status %d", *m.ExitCode)
	}
	c.report.Entries = append(c.report.Entries, Entry{At: *m.EndedAt, Until: *m.EndedAt, Class: "life", Label: "agent", What: what, Count: 1})
}

// ended is when the bottle's last run ended, zero while it goes on.
func ended(m state.Metadata) time.Time {
	if m.EndedAt == nil {
		return time.Time{}
	}
	return *m.EndedAt
}
