package pipelock

import (
	"context"
	"io"
	"net"
	"sync"
)

// maxRelayed bounds the connections at a time.
const maxRelayed = 64

// relay carries connections to the Scan API until l is closed.
func (r *runner) relay(ctx context.Context, l net.Listener) {
	slots := make(chan struct{}, maxRelayed)
	var carrying sync.WaitGroup
	defer carrying.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		carrying.Go(func() {
			defer func() { <-slots }()
			r.carry(ctx, conn)
		})
	}
}

// carry pipes one connection, until either side ends it.
func (r *runner) carry(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	to, err := new(net.Dialer).DialContext(ctx, "tcp", r.options.Settings.Scan)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	defer context.AfterFunc(ctx, func() { _ = to.Close() })()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, to)
		_ = conn.Close()
	})
	_, _ = io.Copy(to, conn)
	_ = to.Close()
	back.Wait()
}
