package pipelock

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// maxOrder bounds an order's line.
const maxOrder = 1 << 20

// runner is one pipelock, again and again.
type runner struct {
	options Options
	needed  *need

	mu    sync.Mutex // held while an order is carried out
	child *child     // nil: none was ordered

	callers sync.Map // net.Conn, of those who gave orders
}

// take carries out orders until l is closed.
func (r *runner) take(ctx context.Context, l net.Listener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		serving.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			defer r.needed.begin()()
			r.callers.Store(conn, true)
			defer r.callers.Delete(conn)
			r.serve(ctx, conn)
		})
	}
}

func (r *runner) serve(ctx context.Context, conn net.Conn) {
	lines := bufio.NewReaderSize(conn, maxOrder)
	replies := json.NewEncoder(conn)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		var order pipelock.Order
		var reply pipelock.Reply
		if err := json.Unmarshal(line, &order); err != nil {
			reply.Error = "the order is not what this version reads"
		} else if err := r.carryOut(ctx, order); err != nil {
			reply.Error = err.Error()
		}
		if replies.Encode(reply) != nil {
			return
		}
	}
}

func (r *runner) carryOut(ctx context.Context, o pipelock.Order) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Token == "" {
		if r.child == nil {
			return errNone
		}
		return r.child.well(ctx)
	}
	r.child.end()
	settings := r.options.Settings
	settings.Order = o
	var err error
	if r.child, err = start(ctx, r.options, settings); err == nil {
		go r.watch(r.child)
	}
	return err
}

// watch hangs up on everybody when pipelock ends by itself: they know at once that it is
// gone, and order it anew.
func (r *runner) watch(c *child) {
	<-c.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child != c {
		return // it was ended for another one
	}
	r.child = nil
	r.callers.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
}

func (r *runner) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.child.end()
	r.child = nil
}
