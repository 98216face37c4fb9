package session

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// viewer is one who looks, seen from the guest. Everything in it is under the Hub's mutex,
// but for the stream.
type viewer struct {
	greeting
	hub    *Hub
	stream io.Closer                // nil for the recorder
	put    func(kind, []byte) error // writes one frame
	wake   *sync.Cond

	pending  []byte // output to come
	behind   bool   // a snapshot comes instead
	history  int    // lines to come with it
	main     uint64 // what the main screen was when it was last sent
	painted  time.Time
	since    int // bytes that were printed since
	inFlight int
	asked    []uint64 // questions for a snapshot: the version that is known
	may      bool     // whether its keys are taken
	told     bool     // that
	gone     bool
}

// paintEvery is how often a viewer gets a snapshot whose own terminal has another size: what
// the agent prints would be drawn wrong there.
const paintEvery = 40 * time.Millisecond

// helloLimit is how long a viewer may take to say who it is.
const helloLimit = 10 * time.Second

// Serve serves one viewer until it goes.
func (h *Hub) Serve(stream io.ReadWriteCloser) {
	defer func() { _ = stream.Close() }()
	late := time.AfterFunc(helloLimit, func() { _ = stream.Close() })
	in := &frames{r: stream, limit: maxToGuest}
	k, content, err := in.next()
	if !late.Stop() || err != nil || k != hello {
		return
	}
	g, err := readGreeting(content)
	if err != nil {
		return
	}
	v := &viewer{greeting: g, hub: h, stream: stream, put: func(k kind, b []byte) error { return writeFrame(stream, k, b) }}
	if !h.admit(v) {
		return
	}
	var writing sync.WaitGroup
	writing.Go(v.writeAll)
	v.readAll(in)
	h.dismiss(v)
	writing.Wait()
}

// admit takes a viewer in. The first one sizes the terminal, and gets all from the start.
func (h *Hub) admit(v *viewer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= maxViewers {
		return false
	}
	v.wake = sync.NewCond(&h.mu)
	v.may = !v.Watch && v.Typing != nobody
	v.history = min(max(v.History, 0), terminal.HistoryLines)
	if v.First && h.backlog != nil {
		v.pending = slices.Clone(h.backlog)
	} else {
		v.behind = !v.Watch
	}
	h.viewers = append(h.viewers, v)
	if !v.Watch && !v.recorder() {
		h.looked, h.backlog = true, nil
	}
	if v.may && h.typist == nil {
		h.typist = v
		h.resize(v)
	}
	h.share()
	h.changed.Broadcast()
	return true
}

// share says whose keys are taken: those of the last who came to type alone, else everybody's.
func (h *Hub) share() {
	var only *viewer
	for _, v := range h.viewers {
		if v.Typing == alone && !v.Watch {
			only = v
		}
	}
	for _, v := range h.viewers {
		may := !v.Watch && v.Typing != nobody && (only == nil || only == v)
		if v.may != may {
			v.may, v.told = may, false
			v.wake.Signal()
		}
	}
}

func (h *Hub) dismiss(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.leave()
	h.viewers = slices.DeleteFunc(h.viewers, func(other *viewer) bool { return other == v })
	if h.typist == v {
		h.typist = nil
	}
	h.share()
	h.changed.Broadcast()
}

// leave ends a viewer's goroutines.
func (v *viewer) leave() {
	v.gone = true
	v.wake.Signal()
	v.close()
}

// push adds output, if the viewer keeps up and draws on a terminal of the same size.
func (v *viewer) push(p []byte) {
	v.since += len(p)
	switch {
	case v.Watch || v.behind:
	case len(v.pending)+v.inFlight+len(p) > window || !v.fits() || v.flooded():
		v.fallBehind()
	default:
		v.pending = append(v.pending, p...)
	}
	v.wake.Signal()
}

// flooded reports whether, right after a snapshot, more is printed than anybody can read:
// another snapshot shows as much of it, and moves a fraction of the bytes.
func (v *viewer) flooded() bool {
	return !v.recorder() && v.since > flood && time.Since(v.painted) < paintEvery
}

func (v *viewer) fallBehind() {
	if !v.Watch {
		v.behind, v.pending = true, nil
		v.wake.Signal()
	}
}

// fits reports whether what is printed can be drawn on the viewer's terminal as it is.
func (v *viewer) fits() bool {
	width, height := v.hub.screen.Size()
	return v.recorder() || int(v.Width) == width && int(v.Height) == height
}

type outgoing struct {
	kind    kind
	content []byte
}

// writeAll writes what there is to tell, until the viewer goes.
func (v *viewer) writeAll() {
	for {
		next, ok := v.next()
		if !ok {
			return
		}
		if v.put(next.kind, next.content) != nil {
			v.hub.mu.Lock()
			v.leave()
			v.hub.mu.Unlock()
			return
		}
	}
}

func (v *viewer) close() {
	if v.stream != nil {
		_ = v.stream.Close()
	}
}

// recorder reports whether it is the transcript's, which has a terminal of every size.
func (v *viewer) recorder() bool { return v.stream == nil }

// next waits for what is to be told next.
func (v *viewer) next() (outgoing, bool) {
	v.hub.mu.Lock()
	defer v.hub.mu.Unlock()
	for !v.gone {
		if o, ok := v.due(); ok {
			return o, true
		}
		v.wake.Wait()
	}
	return outgoing{}, false
}

func (v *viewer) due() (outgoing, bool) {
	h := v.hub
	switch {
	case !v.told:
		v.told = true
		return outgoing{rights, []byte{map[bool]byte{true: 1}[v.may]}}, true
	case len(v.asked) > 0:
		return v.answer(), true
	case v.behind && v.inFlight <= nearlyAll && v.rested():
		v.behind, v.painted, v.since = false, time.Now(), 0
		content := v.snapshot()
		v.inFlight += len(content)
		return outgoing{paint, content}, true
	case len(v.pending) > 0:
		content := v.pending
		v.pending = nil
		v.inFlight += len(content)
		return outgoing{data, content}, true
	case h.ended && !v.behind && !v.Watch:
		v.gone = true // the last word; the viewer closes
		return outgoing{exit, numberContent(uint64(h.status))}, true
	}
	return outgoing{}, false
}

// rested reports whether it is time for another snapshot, and wakes the viewer when it is.
func (v *viewer) rested() bool {
	wait := paintEvery - time.Since(v.painted)
	if wait <= 0 || v.hub.ended {
		return true
	}
	time.AfterFunc(wait, func() {
		v.hub.mu.Lock()
		defer v.hub.mu.Unlock()
		v.wake.Signal()
	})
	return false
}

// snapshot is the screen as it is now. What has scrolled off comes with the first one only.
func (v *viewer) snapshot() []byte {
	s := v.hub.screen
	r := terminal.Repaint{History: v.history, Main: v.main != s.MainDrawn(), Title: v.Title}
	if v.Width > 0 && v.Height > 0 {
		r.Width, r.Height = int(v.Width), int(v.Height)
	}
	v.history, v.main = 0, s.MainDrawn()
	content := s.Repaint(r)
	if len(content) > maxPaint {
		r.History = 0
		content = s.Repaint(r)
	}
	return content
}

// answer answers a question for a snapshot: facts, then the screen unless it is known.
func (v *viewer) answer() outgoing {
	h := v.hub
	known := v.asked[0]
	v.asked = v.asked[1:]
	width, height := h.screen.Size()
	f := report{
		Width: uint(width), Height: uint(height), Version: h.screen.Version, Quiet: time.Since(h.printed).Milliseconds(),
		Worked: h.printed.Sub(h.typed) > time.Second || h.given && h.printed.After(h.typed), Rang: h.screen.Bell != h.heard, Ended: h.ended, Status: h.status, Title: h.screen.Title,
	}
	if known != h.screen.Version {
		f.Screen = h.screen.Repaint(terminal.Repaint{})
	}
	content, err := json.Marshal(f)
	if err != nil {
		content = nil
	}
	return outgoing{facts, content}
}

// readAll does what the viewer says, until it says what makes no sense.
func (v *viewer) readAll(in *frames) {
	for {
		k, content, err := in.next()
		if err != nil || !v.take(k, content) {
			return
		}
	}
}

func (v *viewer) take(k kind, content []byte) bool {
	switch k {
	case data:
		return v.typed(content)
	case size:
		s, err := readSize(content)
		return err == nil && v.sized(s)
	case colour:
		return v.coloured(content)
	case shown, ask:
		n, err := number(content)
		return err == nil && v.noted(k, n)
	}
	return false
}

// typed passes keys on, if they are taken. Who types gives the terminal its size.
func (v *viewer) typed(keys []byte) bool {
	h := v.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !v.may || h.ended {
		return true
	}
	if !bytes.HasPrefix(keys, []byte{0x1b}) { // else a terminal answers, tells of its focus or its mouse, or a cursor moves
		h.typed, h.heard, h.given = time.Now(), h.screen.Bell, bytes.ContainsAny(keys, "\r\n")
	}
	if h.typist != v {
		h.typist = v
		h.resize(v)
	}
	h.add(keys)
	return !h.closed
}

func (v *viewer) sized(s Size) bool {
	h := v.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	v.Width, v.Height = s.Width, s.Height
	if h.typist == nil && v.may {
		h.typist = v
	}
	if h.typist == v {
		h.resize(v)
	} else {
		v.fallBehind()
	}
	return true
}

func (v *viewer) noted(k kind, n uint64) bool {
	v.hub.mu.Lock()
	defer v.hub.mu.Unlock()
	defer v.wake.Signal()
	if k == ask {
		v.asked = append(v.asked, n)
		return len(v.asked) <= 4
	}
	v.inFlight -= int(min(n, uint64(v.inFlight)))
	return true
}
