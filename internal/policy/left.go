package policy

import (
	"fmt"
	"strings"
	"time"
)

// Left is what is left of a route's limits, or of those of all routes together.
type Left struct {
	Of     string `json:"of,omitempty"` // the route, as Route.Name says it; "" for all together
	Host   string `json:"host,omitempty"`
	Grant  string `json:"grant,omitempty"`  // the request that the route was granted by; its routes are counted together
	Window Span   `json:"window,omitempty"` // 0: as long as the bottle runs
	Parts  []Part `json:"parts"`
}

// Part is one of the things that are limited.
type Part struct {
	What  string    `json:"what"` // requests, bytes up, bytes down
	Limit int64     `json:"limit"`
	Used  int64     `json:"used"`
	Left  int64     `json:"left"`
	Again time.Time `json:"again,omitzero"` // when there is more, where nothing is left; zero for never
}

// Left reports what is left of all that a set limits, the bottle's own limits first. It counts
// nothing.
func (m *Meter) Left(now time.Time, set *Set) []Left {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []Left{}
	if l := set.policy.Limits; l != nil {
		all = append(all, Left{Window: l.Window, Parts: m.bottle.left(now, l)})
	}
	told := make(map[string]bool)
	for i, r := range set.policy.Routes {
		if r.Limits == nil || r.Grant != "" && told[r.Grant] {
			continue
		}
		told[r.Grant] = true
		account := account{}
		if known := m.routes[set.accounts[i]]; known != nil {
			account = *known
		}
		all = append(all, Left{Of: r.Name(), Host: r.Host, Grant: r.Grant, Window: r.Limits.Window, Parts: account.left(now, r.Limits)})
	}
	return all
}

// left is what an account has left of limits.
func (a *account) left(now time.Time, l *Limits) []Part {
	a.advance(now, time.Duration(l.Window))
	var used Usage
	for _, slot := range a.used {
		used = used.plus(slot)
	}
	var parts []Part
	for _, part := range l.parts(used) {
		if part.limit == 0 {
			continue
		}
		p := Part{What: part.what, Limit: part.limit, Used: part.use, Left: max(0, part.limit-part.use)}
		if p.Left == 0 {
			p.Again, _ = a.room(part.limit, 1, part.of)
		}
		parts = append(parts, p)
	}
	return parts
}

// Seed counts what was used before the meter was made, by what GrantAccount and Route.account say.
func (m *Meter) Seed(used map[string]Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, use := range used {
		a := m.account(name)
		a.used[slots] = a.used[slots].plus(use)
	}
}

// String is one line for people and models: "3 of 10 requests left in 1h".
func (l Left) String() string {
	parts := make([]string, len(l.Parts))
	for i, p := range l.Parts {
		parts[i] = p.String()
	}
	text := strings.Join(parts, ", ")
	if l.Window > 0 {
		return text + " in " + l.Window.String()
	}
	return text
}

// String is one line for people.
func (p Part) String() string {
	amount, what := func(n int64) string { return fmt.Sprint(n) }, p.What
	if rest, ok := strings.CutPrefix(what, "bytes "); ok {
		amount, what = roughly, rest
	}
	switch {
	case p.Left > 0:
		return fmt.Sprintf("%s of %s %s left", amount(p.Left), amount(p.Limit), what)
	case !p.Again.IsZero():
		return fmt.Sprintf("nothing of %s %s left until %s", amount(p.Limit), what, p.Again.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("nothing of %s %s left", amount(p.Limit), what)
}

// roughly is a number of bytes that may be odd, rounded down.
func roughly(n int64) string {
	units, i, size := []string{"B", "KiB", "MiB", "GiB", "TiB"}, 0, int64(1)
	for n >= size*1024 && i < len(units)-1 {
		size, i = size*1024, i+1
	}
	if tenth := n % size * 10 / size; tenth > 0 {
		return fmt.Sprintf("%d.%d %s", n/size, tenth, units[i])
	}
	return fmt.Sprintf("%d %s", n/size, units[i])
}

// Name is what a route allows, without its limits: what people tell it by.
func (r Route) Name() string {
	r.Limits = nil
	return r.String()
}
