package guest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// socket dials one of the bottle's services.
type socket struct {
	dir   string
	name  control.Service
	grace time.Duration // how long it may be missing

	serves func(control.Service) bool // nil: it may be
}

// dial connects. A socket that is not there yet, or whose service does not listen
// yet, is waited for.
func (s socket) dial(ctx context.Context) (*net.UnixConn, error) {
	if s.serves != nil && !s.serves(s.name) {
		return nil, syscall.ENOENT
	}
	deadline := time.Now().Add(s.grace)
	for {
		conn, err := s.try(ctx)
		if err == nil || !missing(err) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-time.After(10 * time.Millisecond): // nothing tells when a socket appears on a volume of another container
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s socket) try(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(s.dir, string(s.name)+".sock"))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// exists reports whether another service of the bottle's has its socket. The bundle makes those of
// all that it starts with before any of them listens, supervise's last.
func (s socket) exists(name control.Service) bool {
	_, err := os.Stat(filepath.Join(s.dir, string(name)+".sock"))
	return err == nil
}

func missing(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}
