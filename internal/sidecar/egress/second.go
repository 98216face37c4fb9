package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// second is the second scanner, pipelock. It is asked about what our own has let through,
// before a credential is put on. A nil one is not asked.
type second struct {
	*pipelock.Scanner
	program string
}

// firstTest is how long pipelock may take until it is well: less than the bundle gives egress.
const firstTest = 9 * time.Second

// newSecond waits until pipelock has passed its test. It returns nil where the bottle has none.
func newSecond(cfg control.EgressConfig, dial pipelock.Dial) (*second, error) {
	if cfg.Pipelock == nil {
		return nil, nil
	}
	s := &second{pipelock.New(pipelock.Options{Dir: cfg.Pipelock.Dir, Dial: dial, MinVersion: cfg.Pipelock.MinVersion, Hosts: lookedInto(cfg)}), cfg.Pipelock.Program}
	ctx, cancel := context.WithTimeout(context.Background(), firstTest)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// lookedInto are the hosts of the routes whose requests can be seen.
func lookedInto(cfg control.EgressConfig) (hosts []string) {
	for _, r := range cfg.Routes {
		if r.Protocol != policy.TCP {
			hosts = append(hosts, r.Host)
		}
	}
	return hosts
}

// keepSecond watches over pipelock until ctx ends, and records what becomes of it.
func (s *Server) keepSecond(ctx context.Context) {
	if s.second == nil {
		return
	}
	s.recordSecond(audit.Allow, fmt.Sprintf("pipelock %s (%s) has passed its test", s.second.Version(), s.second.program))
	s.second.Keep(ctx, func(down error) {
		if down != nil {
			s.recordSecond(audit.Deny, down.Error()+"; nothing that it guards is sent until it has passed its test again")
			return
		}
		s.recordSecond(audit.Allow, "pipelock has passed its test again")
	})
}

func (s *Server) recordSecond(decision, what string) {
	s.record(audit.Event{Kind: audit.Scanner, Decision: decision, Reason: what})
}

// guards reports whether pipelock is asked about requests on a route.
func (s *second) guards(route *policy.Route) bool {
	return s != nil && (route == nil || route.Pipelock == nil || !route.Pipelock.Off)
}

// budgetOf is how much of a body may be new to pipelock.
func budgetOf(route *policy.Route) int64 {
	if route.Pipelock == nil {
		return pipelock.DefaultBudget
	}
	return cmp.Or(route.Pipelock.Budget, pipelock.DefaultBudget)
}

// errSecond is why pipelock lets something not pass.
type errSecond struct {
	where part
	why   error // *pipelock.DeniedError or *pipelock.OutageError
}

func (e *errSecond) Error() string {
	if e.found() {
		return fmt.Sprintf("the request's %s: %v; pipelock can be turned off for a route in the manifest", e.where, e.why)
	}
	return e.why.Error() + ", and without it nothing is sent; try again later"
}

// found tells a finding from an outage.
func (e *errSecond) found() bool { return errors.As(e.why, new(*pipelock.DeniedError)) }

// newInert takes the bottle's own out of what pipelock is shown: values, which it must never
// have, and placeholders, which it would take for what they look like.
func newInert(s secrets) *strings.Replacer {
	var pairs []string
	for _, n := range s.needles {
		if len(n.plain) >= minNeedle {
			pairs = append(pairs, string(n.plain), inertWord)
		}
	}
	return strings.NewReplacer(pairs...)
}

// inertWord is no secret to anybody.
const inertWord = "bottled"

// askAll asks pipelock about a request as it will be but for our credential: its URL, its
// head, its body.
func (x *exchange) askAll(ctx context.Context, second *second, r *http.Request) error {
	if !second.guards(x.decision.Route) {
		return nil
	}
	rest := r
	if auth := x.decision.Route.Auth; auth != nil {
		var err error
		if rest, err = x.rules.secrets.bare(r, auth); err != nil {
			return err
		}
	}
	q, inert := x.search, x.rules.inert
	url := fmt.Sprintf("%s://%s%s", x.refusal.protocol, authority(x), rest.URL.RequestURI())
	if err := q.ask(inHead, func() (pipelock.Result, error) { return second.URL(ctx, inert.Replace(url)) }); err != nil {
		return err
	}
	head := inert.Replace(joinHead(rest.Header))
	if err := q.ask(inHead, func() (pipelock.Result, error) { return second.Head(ctx, head) }); err != nil {
		return err
	}
	if x.streamed || x.unseen {
		return q.over(&pipelock.OverBudgetError{Budget: budgetOf(x.decision.Route)}, inBody)
	}
	return q.askText(ctx, second, inBody, inert.Replace(pipelock.Text(r.Header.Get("Content-Type"), x.plain)))
}

// joinHead is a head as one text.
func joinHead(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			b.WriteString(name + ": " + value + " ")
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(b.String(), "\uFFFD"))
}

// askText asks about a body or a message.
func (q *search) askText(ctx context.Context, second *second, where part, text string) error {
	if text == "" {
		return nil
	}
	return q.ask(where, func() (pipelock.Result, error) { return second.Body(ctx, text, budgetOf(q.route)) })
}

// ask notes what pipelock says, and makes an error of anything but a yes.
func (q *search) ask(where part, put func() (pipelock.Result, error)) error {
	begun := time.Now()
	result, err := put()
	q.count(result, millis(begun))
	var denied *pipelock.DeniedError
	var over *pipelock.OverBudgetError
	switch {
	case errors.As(err, &denied):
		q.noteSecond(where, denied)
		return &errSecond{where, denied}
	case errors.As(err, new(*pipelock.OutageError)):
		return &errSecond{where, err}
	case errors.As(err, &over):
		return q.over(over, where)
	}
	return err
}

// over decides about what pipelock is not shown all of.
func (q *search) over(why *pipelock.OverBudgetError, where part) error {
	if p := q.route.Pipelock; where == inHead || p == nil || p.Over != policy.OverAllow {
		return &errUnsearched{reason: fmt.Sprintf("the request's %s is not carried: %v, or cannot be held until it has; the route's pipelock sets its budget", where, why)}
	}
	q.addNote(audit.Finding{Rule: "over-budget", Part: string(where), Action: string(dlp.Alert), Scanner: string(control.Pipelock)})
	return nil
}

// noteSecond keeps pipelock's findings for the request's event.
func (q *search) noteSecond(where part, denied *pipelock.DeniedError) {
	if len(denied.Findings) == 0 {
		denied.Findings = []pipelock.Finding{{Rule: "unnamed"}}
	}
	for _, f := range denied.Findings {
		q.addNote(audit.Finding{Rule: f.Rule, Encoding: f.Encoding, Part: string(where), Action: string(dlp.Block), Scanner: string(control.Pipelock), Scan: denied.Scan})
	}
}

// maxScanIDs bounds what one event names of scans.
const maxScanIDs = 8

// count adds up what was put to pipelock.
func (q *search) count(r pipelock.Result, took float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(r.Scans) == 0 {
		return
	}
	if q.scans == nil {
		q.scans = &audit.Pipelock{}
	}
	q.scans.Bytes += r.Bytes
	q.scans.Millis += took
	room := max(0, maxScanIDs-len(q.scans.Scans))
	q.scans.Scans = append(q.scans.Scans, r.Scans[:min(room, len(r.Scans))]...)
}

// scanned is what was put to pipelock so far, nil for nothing.
func (q *search) scanned() *audit.Pipelock {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.scans == nil {
		return nil
	}
	all := *q.scans
	all.Scans = slices.Clone(all.Scans)
	return &all
}
