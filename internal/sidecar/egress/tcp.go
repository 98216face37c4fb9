package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// pipe carries a TCP route's bytes, uninspected, until both sides have ended.
func (s *Server) pipe(ctx context.Context, t *tunnel, now *rules, d policy.Decision) {
	defer func() { _ = t.Close() }()
	event := audit.Event{
		Time: time.Now(), Kind: audit.Connect, Decision: audit.Allow, Protocol: policy.TCP, Host: t.host, Port: t.port, Rule: &d.Rule, Grant: d.Route.Grant,
		Via: s.guard.proxy.via(d.Route, t.host),
	}
	if err := s.take(now, d.Rule, policy.Usage{Requests: 1}); err != nil {
		event.Decision, event.Reason = audit.Deny, err.Error()
		s.record(event)
		return
	}
	opened := event
	opened.Phase = audit.Open
	s.record(opened)
	upstream, err := s.guard.dial(ctx, d.Route, t.host, t.port)
	if err != nil {
		event.Decision, event.Reason = audit.Deny, err.Error()
		s.record(event)
		return
	}
	defer func() { _ = upstream.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = t.Close(), upstream.Close() })()
	event.Address = upstream.RemoteAddr().String()
	var copies sync.WaitGroup
	out, in := io.Reader(t), io.Reader(upstream)
	var over [2]error
	if now.limits(d.Rule) {
		out, in = &metered{out, s.up(now, d.Rule)}, &metered{in, s.down(now, d.Rule)}
	}
	copies.Go(func() { event.BytesOut, over[0] = copyHalf(upstream, out) })
	copies.Go(func() { event.BytesIn, over[1] = copyHalf(t, in) })
	copies.Wait()
	if limit := overLimit(errors.Join(over[:]...)); limit != nil {
		event.Decision, event.Reason = audit.Deny, limit.Error()
	}
	event.Millis = millis(event.Time)
	s.record(event)
}

// copyHalf copies one direction and passes its end on.
func copyHalf(to net.Conn, from io.Reader) (int64, error) {
	n, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
	}
	return n, err
}

func millis(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
