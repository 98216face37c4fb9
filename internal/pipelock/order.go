package pipelock

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"time"
)

// Order is a line (JSON) to whoever runs pipelock: with a token, it is to run anew, with that
// and with these hosts; without, it is asked whether it is well. The connection that it comes
// on stays open for as long as somebody needs pipelock.
type Order struct {
	Token string   `json:"token,omitempty"`
	Hosts []string `json:"hosts,omitempty"`
}

// Reply is the one line that answers an Order. Error is "" when pipelock is well.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// orderTimeout is how long a start of pipelock may take, or an answer about its health.
const orderTimeout = 8 * time.Second

// maxReply bounds a line.
const maxReply = 64 << 10

// order is a connection to who runs pipelock, not for concurrent use. A nil one can be
// closed.
type order struct {
	conn    net.Conn
	replies chan Reply    // closed with the connection
	over    chan struct{} // the same, with nothing on it
}

// ended reports whether the other side has hung up.
func (o *order) ended() bool {
	select {
	case <-o.over:
		return true
	default:
		return false
	}
}

// newOrder is over when the other side hangs up or says what makes no sense.
func newOrder(conn net.Conn) *order {
	o := &order{conn, make(chan Reply, 1), make(chan struct{})}
	go func() {
		defer close(o.replies)
		defer close(o.over)
		defer func() { _ = conn.Close() }()
		lines := bufio.NewReaderSize(conn, maxReply)
		for {
			line, err := lines.ReadSlice('\n')
			var r Reply
			if err != nil || json.Unmarshal(line, &r) != nil {
				return
			}
			select {
			case o.replies <- r:
			default:
				return // nobody asked
			}
		}
	}()
	return o
}

func (o *order) close() {
	if o != nil {
		_ = o.conn.Close()
	}
}

// dialOrder waits until somebody listens, or ctx ends.
func (o Options) dialOrder(ctx context.Context) (*order, error) {
	pause := 10 * time.Millisecond
	for {
		conn, err := o.dial(ctx, OrderSocket)
		if err == nil {
			return newOrder(conn), nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 250*time.Millisecond)
		case <-ctx.Done():
			return nil, outage("who runs it does not answer")
		}
	}
}

// say gives an order and waits until it was carried out.
func (o *order) say(ctx context.Context, what Order) error {
	if err := json.NewEncoder(o.conn).Encode(what); err != nil {
		return outage("who runs it hung up")
	}
	select {
	case r, ok := <-o.replies:
		if !ok {
			return outage("who runs it hung up")
		}
		if r.Error != "" {
			return outage("%s", plainText(r.Error))
		}
		return nil
	case <-ctx.Done():
		o.close() // a late reply would be taken for the next one's
		return outage("it is not ready after %s", orderTimeout)
	}
}

// plainText is a longer text than a word, of the same kind.
func plainText(s string) string {
	var out []byte
	for i := 0; i < len(s) && len(out) < 300; i += maxWord {
		out = append(out, plain(s[i:min(len(s), i+maxWord)])...)
	}
	return string(out)
}

// run has pipelock run with the hosts of s, if it does not, and asks whether it is well.
func (s *Scanner) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	if s.order != nil {
		if err := s.order.say(ctx, Order{}); err == nil || ctx.Err() != nil {
			return err
		}
		s.hangUp()
	}
	fresh, err := s.options.dialOrder(ctx)
	if err != nil {
		return err
	}
	if err := fresh.say(ctx, Order{Token: s.token, Hosts: s.hosts}); err != nil {
		fresh.close()
		return err
	}
	s.order = fresh
	s.mu.Lock()
	s.live = fresh
	s.mu.Unlock()
	go s.watch(fresh)
	return nil
}

// hangUp lets go of who runs pipelock; it is down until it has passed its test again.
func (s *Scanner) hangUp() {
	s.mu.Lock()
	s.live = nil
	s.mu.Unlock()
	s.order.close()
	s.order = nil
}

// watch has pipelock count as down as soon as whoever runs it hangs up, and has Keep look for
// it.
func (s *Scanner) watch(o *order) {
	<-o.over
	s.mu.Lock()
	current := s.live == o
	if current {
		s.down = outage("it has ended")
	}
	s.mu.Unlock()
	if !current {
		return // it was let go of
	}
	select {
	case s.lost <- struct{}{}:
	default:
	}
}
