package egress

import (
	"cmp"
	"net/http"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// refusal is a request that does not go out, and why.
type refusal struct {
	code     string // for programs
	reason   string // for people
	status   int    // 403 unless set
	retry    string // Retry-After; "" where waiting does not help
	found    []audit.Finding
	protocol policy.Protocol
	host     string
	port     int
}

func (r refusal) Error() string { return r.reason }

// refuse answers with JSON that an agent can read, and records it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no refusal) {
	status := cmp.Or(no.status, http.StatusForbidden)
	s.record(audit.Event{
		Kind: kindOf(r), Decision: audit.Deny, Reason: no.reason, Protocol: no.protocol,
		Host: cmp.Or(no.host, r.Host), Port: no.port, Method: r.Method, Path: r.URL.EscapedPath(), Status: status, Findings: no.found,
	})
	body := map[string]any{
		"error": cmp.Or(no.code, "egress_denied"), "reason": no.reason, "bottle": s.bottle,
		"host": cmp.Or(no.host, r.Host), "method": r.Method,
		"hint": "This bottle reaches only what its operator allows. Ask the operator to add a route for it.",
	}
	if no.port != 0 {
		body["port"] = no.port
	}
	if r.Method != http.MethodConnect {
		body["path"] = r.URL.EscapedPath()
	}
	w.Header().Set("Cache-Control", "no-store")
	if no.retry != "" {
		w.Header().Set("Retry-After", no.retry)
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the body is not read
	}
	writeJSON(w, status, body)
}

func kindOf(r *http.Request) string {
	if r.Method == http.MethodConnect {
		return audit.Connect
	}
	return audit.Request
}
