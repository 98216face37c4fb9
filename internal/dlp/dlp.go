// Package dlp finds secrets in what leaves a bottle: the bottle's own values, and
// tokens of known shapes, also behind chains of encodings. Bytes go in, findings come
// out. It reads no clock, file or network, and what it returns, prints or puts into an
// error never holds a secret.
//
// A view is the data, or something decoded from it. Every view is searched for known
// values and token shapes in one pass over its bytes, and then decoded in every way
// that its characters allow, which gives more views, up to a depth and under a budget.
// An encoding is recognised by runs of its alphabet, whatever stands around them: its
// symbols are packed into bits, the bits are read at each alignment, and what reads as
// text there is a view. The strings of a document are searched joined, too. A scan that
// cannot be finished ends with an error; it is never taken for a clean one.
package dlp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Action is what a finding asks of the caller.
type Action string

// What may be done about a finding: refuse the request, send it without the secret,
// or only tell.
const (
	Block  Action = "block"
	Redact Action = "redact"
	Alert  Action = "alert"
)

// Names of the rules for the bottle's own values.
const (
	RuleKnownValue  = "known-value"
	RulePlaceholder = "known-placeholder"
)

// RuleAssigned is the rule for values that have no shape, but a name that says secret. It
// is wrong more often than the others are.
const RuleAssigned = "assigned-secret"

// AnyToken stands for every rule but those for the bottle's own values, where actions are
// written down.
const AnyToken = "*"

// MinKnown is the shortest known value that is looked for: shorter ones occur by chance.
const MinKnown = 8

// A scan that could not be finished. The caller refuses.
var (
	ErrBudget   = errors.New("the data decodes to more than may be searched")
	ErrEncoding = errors.New("the content encoding cannot be undone")
	ErrClosed   = errors.New("the search was ended")
)

// Value is a secret of the bottle, or what stands for one inside it.
type Value struct {
	Name        string
	Secret      []byte
	Placeholder bool
}

// Format prints the name alone, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[value %s]", v.Name) }

// Options of a scanner. Zero values ask for the defaults.
type Options struct {
	Known     []Value           // looked for exactly; those shorter than MinKnown are not
	Actions   map[string]Action // by rule; Block for those not named
	Budget    int               // bytes that one scan may decode
	Depth     int               // encodings that may lie one inside the other
	CacheSize int               // clean parts of bodies, and heads, that are remembered; negative for none
}

// Format prints nothing that could be a secret.
func (o Options) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp options]") }

const (
	defaultBudget = 64 << 20
	defaultDepth  = 5
	defaultCache  = 4096
	maxHeads      = 512 // that are remembered
	maxFindings   = 1000
	maxLeast      = 16
	minReach      = 1 << 10
)

// Kind is the part of a request that data is.
type Kind string

// The parts of a request.
const (
	Path   Kind = "path"
	Header Kind = "header"
	Body   Kind = "body"
)

// Input is what to search, and whom it is for.
type Input struct {
	Host            string   // where it goes, without the port
	Own             []string // names of the placeholders that belong on this route
	Kind            Kind
	ContentType     string
	ContentEncoding string
	Data            []byte
	Memory          *Memory // of the bottle's last requests; may be nil
}

// Format prints no data.
func (in Input) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "[%s for %s, %d bytes]", in.Kind, in.Host, len(in.Data))
}

// Finding says what was found where, never the secret.
type Finding struct {
	Rule       string
	Name       string   // of the known value
	Start, End int      // in the data; both -1 when it is in no one place there
	Encoding   []string // outermost first
	Action     Action
	Digest     uint64 // of what was found, under a key of this process: the same for the same; 0 where it was put together
}

// Scanner finds secrets. It may be used concurrently. It is a function, so that no way of
// printing what holds one shows more than an address: fmt follows pointers.
type Scanner struct{ engine func() *engine }

// Format prints nothing of what is looked for.
func (s Scanner) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[dlp scanner]") }

// engine is what a scanner looks for; it does not change, the caches aside.
type engine struct {
	*tables
	cache   *cache    // of parts of bodies
	heads   *cache    // of whole heads
	scratch sync.Pool // of *[][]byte
	flates  sync.Pool // of *[]io.Reader, at rest
	known   []known
	actions map[string]Action
	budget  int
	depth   int
	least   int    // bytes that something to be found in an encoding has
	reach   int    // letters and digits before what is new in a stream that are searched again
	text    *grams // what is looked for in every view
	letters *grams // known values, in views of letters and digits only
}

// known is a value of the bottle in the forms that are looked for.
type known struct {
	name        string
	placeholder bool
	plain       []byte
	turned      [][]byte // reversed, rot13 and both
	letters     []byte   // letters and digits only
}

// Rules lists every rule that an action may be given for.
func Rules() []string {
	names := []string{RuleKnownValue, RulePlaceholder}
	for _, r := range table() {
		if !slices.Contains(names, r.id) {
			names = append(names, r.id)
		}
	}
	return names
}

// New prepares a scanner.
func New(o Options) (*Scanner, error) {
	if err := CheckActions(o.Actions); err != nil {
		return nil, err
	}
	t, err := shared()
	if err != nil {
		return nil, err
	}
	e := &engine{tables: t, actions: o.Actions, budget: or(o.Budget, defaultBudget), depth: or(o.Depth, defaultDepth), least: maxLeast, reach: minReach}
	for _, v := range o.Known {
		if len(v.Secret) >= MinKnown {
			e.known = append(e.known, e.newKnown(v))
			e.least = min(e.least, len(v.Secret))
			e.reach = max(e.reach, 2*len(v.Secret))
		}
	}
	e.text, e.letters = e.textGrams(), e.letterGrams()
	if size := or(o.CacheSize, defaultCache); size > 0 {
		e.cache, e.heads = newCache(size), newCache(min(size, maxHeads))
	}
	return &Scanner{func() *engine { return e }}, nil
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// CheckActions checks actions by rule, AnyToken among them. A value of the bottle's own
// must not go out, so it cannot be only told of.
func CheckActions(actions map[string]Action) error {
	rules := append(Rules(), AnyToken)
	for rule, action := range actions {
		known := rule == RuleKnownValue || rule == RulePlaceholder
		switch {
		case !slices.Contains(rules, rule):
			return fmt.Errorf("there is no rule %q", rule)
		case action != Block && action != Redact && action != Alert:
			return fmt.Errorf("rule %s: there is no action %q", rule, action)
		case known && action == Alert:
			return fmt.Errorf("rule %s: it can be blocked or redacted", rule)
		}
	}
	return nil
}

// ActionText is one line for people.
func ActionText(actions map[string]Action) string {
	var all []string
	for _, rule := range slices.Sorted(maps.Keys(actions)) {
		all = append(all, rule+": "+string(actions[rule]))
	}
	return strings.Join(all, ", ")
}

func (e *engine) newKnown(v Value) known {
	plain := slices.Clone(v.Secret)
	turned := [][]byte{reversed(plain), rot13(plain), reversed(rot13(plain))}
	return known{v.Name, v.Placeholder, plain, turned, e.alnum.squeeze(nil, plain)}
}

func (k *known) rule() string {
	if k.placeholder {
		return RulePlaceholder
	}
	return RuleKnownValue
}

func (e *engine) action(rule string) Action {
	if action := e.actions[rule]; action != "" {
		return action
	}
	return Block
}

// Scan searches one part of a request. With an error the data was not searched to its
// end and must not be sent; the findings are what was found by then.
func (s *Scanner) Scan(ctx context.Context, in Input) ([]Finding, error) {
	c := s.engine().newScan(ctx, in)
	c.document()
	return c.done()
}

// ScanInside searches only what is compressed inside of data: what a stream, which sees one
// window of it at a time, cannot.
func (s *Scanner) ScanInside(ctx context.Context, in Input) ([]Finding, error) {
	c := s.engine().newScan(ctx, in)
	c.inflate(&view{data: in.Data}, c.depth)
	c.together(c.pieces)
	return c.done()
}

// Worst is the strictest action that the findings ask for, "" if there are none.
// Something to be redacted that is in no one place is blocked.
func Worst(findings []Finding) Action {
	order := []Action{"", Alert, Redact, Block}
	worst := 0
	for _, f := range findings {
		worst = max(worst, slices.Index(order, f.Action))
		if f.Action == Redact && f.Start < 0 {
			worst = len(order) - 1
		}
	}
	return order[worst]
}
