package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// timeline prints events for people, a line each, as they come. On a terminal no line is
// wider than it; elsewhere nothing is cut.
type timeline struct {
	out    io.Writer
	width  int // 0: no terminal
	local  *time.Location
	day    string
	headed bool
	ahead  map[begun]audit.Event // those whose end has not come
}

// begun is what both events of one have in common.
type begun struct{ time, host, method, path string }

func beginningOf(e audit.Event) begun {
	return begun{e.Time.Format(time.RFC3339Nano), e.Host, e.Method, e.Path}
}

// Widths of the columns but the target's and the reason's, and of the spaces between them.
const (
	fixedColumns = len("15:04:05 allow connect ") + len(" 200 1023k/1023k  59.9s")
	wideEnough   = 120 // for the reason beside the rest
	plainTarget  = 48
)

func (t *timeline) show(e audit.Event) error {
	if e.Phase == audit.Ahead {
		if t.ahead == nil {
			t.ahead = make(map[begun]audit.Event)
		}
		t.ahead[beginningOf(e)] = e
		return nil
	}
	delete(t.ahead, beginningOf(e))
	var text string
	if !t.headed {
		t.headed = true
		text = t.row("TIME", "", "METHOD", "HOST AND PATH", "", "OUT/IN", "TOOK", "")
	}
	at := e.Time.In(t.local)
	if day := at.Format(time.DateOnly); day != t.day {
		t.day = day
		text += day + "\n"
	}
	text += t.row(at.Format(time.TimeOnly), verdict(e), method(e), t.target(e), number(e.Status), traffic(e), took(e), reason(e))
	_, err := io.WriteString(t.out, text)
	return err
}

// end shows the requests of which only the beginning is on record.
func (t *timeline) end() error {
	left := slices.SortedFunc(maps.Values(t.ahead), func(a, b audit.Event) int { return a.Time.Compare(b.Time) })
	for _, e := range left {
		e.Phase, e.Reason = audit.Open, "its end is not on record"
		if err := t.show(e); err != nil {
			return err
		}
	}
	return nil
}

// row is one line, and the reason on a line of its own where there is no room beside.
func (t *timeline) row(at, verdict, method, target, status, traffic, took, reason string) string {
	line := fmt.Sprintf("%-8s %s %s %s %3s %11s %6s", at, plain.Fit(cell(verdict), 5), plain.Fit(cell(method), 7), pad(target, t.targetWidth()), status, traffic, took)
	line = strings.TrimRight(line, " ")
	if t.width > 0 {
		line = plain.Cut(line, t.width) // a very narrow one
	}
	switch {
	case reason == "":
	case t.width == 0:
		line = pad(line, fixedColumns+t.targetWidth()) + " " + reason
	case t.width >= wideEnough:
		line = pad(line, fixedColumns+t.targetWidth()) + " " + plain.Cut(reason, t.width-fixedColumns-t.targetWidth()-1)
	default:
		line += "\n" + strings.Repeat(" ", len("15:04:05 ")) + plain.Cut(reason, max(1, t.width-len("15:04:05 ")))
	}
	return line + "\n"
}

func (t *timeline) targetWidth() int {
	switch {
	case t.width == 0:
		return plainTarget
	case t.width >= wideEnough:
		return (t.width - fixedColumns) * 3 / 5
	}
	return max(8, t.width-fixedColumns)
}

func verdict(e audit.Event) string {
	switch {
	case e.Phase == audit.Open:
		return "open"
	case e.Kind == audit.Lifecycle, e.Kind == audit.Scanner && e.Decision == "":
		return "note"
	case e.Kind == audit.AgentEnd, e.Kind == audit.GrantEnd:
		return "end"
	case e.Decision == audit.Unknown:
		return "maybe"
	case e.Kind == audit.Decision && e.Decision == "": // the agent took it back
		return "back"
	}
	return cmp.Or(e.Decision, e.Kind)
}

func method(e audit.Event) string {
	switch {
	case e.Kind == audit.Decision && e.Repository != "":
		return audit.Push // what became of one that was approved
	case e.Kind == audit.GrantEnd, e.Kind == audit.Lifecycle:
		return ""
	}
	if e.Method == "" && (e.Host != "" || e.Repository != "") {
		return e.Kind
	}
	return e.Method
}

// target is where it went. Too long, it loses the front of its host and the middle of its
// path: of api.anthropic.com.evil.example the end is what counts (ATTACKS G10).
func (t *timeline) target(e audit.Event) string {
	host, path, room := cell(e.Host), cell(e.Path), t.targetWidth()
	switch {
	case e.Repository != "":
		return plain.Cut(cell(repository(e)), room)
	case e.Host == "":
		return plain.Cut(cell(e.Service), room)
	}
	if e.Port != 0 && e.Port != 443 && !(e.Protocol == policy.HTTP && e.Port == 80) {
		host += ":" + strconv.Itoa(e.Port)
	}
	if e.Protocol == policy.HTTP || e.Protocol == policy.TCP {
		host = string(e.Protocol) + "://" + host
	}
	if t.width == 0 || plain.Width(host)+plain.Width(path) <= room {
		return host + path
	}
	forPath := min(plain.Width(path), max(room-plain.Width(host), room/3))
	return plain.CutFront(host, room-forPath) + plain.CutMiddle(path, forPath)
}

// repository is what a fetch or a push was about.
func repository(e audit.Event) string {
	text := e.Repository
	for i, u := range e.Updates {
		if i == 1 {
			return fmt.Sprintf("%s +%d", text, len(e.Updates)-1)
		}
		text += " " + u.Ref
	}
	return text
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func traffic(e audit.Event) string {
	if e.BytesOut == 0 && e.BytesIn == 0 {
		return ""
	}
	return plain.Amount(e.BytesOut) + "/" + plain.Amount(e.BytesIn)
}

// took is a duration of at most six characters.
func took(e audit.Event) string {
	d := time.Duration(e.Millis * float64(time.Millisecond))
	switch {
	case d <= 0:
		return ""
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", e.Millis)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 100*time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dh", int(d.Hours()))
}

// reason is why, or what a model's answer cost.
func reason(e audit.Event) string {
	why := cell(e.Reason)
	if e.Kind == audit.AgentEnd {
		why = cell(e.Words())
	}
	if about := cmp.Or(e.Request, e.Grant); about != "" {
		why = strings.TrimSpace(cell(about) + " " + why)
	}
	if e.Model == "" && e.TokensIn == 0 && e.TokensOut == 0 {
		return why
	}
	cost := fmt.Sprintf("%s %s→%s tokens", cell(e.Model), plain.Amount(e.TokensIn), plain.Amount(e.TokensOut))
	if e.TokensCached > 0 {
		cost += fmt.Sprintf(" (%s cached)", plain.Amount(e.TokensCached))
	}
	return strings.TrimSpace(strings.Join([]string{why, strings.TrimSpace(cost)}, " "))
}

// pad makes s wide enough, and cuts nothing.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-plain.Width(s)))
}
