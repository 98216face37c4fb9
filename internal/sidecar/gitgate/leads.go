package gitgate

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"
)

// leads is what leads the bottle's git to the repositories that are granted now.
type leads struct {
	text     string
	version  string
	replaced chan struct{} // closed when others are in force
}

func newLeads(text string) *leads {
	sum := sha256.Sum256([]byte(text))
	return &leads{text, hex.EncodeToString(sum[:8]), make(chan struct{})}
}

// longPoll is how long a question for others is held open.
const longPoll = time.Minute

// serveRewrites tells a guest that sees no file of the bundle's (control.RewritesPath): at once
// if it knows other ones, else when they change or a minute has passed. Anybody in the bottle may
// ask: it is what git shows him anyway.
func (s *Server) serveRewrites(w http.ResponseWriter, r *http.Request) {
	now := s.leadsNow()
	if r.URL.Query().Get("known") == now.version {
		timer := time.NewTimer(longPoll)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-now.replaced:
			now = s.leadsNow()
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("ETag", now.version)
	_, _ = io.WriteString(w, now.text)
}

func (s *Server) leadsNow() *leads {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.leads
}
