package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// When egress ends, everything that it carries ends: a question held open, a tunnel
// that has not spoken, a stream in the middle, a TCP route.
func TestServeEndsAllItStarted(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	db, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	before := runtime.NumGoroutine()
	t.Run("serve", func(t *testing.T) { // its clean-up ends egress
		l := newLab(t, up.route("api.example", keyAuth()), policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP, Address: db.Addr().String(), Private: true})
		_, _ = io.WriteString(l.dial(t), "GET /.bot-bottle/v1/ports?rev=1 HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n")
		l.connect(t, "api.example:443")
		l.connect(t, "db.example:5432")
		l.dial(t)
		stream := l.secure(t, "api.example", 443)
		_, _ = io.WriteString(stream, "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n")
		if status := readStatus(t, stream); status != 200 {
			t.Fatalf("got %d", status)
		}
	})
	up.CloseClientConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for runtime.NumGoroutine() > before {
		select {
		case <-ctx.Done():
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for stack := range strings.SplitSeq(string(stacks), "\n\n") {
				if strings.Contains(stack, "egress") {
					t.Error(stack)
				}
			}
			t.Fatal("goroutines are left")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
