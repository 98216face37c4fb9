package gitgate

import (
	"context"
	bits "encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// visit is what one client does on one connection, which is one fetch of git's: it asks for
// the refs, says which objects it wants, perhaps in several requests, and gets them. One event
// tells of it: when objects have gone out, or else when the client leaves or asks anew. It may
// be used concurrently.
type visit struct {
	mu     sync.Mutex
	record func(audit.Event)
	event  *audit.Event // nil where there is nothing to tell
	began  time.Time
	refs   map[string]string // as they were shown
	wants  map[string]bool   // ids
}

// maxWants bounds how many of the ids that a client asks for are looked up.
const maxWants = 100_000

type visitKey struct{}

// visits are those of all connections.
type visits struct {
	mu  sync.Mutex
	all map[net.Conn]*visit
}

// enter is http.Server's ConnContext.
func (s *Server) enter(ctx context.Context, c net.Conn) context.Context {
	v := &visit{record: s.record}
	s.visits.mu.Lock()
	defer s.visits.mu.Unlock()
	if s.visits.all == nil {
		s.visits.all = make(map[net.Conn]*visit)
	}
	s.visits.all[c] = v
	return context.WithValue(ctx, visitKey{}, v)
}

// left is http.Server's ConnState.
func (s *Server) left(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	s.visits.mu.Lock()
	v := s.visits.all[c]
	delete(s.visits.all, c)
	s.visits.mu.Unlock()
	if v != nil {
		v.tell()
	}
}

// farewell tells of those that are there when the gate ends.
func (s *Server) farewell() {
	s.visits.mu.Lock()
	all := slices.Collect(maps.Values(s.visits.all))
	s.visits.mu.Unlock()
	for _, v := range all {
		v.tell()
	}
}

// visitOf is that of a request's connection.
func (s *Server) visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{record: s.record}
}

// shown begins a fetch: the client has the refs. upstream is how long they took to be brought
// up to date.
func (v *visit) shown(m *mirror, began time.Time, upstream float64) {
	v.tell()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start(m, began)
	v.event.Upstream = upstream
}

func (v *visit) start(m *mirror, began time.Time) {
	v.began, v.wants = began, make(map[string]bool)
	if refs := m.shown.Load(); refs != nil {
		v.refs = *refs
	}
	v.event = &audit.Event{Time: began, Kind: audit.Fetch, Decision: audit.Allow, Repository: m.Name}
}

// served adds one request for objects, and tells of the fetch if it got some.
func (v *visit) served(m *mirror, began time.Time, asked *wanted, said *packHead, in, out int64) {
	v.mu.Lock()
	if v.event == nil { // it begins with what it has learnt before
		v.start(m, began)
	}
	for id := range asked.ids() {
		v.wants[id] = true
	}
	objects, sent := said.count()
	v.event.Objects += objects
	v.event.BytesOut, v.event.BytesIn, v.event.Millis = v.event.BytesOut+in, v.event.BytesIn+out, millis(v.began)
	v.mu.Unlock()
	if sent {
		v.tell()
	}
}

// tell records what there is to tell, once.
func (v *visit) tell() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.event == nil {
		return
	}
	e := *v.event
	v.event = nil
	if e.Millis == 0 {
		e.Millis = e.Upstream
	}
	e.Updates, e.Reason = v.asked()
	v.record(e)
}

// asked are the refs whose ids the client wanted, and what else is to be said of that.
func (v *visit) asked() (refs []audit.Update, reason string) {
	named := make(map[string]bool)
	for name, id := range v.refs {
		if v.wants[id] {
			refs = append(refs, audit.Update{Ref: name, New: id})
			named[id] = true
		}
	}
	slices.SortFunc(refs, func(a, b audit.Update) int { return strings.Compare(a.Ref, b.Ref) })
	var more []string
	if n := len(refs) - maxReported; n > 0 {
		refs, more = refs[:maxReported], append(more, fmt.Sprintf("%d more refs", n))
	}
	if n := len(v.wants) - len(named); n > 0 {
		more = append(more, fmt.Sprintf("%d ids that are no ref's", n))
	}
	switch {
	case len(v.wants) == 0:
		return nil, "it asked for no objects"
	case len(more) > 0:
		return refs, "and " + strings.Join(more, ", ")
	}
	return refs, ""
}

// packets hears the beginning of each line of git's protocol (gitprotocol-common(5), pkt-line)
// as it passes, up to the first thing that is none.
type packets struct {
	hear func(line []byte) (more bool)
	line []byte // its length, in hex, and its beginning
	skip int    // bytes of it that are of no interest
	deaf bool
}

// heard is how much of a line is of interest, in bytes.
const heard = 64

// Write implements io.Writer; it has no error.
func (p *packets) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && !p.deaf {
		if p.skip > 0 {
			passed := min(p.skip, len(b))
			p.skip, b = p.skip-passed, b[passed:]
			continue
		}
		p.line, b = append(p.line, b[0]), b[1:]
		p.next()
	}
	return n, nil
}

// next looks whether a line, or so much of it, is there.
func (p *packets) next() {
	if len(p.line) < 4 {
		return
	}
	size, err := strconv.ParseUint(string(p.line[:4]), 16, 16)
	switch {
	case err != nil:
		p.deaf = len(p.line) == heard+4 || !p.hear(p.line) // a pack that is in no lines
		return
	case size < 4: // a flush, or another mark
		size = 4
	}
	if want := min(int(size), heard+4); len(p.line) == want {
		p.deaf = !p.hear(p.line[4:])
		p.line, p.skip = p.line[:0], int(size)-want
	}
}

// wanted hears which ids a client wants. It may be used concurrently.
type wanted struct {
	mu   sync.Mutex
	all  map[string]bool
	from packets
}

func newWanted() *wanted {
	w := &wanted{all: make(map[string]bool)}
	w.from.hear = func(line []byte) bool {
		if id, ok := strings.CutPrefix(string(line), "want "); ok && len(id) >= 40 && objectName(id[:40]) {
			w.all[id[:40]] = true
		}
		return len(w.all) < maxWants
	}
	return w
}

// Write implements io.Writer.
func (w *wanted) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.from.Write(b)
}

func (w *wanted) ids() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.all)
}

// packHead hears how many objects a pack has that is sent, in a side band or plain.
type packHead struct {
	packets
	objects uint32
	sent    bool
}

func newPackHead() *packHead {
	h := &packHead{}
	h.hear = func(line []byte) bool {
		if len(line) > 0 && line[0] == 1 {
			line = line[1:]
		}
		if len(line) < 12 || string(line[:4]) != "PACK" {
			return true
		}
		h.objects, h.sent = bits.BigEndian.Uint32(line[8:]), true
		return false
	}
	return h
}

func (h *packHead) count() (objects int, sent bool) { return int(h.objects), h.sent }

// watched is body, and all of it goes to who as well.
func watched(body io.Reader, who io.Writer) io.Reader {
	if who == nil {
		return body
	}
	return io.TeeReader(body, who)
}
