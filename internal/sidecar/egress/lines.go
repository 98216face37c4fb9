package egress

import (
	"net"
	"sync"
	"sync/atomic"
)

// maxLines is how many connections to upstreams may be open before those that no request uses
// are closed: under a wildcard the bottle names as many hosts as it likes, and each would keep
// one for a while.
const maxLines = 256

// lines counts connections to upstreams.
type lines struct {
	most int64
	open atomic.Int64
}

// line counts a connection for as long as it is open.
func (l *lines) line(conn net.Conn) net.Conn {
	l.open.Add(1)
	return &slot{Conn: conn, free: sync.OnceFunc(func() { l.open.Add(-1) })}
}

// crowded reports whether there is none left for one more.
func (l *lines) crowded() bool { return l.open.Load() >= l.most }
