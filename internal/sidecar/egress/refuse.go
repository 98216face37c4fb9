package egress

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// refusal is a request that does not go out, and why.
type refusal struct {
	code     string    // for programs
	reason   string    // for people
	status   int       // 403 unless set
	retry    string    // Retry-After; "" where waiting does not help
	over     *errLimit // that is used up; nil for none
	found    []audit.Finding
	scans    *audit.Pipelock
	route    *policy.Route // that allowed it; nil for none
	protocol policy.Protocol
	host     string
	port     int
}

func (r refusal) Error() string { return r.reason }

// refuse answers with JSON that an agent can read, and records it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no refusal) {
	no.status, no.code, no.host = cmp.Or(no.status, http.StatusForbidden), cmp.Or(no.code, "egress_denied"), cmp.Or(no.host, r.Host)
	s.recordFor(no.route, audit.Event{
		Kind: kindOf(r), Decision: audit.Deny, Reason: no.reason, Protocol: no.protocol,
		Host: no.host, Port: no.port, Method: r.Method, Path: r.URL.EscapedPath(), Status: no.status, Findings: no.found, Pipelock: no.scans,
	})
	if no.status == http.StatusForbidden && r.Method == http.MethodConnect {
		if isGit(r) && no.code == "egress_denied" && s.refuseGit(w, r, no) == nil {
			return
		}
		if refuseTunnel(w, s.notice(r, no)) == nil {
			return
		}
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // the body is not read
	}
	s.tell(w, r, no)
}

// tell answers with a notice.
func (s *Server) tell(w http.ResponseWriter, r *http.Request, no refusal) {
	w.Header().Set("Cache-Control", "no-store")
	if no.retry != "" {
		w.Header().Set("Retry-After", no.retry)
	}
	if isGit(r) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(no.status)
		_, _ = io.WriteString(w, s.forGit(s.notice(r, no), r.URL.Path))
		return
	}
	writeJSON(w, no.status, s.notice(r, no))
}

// refuseTunnel answers a CONNECT under a reason phrase of our own, the connection's last
// answer: the phrase is all that most clients show, and "Forbidden" does not say by whom.
// Nothing was written when it returns an error.
func refuseTunnel(w http.ResponseWriter, n notice) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	conn, err := takeOver(w)
	if err != nil {
		return err // HTTP/2 has no phrases
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(refusalTimeout))
	answer := http.Response{
		Status: "403 Forbidden by the bottle's policy", StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		Body:   io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)),
	}
	if answer.Write(conn) == nil && conn.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn) // closed with input unread, it would be reset (RFC 9112 §9.6)
	}
	return nil
}

// refusalTimeout is how long a client may take to read a refusal and hang up.
const refusalTimeout = 2 * time.Second

func kindOf(r *http.Request) string {
	if r.Method == http.MethodConnect {
		return audit.Connect
	}
	return audit.Request
}
