//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// fakeEgress answers the guest's questions, and echoes what comes through a tunnel
// after saying the tunnel's name.
type fakeEgress struct {
	mu      sync.Mutex
	allowed []string
	ports   []int
	rev     int
	changed chan struct{}
	asked   []string // names looked up
	tunnels []string // authorities of CONNECTs
}

// serve starts it on the egress socket in dir.
func (f *fakeEgress) serve(t *testing.T, dir string) *fakeEgress {
	t.Helper()
	f.rev, f.changed = 1, make(chan struct{})
	l, err := net.Listen("unix", socketPath(dir, "egress"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return f
}

func (f *fakeEgress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		f.connect(w, r)
	case r.URL.Path == "/.bot-bottle/v1/lookup" && r.Host == egressHost:
		name := r.URL.Query().Get("name")
		f.mu.Lock()
		f.asked = append(f.asked, name)
		allowed := slices.Contains(f.allowed, name)
		f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"allowed": allowed})
	case r.URL.Path == "/.bot-bottle/v1/ports" && r.Host == egressHost:
		f.answerPorts(w, r)
	default:
		_, _ = fmt.Fprintf(w, "proxied %s", r.URL)
	}
}

func (f *fakeEgress) answerPorts(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	changed, same := f.changed, r.URL.Query().Get("rev") == fmt.Sprint(f.rev)
	f.mu.Unlock()
	if same {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"rev": f.rev, "ports": f.ports})
}

// setPorts is a change of the policy.
func (f *fakeEgress) setPorts(ports ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = ports
	f.rev++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeEgress) connect(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.Host)
	f.mu.Lock()
	f.tunnels = append(f.tunnels, r.Host)
	allowed := slices.Contains(f.allowed, host)
	f.mu.Unlock()
	if !allowed {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error":"egress_denied"}`)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 Connection established\r\n\r\nhello from %s\n", r.Host)
	_, _ = io.Copy(conn, buffered)
}

func (f *fakeEgress) seen() (asked, tunnels []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked), slices.Clone(f.tunnels)
}
