package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// Bounds of what connections hold. Many may be idle; of HTTP/2, whose connections carry
// many requests at a time, fewer may have any under way: the others wait with their first.
// All of it at once, headers of maxHeader in every request and every buffer full, fits
// into the bundle's memory.
const (
	maxConnections = 1100
	maxBusy        = 128       // connections of HTTP/2 with requests under way
	maxStreams     = 16        // requests of one
	maxFrame       = 16 << 10  // of what comes in, the least that HTTP/2 allows
	maxUnread      = 256 << 10 // that came in on one, and nobody has taken yet
	maxHeader      = 64 << 10
)

// Bounds of what an upstream may send before the bottle reads it.
const (
	maxAhead    = 512 << 10 // of one answer
	maxAllAhead = 4<<20 - 1 // on one connection
)

// busy gives connections leave to have requests under way.
type busy struct{ slots chan struct{} }

func newBusy(n int) busy { return busy{make(chan struct{}, n)} }

// turn is a tunnel's leave.
type turn struct {
	mu   sync.Mutex
	held bool
	gone chan struct{} // closed with the tunnel
	once sync.Once
}

func newTurn() *turn { return &turn{gone: make(chan struct{})} }

// end lets nobody wait any longer for a tunnel that is closed.
func (t *turn) end() { t.once.Do(func() { close(t.gone) }) }

// follow takes a slot for a connection that gets its first request, and gives it back
// after the last (http.Server.ConnState). No frame of the connection is read until it has
// one.
func (b busy) follow(ctx context.Context) func(net.Conn, http.ConnState) {
	return func(conn net.Conn, state http.ConnState) {
		secure, ok := conn.(*tls.Conn)
		if !ok {
			return
		}
		t, ok := secure.NetConn().(*tunnel)
		switch {
		case !ok || !t.h2:
		case state == http.StateActive:
			b.take(ctx, t.turn)
		default:
			b.release(t.turn)
		}
	}
}

func (b busy) take(ctx context.Context, t *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		return
	}
	select {
	case b.slots <- struct{}{}:
		t.held = true
	case <-t.gone:
	case <-ctx.Done():
	}
}

func (b busy) release(t *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		<-b.slots
		t.held = false
	}
}
