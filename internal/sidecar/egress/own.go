package egress

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// ownHost is what the guest calls us. It is no name that a route could hold.
const ownHost = "egress.bot-bottle"

// longPoll is how long a question for changes is held open.
const longPoll = time.Minute

// serveOwn answers the guest's questions about the policy. Anybody in the bottle may
// ask them: they tell what trying would tell.
func (s *Server) serveOwn(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/.bot-bottle/v1/lookup":
		s.serveLookup(w, r.URL.Query().Get("name"))
	case r.Method == http.MethodGet && r.URL.Path == "/.bot-bottle/v1/ports":
		s.servePorts(w, r)
	case r.Method == http.MethodPost && r.URL.Path == "/.bot-bottle/v1/ended":
		s.guest.leave() // whoever in the bottle says so ends its own way out
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "not_found"})
	}
}

// serveLookup says whether a name exists. It never resolves it: a question that left
// would carry data out by itself (ATTACKS A1).
func (s *Server) serveLookup(w http.ResponseWriter, name string) {
	d := s.rules.Load().set.Lookup(name)
	if !d.Allowed {
		s.record(audit.Event{Kind: audit.Lookup, Decision: audit.Deny, Host: name, Reason: d.Reason})
	}
	writeJSON(w, http.StatusOK, struct {
		Allowed bool   `json:"allowed"`
		Reason  string `json:"reason,omitempty"`
	}{d.Allowed, d.Reason})
}

// servePorts lists the ports that the policy names: at once to who has another
// revision, else when it changes or a minute has passed.
func (s *Server) servePorts(w http.ResponseWriter, r *http.Request) {
	defer s.guest.begin()()
	now := s.rules.Load()
	if r.URL.Query().Get("rev") == strconv.Itoa(now.revision) {
		timer := time.NewTimer(longPoll)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-now.replaced:
			now = s.rules.Load()
		case <-r.Context().Done():
			return
		}
	}
	writeJSON(w, http.StatusOK, struct {
		Rev   int   `json:"rev"`
		Ports []int `json:"ports"`
	}{now.revision, now.set.Ports()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
