package egress

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// pipe carries a TCP route's bytes, uninspected, until both sides have ended.
func (s *Server) pipe(ctx context.Context, t *tunnel, d policy.Decision) {
	defer func() { _ = t.Close() }()
	event := audit.Event{Time: time.Now(), Kind: audit.Connect, Decision: audit.Allow, Protocol: policy.TCP, Host: t.host, Port: t.port, Rule: &d.Rule}
	upstream, err := s.guard.dial(ctx, d.Route, t.host, t.port)
	if err != nil {
		event.Decision, event.Reason = audit.Deny, err.Error()
		s.record(event)
		return
	}
	defer func() { _ = upstream.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = t.Close(), upstream.Close() })()
	event.Address = upstream.RemoteAddr().String()
	opened := event
	opened.Phase = audit.Open
	s.record(opened)
	var copies sync.WaitGroup
	copies.Go(func() { event.BytesOut = copyHalf(upstream, t) })
	copies.Go(func() { event.BytesIn = copyHalf(t, upstream) })
	copies.Wait()
	event.Millis = millis(event.Time)
	s.record(event)
}

// copyHalf copies one direction and passes its end on.
func copyHalf(to, from net.Conn) int64 {
	n, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
	}
	return n
}

func millis(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
