package control

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// metersTimeout is how long egress may take to say what is left. Nothing depends on it but what
// is shown.
const metersTimeout = 2 * time.Second

// ServeMeters tells the parent, on conn, what is left of the bottle's limits, until ctx ends or
// conn does.
func ServeMeters(ctx context.Context, conn net.Conn, left func() []policy.Left) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /left", func(w http.ResponseWriter, _ *http.Request) { answer(w, left(), nil) })
	serveLink(ctx, conn, mux)
}

// MetersClient asks egress what is left. It may be used concurrently.
type MetersClient struct{ *CounterClient }

// NewMetersClient takes conn over.
func NewMetersClient(conn net.Conn) MetersClient { return MetersClient{NewCounterClient(conn)} }

// Left is what is left of the bottle's limits.
func (c MetersClient) Left(ctx context.Context) ([]policy.Left, error) {
	ctx, cancel := context.WithTimeout(ctx, metersTimeout)
	defer cancel()
	var left []policy.Left
	return left, c.call(ctx, http.MethodGet, "/left", nil, &left)
}
