package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// maxAudit bounds what a run of a bottle may log, in bytes. It is more than a month's work,
// and an agent that fills it with refused requests, to fill the disk or to push what it did
// before out of sight, only ends its own traffic.
const maxAudit = 192 << 20

// log is the bottle's audit log: the one place where the events of all services come
// together, get their order, and are chained. A service says what happened; that it was
// this service, of this bottle, and after what, is said here.
type log struct {
	bottle string
	cut    int64
	broken context.CancelCauseFunc
	room   func() error  // nil, or that a line may be lost without a word
	begun  chan struct{} // closed when the first lines are out, or never will be

	mu      sync.Mutex
	w       io.Writer
	chain   *audit.Chain
	written int
	closed  bool // nothing more is written
}

func newLog(w io.Writer, c control.BundleConfig, broken context.CancelCauseFunc) *log {
	return &log{bottle: c.Bottle, cut: c.Log.Cut, broken: broken, room: func() error { return nil }, begun: make(chan struct{}), w: w, chain: audit.Continue(c.Log.After)}
}

// outputError ends the bundle: what cannot be recorded must not happen.
type outputError struct{ err error }

func (e *outputError) Error() string { return "cannot write the audit log: " + e.err.Error() }

// begin says whether every service listens, and begins the log if so. Call it once.
func (l *log) begin(failed error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(l.begun)
	r := control.Ready{Ready: failed == nil}
	if failed != nil {
		r.Error = failed.Error()
	}
	err := json.NewEncoder(l.w).Encode(r)
	if l.closed = failed != nil || err != nil; l.closed {
		return err
	}
	e := audit.Event{Kind: audit.Begin}
	if l.cut > 0 {
		e.Reason = audit.TakenOff(l.cut)
	}
	l.write(audit.Bundle, e)
	return nil
}

// record writes an event that happened in a service. It may be used concurrently, and
// waits for begin.
func (l *log) record(service string, e audit.Event) {
	<-l.begun
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(service, e)
	if err := l.full(); err != nil {
		l.broken(err)
	}
}

// spare is what must be free on the disk where an engine keeps the log, in bytes: it takes our lines some time
// after we have written them, and a line that finds no room it drops, without a word to us. An agent can fill
// that disk, which its workspace is on, and do what is on no record then.
const spare = 32 << 20

// full is nil, or an outputError.
func (l *log) full() error {
	if err := l.room(); err != nil {
		return &outputError{err}
	}
	return nil
}

// end closes the log of a bundle that ended in good order: what is missing after its last
// line was never written.
func (l *log) end(failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := audit.Event{Kind: audit.End}
	if failed != nil {
		e.Reason = failed.Error()
	}
	l.write(audit.Bundle, e)
	l.closed = true
}

func (l *log) write(service string, e audit.Event) {
	if l.closed {
		return
	}
	e.Bottle, e.Service = l.bottle, service
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	line, err := l.chain.Line(e)
	if err == nil {
		_, err = l.w.Write(line)
	}
	l.closed = err != nil
	if l.written += len(line); err == nil && l.written > maxAudit {
		err = fmt.Errorf("it is full, at %d bytes", maxAudit)
	}
	if err != nil {
		l.broken(&outputError{err})
	}
}
