package session

import (
	"slices"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// Bounds of a session.
const (
	maxViewers = 32
	maxBacklog = 256 << 10 // of the first output, kept for the first viewer
	window     = 256 << 10 // what a viewer may have been sent and not shown; one that is behind gets a snapshot
	nearlyAll  = 32 << 10  // it may have so much of the window in use when the snapshot is made
	flood      = 16 << 10  // between two snapshots: the next one follows
	maxPaint   = 4 << 20   // a snapshot with history
)

// Hub is an agent's terminal as the guest keeps it: the screen, and who looks at it. Its
// methods may be called concurrently. No viewer, however slow, holds up Output.
type Hub struct {
	terminal Terminal

	mu       sync.Mutex
	screen   *terminal.Screen
	viewers  []*viewer
	typist   *viewer // who typed last: the size follows
	backlog  []byte  // all output so far; nil once it is given up
	answers  []byte
	typed    time.Time
	given    bool // what was typed last ended a line: it is the agent's turn
	printed  time.Time
	heard    uint64 // the screen's Bell when it was last typed to
	ended    bool
	status   int
	awaited  bool // a viewer is on the way
	schemed  bool // a viewer has told its colours
	looked   bool // a viewer has come
	changed  *sync.Cond
	keys     []byte     // typed, and not written yet
	taken    *sync.Cond // some of them were written, or there are some
	moved    time.Time  // when that was so last
	closed   bool
	ending   chan struct{} // closed by End
	finished sync.WaitGroup
}

// Terminal is the pseudo-terminal behind a Hub.
type Terminal interface {
	// Write types. It may block for as long as the agent reads nothing.
	Write(p []byte) (int, error)
	// Resize changes its size.
	Resize(Size)
}

// NewHub makes a Hub for a terminal of a size. Close ends it.
func NewHub(t Terminal, s Size) *Hub {
	h := &Hub{terminal: t, backlog: []byte{}, ending: make(chan struct{}), typed: time.Now(), printed: time.Now()}
	h.changed, h.taken = sync.NewCond(&h.mu), sync.NewCond(&h.mu)
	h.screen = h.newScreen(int(s.Width), int(s.Height))
	h.finished.Go(h.typeAll)
	return h
}

func (h *Hub) newScreen(width, height int) *terminal.Screen {
	return terminal.NewScreen(width, height, func(b []byte) {
		if len(h.answers) < maxToGuest {
			h.answers = append(h.answers, b...)
		}
	})
}

// Output draws what the agent printed, and passes it on.
func (h *Hub) Output(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if asksColours(p) {
		h.awaitColours()
	}
	h.printed = time.Now()
	h.draw(p)
	h.reply()
	if h.backlog != nil {
		if h.backlog = append(h.backlog, p...); len(h.backlog) > maxBacklog {
			h.backlog = nil
		}
	}
	for _, v := range h.viewers {
		v.push(p)
	}
}

// draw writes to the screen. Should that fail, the session goes on with an empty one.
func (h *Hub) draw(p []byte) {
	defer func() {
		if recover() != nil {
			scheme := h.screen.Scheme
			h.screen = h.newScreen(h.screen.Size())
			h.screen.Scheme = scheme
			h.fallBehind(nil)
		}
	}()
	_, _ = h.screen.Write(p)
}

// reply types the screen's answers, unless a viewer's terminal gives its own. An agent that
// asks and does not read gets none.
func (h *Hub) reply() {
	answers := h.answers
	h.answers = nil
	for _, v := range h.viewers {
		if v.Answers {
			return
		}
	}
	if len(h.keys)+len(answers) <= maxToGuest {
		h.add(answers)
	}
}

// add has keys typed. It waits for room while the agent reads; where that reads nothing, what
// there is no room for is lost.
func (h *Hub) add(keys []byte) {
	for len(h.keys)+len(keys) > maxTyped && !h.closed {
		left := stuckFor - time.Since(h.moved)
		if left <= 0 {
			return
		}
		timer := time.AfterFunc(left, h.taken.Broadcast)
		h.taken.Wait()
		timer.Stop()
	}
	if len(h.keys) == 0 {
		h.moved = time.Now()
	}
	h.keys = append(h.keys, keys...)
	h.taken.Broadcast()
}

// typeAll writes what is typed, for as long as the agent takes to read it.
func (h *Hub) typeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		for len(h.keys) == 0 && !h.closed {
			h.taken.Wait()
		}
		if h.closed {
			return
		}
		keys := slices.Clone(h.keys[:min(len(h.keys), maxToGuest)])
		if h.keys = slices.Delete(h.keys, 0, len(keys)); len(h.keys) == 0 {
			h.keys = nil
		}
		h.taken.Broadcast()
		h.mu.Unlock()
		_, _ = h.terminal.Write(keys)
		h.mu.Lock()
		h.moved = time.Now()
	}
}

// fallBehind has all viewers but one get a snapshot next.
func (h *Hub) fallBehind(but *viewer) {
	for _, v := range h.viewers {
		if v != but {
			v.fallBehind()
		}
	}
}

// resize makes the terminal as large as the viewer's. That one draws on as it does; what the
// others have is drawn anew.
func (h *Hub) resize(v *viewer) {
	width, height := h.screen.Size()
	if v.Width == 0 || v.Height == 0 || int(v.Width) == width && int(v.Height) == height {
		return
	}
	h.screen.Resize(int(v.Width), int(v.Height))
	width, height = h.screen.Size()
	h.terminal.Resize(Size{uint(width), uint(height)})
	h.fallBehind(v)
}

// Drawn is the size, and the screen's lines. It is for tests of the guest.
func (h *Hub) Drawn() (Size, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	width, height := h.screen.Size()
	return Size{uint(width), uint(height)}, h.screen.Text()
}

// End tells all viewers how the agent ended, and waits until each has been told and has gone,
// or patience is over. With awaited, one that has not come yet is waited for. Call it once.
func (h *Hub) End(status int, awaited bool, patience time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended, h.status = true, status
	close(h.ending)
	for _, v := range h.viewers {
		v.wake.Signal()
	}
	over := false
	timer := time.AfterFunc(patience, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		over = true
		h.changed.Broadcast()
	})
	defer timer.Stop()
	for !over && (awaited && !h.looked || h.waitedFor()) {
		h.changed.Wait()
	}
}

// waitedFor reports whether a viewer has not been told the end.
func (h *Hub) waitedFor() bool {
	for _, v := range h.viewers {
		if !v.Watch {
			return true
		}
	}
	return false
}

// Close lets go of all viewers, and waits for what the Hub started.
func (h *Hub) Close() {
	h.mu.Lock()
	for _, v := range h.viewers {
		v.leave()
	}
	h.closed = true
	h.taken.Broadcast()
	h.changed.Broadcast()
	h.mu.Unlock()
	h.finished.Wait()
}
