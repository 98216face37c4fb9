// Package audit writes what happened in a bottle: one JSON object a line, the same
// keys for every service. It must never hold a secret, and nothing that a bottle or an
// upstream says may forge a line or reach a terminal as a control sequence.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Kinds of event.
const (
	Request = "request" // an HTTP request
	Connect = "connect" // a connection that is not HTTP, or that was refused before it spoke
	Lookup  = "lookup"  // a refused DNS question
	Fetch   = "fetch"   // of a repository
	Push    = "push"    // to a repository
	Scanner = "scanner" // pipelock has passed its test, or does not pass it any more
	Flag    = "flag"    // pipelock says that an answer holds orders to the agent; it was handed on
)

// Kinds of event that the bundle's parent alone writes (see Decode).
const (
	Begin     = "begin"     // a run of the bottle begins: the first line of its log
	End       = "end"       // it ended in good order: the last line
	Lifecycle = "lifecycle" // a service started, stopped, crashed
	Ask       = "ask"       // the agent asked for something
	Edit      = "edit"      // the operator changed what was asked for
	Decision  = "decision"  // the operator decided, or the agent took it back
	GrantEnd  = "grant-end" // what was granted ended
)

// AgentEnd is written on the host by whoever takes the bottle down, when its bundle has said
// all it had to say: how the agent ended. It is the last line of a run, behind its End.
const AgentEnd = "agent-end"

// Bundle is the service of the parent's own events.
const Bundle = "bundle"

// Agent is the service of AgentEnd.
const Agent = "agent"

// Open is the phase of an event that is written before the first byte goes out, where
// much may go out before the end: an upload, a WebSocket, a TCP route. Should the service
// be killed on the way, that it began is known.
const Open = "open"

// Ahead is the same of a request without a body, and of a push, whose end follows soon: who reads
// the log wants to hear of it only if that is missing.
const Ahead = "ahead"

// Decisions.
const (
	Allow   = "allow"
	Deny    = "deny"
	Unknown = "unknown" // it was allowed and sent, and whether the upstream has it nobody can say
)

// WaitsAs is why a push that the operator is to decide was not let through, before its request.
const WaitsAs = "it waits for the operator as "

// Event is one line. Fields that do not apply are left out.
type Event struct {
	Seq      int64           `json:"seq,omitempty"`  // Chain sets these two, nobody else
	Prev     string          `json:"prev,omitempty"` // SHA-256 of the line before, in hex
	Time     time.Time       `json:"time"`
	Bottle   string          `json:"bottle"`
	Service  string          `json:"service"`
	Kind     string          `json:"event"`
	Phase    string          `json:"phase,omitempty"` // Open or Ahead: a second event, of the same time, tells of the end
	Decision string          `json:"decision,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Protocol policy.Protocol `json:"protocol,omitempty"`
	Host     string          `json:"host,omitempty"`
	Port     int             `json:"port,omitempty"`
	Method   string          `json:"method,omitempty"`
	Path     string          `json:"path,omitempty"`    // without the query
	Rule     *int            `json:"rule,omitempty"`    // index of the route
	Grant    string          `json:"grant,omitempty"`   // the request by which the route was granted
	Request  string          `json:"request,omitempty"` // of the operator, that the event is about
	Secret   string          `json:"secret,omitempty"`
	Address  string          `json:"address,omitempty"` // that was dialled
	Via      string          `json:"via,omitempty"`     // the operator's proxy that it went through; Address is then the proxy's
	Status   int             `json:"status,omitempty"`
	Exit     *int            `json:"exit,omitempty"`      // the agent's exit status; nil: nobody saw it
	BytesOut int64           `json:"bytes_out,omitempty"` // towards the upstream
	BytesIn  int64           `json:"bytes_in,omitempty"`  // towards the bottle
	Millis   float64         `json:"duration_ms,omitempty"`
	Findings []Finding       `json:"findings,omitempty"`
	Pipelock *Pipelock       `json:"pipelock,omitempty"` // what it was asked

	Repository string   `json:"repository,omitempty"`  // its name in the manifest
	Updates    []Update `json:"updates,omitempty"`     // of its refs, that were asked for; of a fetch, those that it wanted
	Commits    int      `json:"commits,omitempty"`     // that a push brings
	Objects    int      `json:"objects,omitempty"`     // that a push brings, commits among them, or a fetch gets
	Check      float64  `json:"check_ms,omitempty"`    // how long looking at a push took
	Forward    float64  `json:"forward_ms,omitempty"`  // how long the upstream took to take it
	Upstream   float64  `json:"upstream_ms,omitempty"` // how long a fetch waited for what the upstream has now

	// Snapshot is what a request had become, for a bottle that is resumed: the parent alone
	// writes it (see Decode). It is valid JSON of clean strings.
	Snapshot json.RawMessage `json:"snapshot,omitempty"`
	Usage
}

// Held reports whether the event is that of a push that waits for the operator.
func (e Event) Held() bool {
	return e.Kind == Push && e.Decision == Deny && e.Reason == WaitsAs+e.Request
}

// Arrived is the request of an approved push, where the event says that the upstream has it; else "".
// The service may end before it says so by other ways.
func (e Event) Arrived() string {
	if e.Kind != Push || e.Decision != Allow || e.Phase != "" {
		return ""
	}
	return e.Request
}

// Finding is a secret, or what looks like one, in what a bottle sent; of a Flag, what looks like
// orders to the agent in what it was given.
type Finding struct {
	Rule     string `json:"rule"`
	Secret   string `json:"secret,omitempty"` // its name, if it is the bottle's own
	Part     string `json:"part"`             // head, body, message; answer
	Action   string `json:"action"`           // block, redact, alert
	Encoding string `json:"encoding,omitempty"`
	Place    string `json:"place,omitempty"`   // of a push: file and line
	Commit   string `json:"commit,omitempty"`  // of a push: which one brings it
	Scanner  string `json:"scanner,omitempty"` // who found it: pipelock, or "" for our own
	Scan     string `json:"scan_id,omitempty"` // pipelock's name of the scan
}

// Pipelock is what looking at a request took. What pipelock had allowed before is not looked
// at again.
type Pipelock struct {
	Scans  []string `json:"scan_ids,omitempty"` // some of them, where there are many
	Bytes  int64    `json:"bytes,omitempty"`    // that were looked at
	Millis float64  `json:"duration_ms,omitempty"`
}

// Update is a change of a ref: from one object id to another, "" for none.
type Update struct {
	Ref    string `json:"ref"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
	Forced bool   `json:"forced,omitempty"` // history is rewritten
	Pushed string `json:"pushed,omitempty"` // what the bottle pushed, where New is a signed copy of it
}

// Usage is what a language model's answer says that it cost.
type Usage struct {
	Model        string `json:"model,omitempty"`
	TokensIn     int64  `json:"tokens_in,omitempty"` // all of the input, cached or not
	TokensOut    int64  `json:"tokens_out,omitempty"`
	TokensCached int64  `json:"tokens_cached,omitempty"` // the part of TokensIn that came from a cache
}

// Writer writes events. It may be used concurrently; each event is one Write.
type Writer struct {
	mu    sync.Mutex
	out   io.Writer
	err   error
	lines sync.Pool // of *line
}

// NewWriter returns a Writer on out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// maxField bounds what a bottle can make us log, in bytes.
const maxField = 512

// Write writes one event. Text is cut to a bounded length and made safe to print. The
// error is sticky: a log that lost a line is not to be trusted, and its service stops.
func (w *Writer) Write(e Event) error {
	l, ok := w.lines.Get().(*line)
	if !ok {
		l = newLine()
	}
	defer w.lines.Put(l)
	text, err := l.encode(e)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		_, w.err = w.out.Write(text)
	}
	return w.err
}

// line is an event in the making.
type line struct {
	event   Event
	text    bytes.Buffer
	encoder *json.Encoder
}

func newLine() *line {
	l := &line{}
	l.encoder = json.NewEncoder(&l.text)
	l.encoder.SetEscapeHTML(false)
	return l
}

func encode(e Event) ([]byte, error) { return newLine().encode(e) }

// encode returns the event's line, which is the next one's room.
func (l *line) encode(from Event) ([]byte, error) {
	l.text.Reset()
	l.event = from
	defer func() { l.event = Event{} }()
	e := &l.event
	for _, field := range []*string{&e.Bottle, &e.Service, &e.Reason, &e.Host, &e.Method, &e.Path, &e.Grant, &e.Request, &e.Secret, &e.Address, &e.Via, &e.Model, &e.Repository} {
		*field = Clean(*field)
	}
	for i := range e.Findings {
		for _, field := range []*string{&e.Findings[i].Place, &e.Findings[i].Commit, &e.Findings[i].Rule, &e.Findings[i].Encoding, &e.Findings[i].Scan} {
			*field = Clean(*field)
		}
	}
	for i := range e.Updates {
		e.Updates[i].Ref = Clean(e.Updates[i].Ref)
	}
	err := l.encoder.Encode(e)
	return l.text.Bytes(), err
}

// Words are what an AgentEnd says.
func (e Event) Words() string {
	how := "the agent ended"
	if e.Exit != nil {
		how = fmt.Sprintf("the agent ended with status %d", *e.Exit)
	}
	if e.Reason != "" {
		how += ": " + e.Reason
	}
	return how
}

// Clean cuts s to what an event holds of a text, and replaces what a terminal would
// interpret or nobody would see: controls, also the C1 ones, characters that change the
// direction of text, and those that take no room.
func Clean(s string) string {
	if len(s) <= maxField && prints(s) {
		return s // as nearly all do
	}
	return cleanAny(s)
}

func cleanAny(s string) string {
	if len(s) > maxField {
		cut := maxField
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	out := make([]rune, 0, len(s))
	marks := 0
	for _, r := range s {
		if !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		} else if marks++; marks > 2 {
			continue // they would grow over other lines
		}
		if !unicode.IsPrint(r) {
			r = '\uFFFD'
		}
		out = append(out, r)
	}
	return string(out)
}

// prints reports whether s is ASCII that a terminal shows.
func prints(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
