package egress

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// errLimit ends what would use more than a limit allows (ATTACKS I6).
type errLimit struct {
	reason string
	policy.Verdict
}

func (e *errLimit) Error() string { return e.reason }

// retryAfter is the header's value (RFC 9110 §10.2.3), "" where waiting does not help.
func (e *errLimit) retryAfter(now time.Time) string {
	if e.Until.IsZero() {
		return ""
	}
	return fmt.Sprint(max(1, int(e.Until.Sub(now).Seconds())+1))
}

// take counts a use of a route, or says that there is none left.
func (s *Server) take(used *rules, route int, use policy.Usage) error {
	v := s.meter.Take(time.Now(), used.set, route, use)
	if v.Allowed {
		return nil
	}
	return &errLimit{cmp.Or(v.Reason(), "its limit is used up"), v}
}

// request is what a request takes before its body: itself and, since an address or a header
// can be full of data as well, the bytes of its head.
func (r *rules) request(route int, of *http.Request) policy.Usage {
	use := policy.Usage{Requests: 1}
	if !r.limits(route) {
		return use
	}
	use.BytesUp = int64(len(of.Method) + len(of.URL.RequestURI()))
	for name, values := range of.Header {
		for _, value := range values {
			use.BytesUp += int64(len(name) + len(value))
		}
	}
	return use
}

// metered counts the bytes that are read through it, each part before it goes on.
type metered struct {
	io.Reader
	take func(n int64) error
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		if over := m.take(int64(n)); over != nil {
			return 0, over
		}
	}
	return n, err
}

// limits reports whether a route has any, its bottle's among them.
func (r *rules) limits(route int) bool { return r.all != nil || r.routes[route].route.Limits != nil }

// up counts what a request or a connection sends.
func (s *Server) up(used *rules, route int) func(int64) error {
	return func(n int64) error { return s.take(used, route, policy.Usage{BytesUp: n}) }
}

// down counts what comes back.
func (s *Server) down(used *rules, route int) func(int64) error {
	return func(n int64) error { return s.take(used, route, policy.Usage{BytesDown: n}) }
}

// Left is what is left of the bottle's limits. It may be called at any time.
func (s *Server) Left() []policy.Left { return s.meter.Left(time.Now(), s.rules.Load().set) }

// overLimit finds a limit in what ended a request; nil for none.
func overLimit(err error) *errLimit {
	var over *errLimit
	errors.As(err, &over)
	return over
}
