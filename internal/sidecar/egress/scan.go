package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Bounds of what searching takes.
const (
	maxScans   = 4  // at a time: they are bound by the processor, and each decodes much
	remembered = 32 // requests with parts of a secret, for one that comes bit by bit
)

// scanner looks for what must not leave a bottle, under one set of rules.
type scanner struct {
	dlp     *dlp.Scanner
	memory  *dlp.Memory
	actions map[string]dlp.Action // of the bottle's manifest
	running chan struct{}         // slots, of the server
	texts   sync.Pool             // of *[]byte: heads, as they are searched
}

func newScanner(s secrets, cfg control.EgressConfig, running chan struct{}) (*scanner, error) {
	if err := checkActions(cfg); err != nil {
		return nil, err
	}
	var known []dlp.Value
	for _, n := range s.needles {
		known = append(known, dlp.Value{Name: n.name, Secret: n.plain, Placeholder: !n.real})
	}
	engine, err := dlp.New(dlp.Options{Known: known})
	if err != nil {
		return nil, err
	}
	return &scanner{dlp: engine, memory: dlp.NewMemory(remembered), actions: cfg.Scan, running: running}, nil
}

func checkActions(cfg control.EgressConfig) error {
	if err := dlp.CheckActions(cfg.Scan); err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	for _, r := range cfg.Routes {
		if err := dlp.CheckActions(r.Scan); err != nil {
			return fmt.Errorf("route %s: scan: %w", r.Host, err)
		}
	}
	return nil
}

// part is where in a request something was found.
type part string

const (
	inHead    part = "head" // the request line and the headers
	inBody    part = "body"
	inMessage part = "message" // of a WebSocket
)

// search is what one request is searched for. Its notes may be added to while the request
// is recorded.
type search struct {
	*scanner
	host  string
	route *policy.Route
	model bool // the request is a conversation with a language model

	mu    sync.Mutex
	notes []audit.Finding
	scans *audit.Pipelock // what was put to pipelock; nil for nothing
}

// own is the secret whose placeholder belongs on the route, "" for none.
func (q *search) own() string {
	if q.route.Auth == nil {
		return ""
	}
	return q.route.Auth.Secret
}

// bodyInput describes the route's bodies to the scanner. A body may mention the route's
// own placeholder: models are shown what programs print.
func (q *search) bodyInput(contentType string) dlp.Input {
	in := dlp.Input{Host: q.host, Kind: dlp.Body, ContentType: contentType, Memory: q.memory}
	if own := q.own(); own != "" {
		in.Own = []string{own}
	}
	return in
}

// turn waits until fewer than maxScans run. The caller calls done.
func (q *scanner) turn(ctx context.Context) (done func(), err error) {
	select {
	case q.running <- struct{}{}:
		return func() { <-q.running }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// scan searches data that is there as a whole.
func (q *search) scan(ctx context.Context, in dlp.Input) ([]dlp.Finding, error) {
	done, err := q.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	findings, err := q.dlp.Scan(ctx, in)
	return findings, unsearchable(ctx, err)
}

// decide gives each finding the action that the manifest or the defaults want, and
// returns the worst.
func (q *search) decide(where part, findings []dlp.Finding) dlp.Action {
	for i := range findings {
		findings[i].Action = q.action(where, findings[i].Rule)
	}
	return dlp.Worst(findings)
}

// action for one rule. The route's word comes before the bottle's. The defaults: a value
// or a placeholder of the bottle's ends the request. So does a token's shape, but out of a
// conversation with a model it is taken: the client sends all of it again with each turn,
// and would never get another answer. A JWT in the head was mostly given to the client by
// an upstream, for just this, and is only noted. So is what has nothing of a secret but the
// name that it is assigned to: half of what clients send to and fro is called a token.
func (q *search) action(where part, rule string) dlp.Action {
	known := rule == dlp.RuleKnownValue || rule == dlp.RulePlaceholder
	for _, actions := range []map[string]dlp.Action{q.route.Scan, q.actions} {
		if action := actions[rule]; action != "" {
			return action
		}
		if action := actions[dlp.AnyToken]; action != "" && !known {
			return action
		}
	}
	switch {
	case known:
		return dlp.Block
	case where == inHead && rule == "jwt", rule == dlp.RuleAssigned:
		return dlp.Alert
	case where == inBody && q.model:
		return dlp.Redact
	}
	return dlp.Block
}

// settle notes what was found where nothing can be taken out, and refuses what is not to
// go as it is.
func (q *search) settle(where part, findings []dlp.Finding) error {
	worst := q.decide(where, findings)
	if worst == dlp.Redact {
		worst = dlp.Block
	}
	q.note(where, findings, worst)
	if worst == dlp.Block {
		return newLeak(where, findings)
	}
	return nil
}

// maxNotes bounds what one event says of what was found.
const maxNotes = 20

// note keeps what was found for the request's event: each rule once for each part. Where
// the request is refused, that is what became of all of it.
func (q *search) note(where part, findings []dlp.Finding, worst dlp.Action) {
	for _, f := range findings {
		n := audit.Finding{Rule: f.Rule, Secret: f.Name, Part: string(where), Action: string(f.Action), Encoding: strings.Join(f.Encoding, " ")}
		if worst == dlp.Block {
			n.Action = string(dlp.Block)
		}
		q.addNote(n)
	}
}

func (q *search) addNote(n audit.Finding) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.notes) < maxNotes && !slices.Contains(q.notes, n) {
		q.notes = append(q.notes, n)
	}
}

// found is what was noted so far.
func (q *search) found() []audit.Finding {
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.notes)
}

// leak is what a request must not carry.
type leak struct {
	where   part
	finding dlp.Finding
	more    int // findings beside it
}

// newLeak tells of the worst finding.
func newLeak(where part, findings []dlp.Finding) *leak {
	order := []string{dlp.RulePlaceholder, dlp.RuleKnownValue}
	worst := slices.MaxFunc(findings, func(a, b dlp.Finding) int { return slices.Index(order, a.Rule) - slices.Index(order, b.Rule) })
	return &leak{where, worst, len(findings) - 1}
}

// Error names what it is and where, never the secret.
func (l *leak) Error() string {
	var what string
	switch l.finding.Rule {
	case dlp.RuleKnownValue:
		what = fmt.Sprintf("carries the value of secret %s", l.finding.Name)
	case dlp.RulePlaceholder:
		what = fmt.Sprintf("carries the placeholder of secret %s to a host that it is not for", l.finding.Name)
	default:
		what = fmt.Sprintf("carries what looks like a secret (%s)", l.finding.Rule)
	}
	if len(l.finding.Encoding) > 0 {
		what += ", as " + strings.Join(l.finding.Encoding, " in ")
	}
	if l.more > 0 {
		what += fmt.Sprintf(", and %d more", l.more)
	}
	return fmt.Sprintf("the request's %s %s; what becomes of it is set by the manifest's scan: {%s: …}", l.where, what, l.finding.Rule)
}

// errUnsearched refuses what cannot be searched to its end.
type errUnsearched struct {
	reason string
	status int // 0: 403
}

func (e *errUnsearched) Error() string { return e.reason }

// unsearchable puts an error of the scanner's in words; nil stays nil. That a client went
// away is no refusal.
func unsearchable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err() // nobody waits for it any more
	}
	if errors.Is(err, dlp.ErrEncoding) {
		return notCoded("the body is not in the content coding that it names")
	}
	if errors.As(err, new(*errUnsearched)) {
		return err
	}
	return &errUnsearched{reason: "the request cannot be searched for secrets: " + err.Error()}
}
