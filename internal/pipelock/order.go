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
	replies *bufio.Reader
}

func (o *order) close() {
	if o != nil {
		_ = o.conn.Close()
	}
}

// dialOrder waits until somebody listens, or ctx ends.
func dialOrder(ctx context.Context, socket string) (*order, error) {
	pause := 10 * time.Millisecond
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return &order{conn, bufio.NewReaderSize(conn, maxReply)}, nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 250*time.Millisecond)
		case <-ctx.Done():
			return nil, outage("its container does not answer")
		}
	}
}

// say gives an order and waits until it was carried out.
func (o *order) say(ctx context.Context, what Order) error {
	defer context.AfterFunc(ctx, func() { _ = o.conn.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(o.conn).Encode(what); err != nil {
		return outage("its container hung up")
	}
	line, err := o.replies.ReadSlice('\n')
	var r Reply
	switch {
	case ctx.Err() != nil:
		return outage("it is not ready after %s", orderTimeout)
	case err != nil, json.Unmarshal(line, &r) != nil:
		return outage("its container hung up")
	case r.Error != "":
		return outage("%s", plainText(r.Error))
	}
	return nil
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
		s.order.close()
		s.order = nil
	}
	fresh, err := dialOrder(ctx, s.orderSocket())
	if err != nil {
		return err
	}
	if err := fresh.say(ctx, Order{Token: s.token, Hosts: s.hosts}); err != nil {
		fresh.close()
		return err
	}
	s.order = fresh
	return nil
}
