package egress

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// maxMessages is how much of all messages is held. It is none of maxHeld: a message may take as
// long to end as it likes.
const maxMessages = 32 << 20

// holding keeps what a bottle sends on a WebSocket until pipelock has seen the message that
// it is part of: its engine reads no pieces of documents.
type holding struct {
	ask  func(text string) error // pipelock
	over func() error            // what becomes of a message that is too long to be held

	room *semaphore.Weighted // of the server, for all messages that are held

	mu    sync.Mutex // nothing else here is used concurrently
	taken int64
	gone  bool

	frames  []byte // as they came
	message []byte // their payload
	control []byte // of the control frame that comes
	unseen  bool   // the message was too long, and goes all the same
}

// holding makes one for an exchange whose route pipelock guards, else nil. What it holds is
// free when ctx ends.
func (x *exchange) holding(ctx context.Context) *holding {
	second := x.server.second
	if !second.guards(x.decision.Route) {
		return nil
	}
	h := &holding{
		room: x.server.messages,
		ask:  func(text string) error { return x.search.askText(ctx, second, inMessage, x.rules.inert.Replace(text)) },
		over: func() error {
			return x.search.over(&pipelock.OverBudgetError{Budget: budgetOf(x.decision.Route)}, inMessage)
		},
	}
	context.AfterFunc(ctx, func() { h.free(true) })
	return h
}

// collect takes payload.
func (h *holding) collect(f *frame, plain []byte) error {
	if f.control() {
		h.control = append(h.control, plain...)
		return nil
	}
	if h.unseen {
		return nil
	}
	if len(h.message)+len(plain) > maxWhole || !h.take(2*len(plain)) { // it is there as frames, too
		h.unseen = true
		return h.over()
	}
	h.message = append(h.message, plain...)
	return nil
}

// ended asks about what a frame has completed.
func (h *holding) ended(f *frame) error {
	if f.control() {
		text := pipelock.Text("", h.control)
		h.control = nil
		return h.ask(text)
	}
	if !f.final {
		return nil
	}
	unseen, message := h.unseen, h.message
	h.unseen, h.message = false, nil
	if unseen {
		return nil
	}
	return h.ask(pipelock.Text("", message))
}

// add takes frames as they came, and returns those that may go: all of them, between two
// messages, or where one goes unseen.
func (h *holding) add(p []byte, between bool) (ready []byte, err error) {
	if !between && !h.unseen {
		h.frames = append(h.frames, p...)
		return nil, nil
	}
	ready = p
	if len(h.frames) > 0 {
		ready = append(h.frames, p...)
		h.frames = nil
	}
	h.free(false)
	return ready, nil
}

func (h *holding) take(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone || !h.room.TryAcquire(int64(n)) {
		return false
	}
	h.taken += int64(n)
	return true
}

func (h *holding) free(gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room.Release(h.taken)
	h.taken, h.gone = 0, h.gone || gone
}
