package egress

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// serveTunnel takes a request that came through a tunnel. Its authority must be the
// tunnel's own.
func (s *Server) serveTunnel(w http.ResponseWriter, r *http.Request) {
	t, ok := r.Context().Value(tunnelKey{}).(*tunnel)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	host, port, err := splitAuthority(r.Host, defaultPort(t.protocol))
	if err != nil || host != t.host || port != t.port || r.URL.IsAbs() || !sameHost(r) {
		reason := fmt.Sprintf("the request names %q, or another host beside it, and the connection is to %s:%d", r.Host, t.host, t.port)
		s.refuse(w, r, refusal{code: "authority_mismatch", reason: reason, protocol: t.protocol, host: t.host, port: t.port, status: http.StatusMisdirectedRequest})
		return
	}
	s.forward(w, r, t.protocol, t.host, t.port)
}

// sameHost reports whether a Host beside HTTP/2's :authority says the same (RFC 9113 §8.3.1).
func sameHost(r *http.Request) bool {
	return !slices.ContainsFunc(r.Header["Host"], func(host string) bool { return host != r.Host })
}

// serveAbsolute takes plain HTTP in absolute form. It is decided like all else.
func (s *Server) serveAbsolute(w http.ResponseWriter, r *http.Request) {
	host, port, err := splitAuthority(r.URL.Host, defaultPort(policy.HTTP))
	if err != nil || r.URL.Scheme != "http" || r.URL.User != nil {
		s.refuse(w, r, refusal{code: "bad_target", reason: "a proxy request is CONNECT host:port, or names http://host/path without a user", status: http.StatusBadRequest})
		return
	}
	s.forward(w, r, policy.HTTP, host, port)
}

func defaultPort(p policy.Protocol) int {
	if p == policy.HTTP {
		return 80
	}
	return 443
}

// forward decides about one request and sends it.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, protocol policy.Protocol, host string, port int) {
	x := &exchange{refusal: refusal{protocol: protocol, host: host, port: port}, rules: s.rules.Load(), server: s, path: r.URL.EscapedPath(), started: time.Now(), until: http.NewResponseController(w).SetReadDeadline}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x.cancel = cancel
	r = r.WithContext(ctx) // a copy: the HTTP server looks at what became of its own body
	r.Header = withoutOptions(r.Header)
	done, err := s.inspect(r, x)
	defer done()
	if err == nil {
		err = s.take(x.rules, x.decision.Rule, x.rules.request(x.decision.Rule, r))
	}
	if err != nil {
		s.refuse(w, r, x.refused(err))
		return
	}
	s.send(w, r, x)
}

// inspect decides about a request and searches it. What it holds of the body is free again
// after done. An error is why the request must not be sent.
func (s *Server) inspect(r *http.Request, x *exchange) (done func(), err error) {
	done = func() {}
	if why := unfit(r); why != "" {
		return done, &errUnsearched{reason: why}
	}
	x.asked = policy.Request{Protocol: x.refusal.protocol, Host: x.refusal.host, Port: x.refusal.port, Method: r.Method, Target: r.URL.RequestURI()}
	x.decision = x.rules.set.Request(x.asked)
	if !x.decision.Allowed && x.decision.NeedBody == 0 {
		return done, &errDenied{x.decision.Reason}
	}
	x.model = isModel(x.refusal.host, r.URL.Path)
	body, err := s.readAhead(r, x, x.wants(r, s.second.guards(x.decision.Route)))
	done = body.done
	if err != nil {
		return done, err
	}
	if x.decision.NeedBody > 0 {
		x.asked.Body = bodyOf(r, body.data)
		x.decision = x.rules.set.Request(x.asked)
		defer func() { x.asked.Body = nil }() // not to be held for as long as the answer lasts
	}
	if !x.decision.Allowed {
		return done, &errDenied{x.decision.Reason}
	}
	if why := x.otherObject(r.Header); why != "" {
		return done, &errUnsearched{reason: why}
	}
	x.guarded = x.rules.credentialFor(x.refusal.host)
	x.search = &search{scanner: x.rules.scanner, host: x.refusal.host, route: x.decision.Route, model: x.model}
	if err := x.search.head(r.Context(), r, x.rules.secrets); err != nil {
		return done, err
	}
	if err := s.searchBody(r, x, body); err != nil {
		return done, err
	}
	err = x.askAll(r.Context(), s.second, r)
	x.plain = nil // not to be held for as long as the answer lasts
	return done, err
}

// errDenied is the policy's answer.
type errDenied struct{ reason string }

func (e *errDenied) Error() string { return e.reason }

// refused tells the bottle why its request is not sent, or not to its end.
func (x *exchange) refused(err error) refusal {
	no := x.refusal
	no.code, no.reason, no.found, no.scans, no.route = "egress_denied", err.Error(), x.search.found(), x.search.scanned(), x.decision.Route
	var unsearched *errUnsearched
	var over *errLimit
	var second *errSecond
	switch {
	case errors.As(err, &over):
		no.code, no.reason, no.status, no.retry, no.over = "limit_reached", over.Error(), http.StatusTooManyRequests, over.retryAfter(time.Now()), over
	case errors.As(err, new(*leak)):
		no.code = "secret_leak"
	case errors.As(err, &second) && second.found():
		no.code = "secret_detected"
	case errors.As(err, &second):
		no.code, no.status, no.retry = "scanner_unavailable", http.StatusServiceUnavailable, "5"
	case errors.As(err, new(*errUnreplaced)):
		no.code = "placeholder_not_replaced"
	case errors.As(err, &unsearched):
		no.code, no.reason, no.status = "not_inspectable", unsearched.reason, unsearched.status
	case !errors.As(err, new(*errDenied)):
		no.code, no.reason, no.status = "cancelled", "the request was cancelled", http.StatusBadGateway
	}
	return no
}

// exchange is one request on its way.
type exchange struct {
	refusal  refusal
	rules    *rules // that decided
	server   *Server
	asked    policy.Request
	path     string
	decision policy.Decision
	model    bool // a conversation with a language model
	guarded  bool // the host is sent a credential of ours, here or on another route
	search   *search
	streamed bool   // the body is searched as it goes out
	unseen   bool   // the body is too long to be held once decoded
	plain    []byte // of the body, decoded, for pipelock; nil where it is not there as a whole
	unsent   error  // why it could not be made ours; it must not be sent then (ATTACKS C6)
	started  time.Time
	until    func(time.Time) error // how long its body is waited for
	cancel   context.CancelCauseFunc

	mu      sync.Mutex
	address string // that was dialled
	out     countingBody
	usage   *usage                   // of a language model; nil for any other answer
	socket  *webSocket               // nil for any other
	over    atomic.Pointer[errLimit] // that ended it; nil for none
}

// flushInterval is how long a piece of an answer whose length is known may wait for the next
// one. Of any other, an event stream among them, each piece is handed on at once.
const flushInterval = time.Millisecond

// send forwards a request that was allowed, and records what became of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, x *exchange) {
	counted := &countingWriter{ResponseWriter: w}
	defer s.hold(&opening{used: x.rules, asked: x.asked, end: func() { x.cancel(errRevoked) }})()
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport:      &way{x, x.rules.routes[x.decision.Rule].transport, r.Context()},
		Rewrite:        func(p *httputil.ProxyRequest) { s.rewrite(p, x) },
		FlushInterval:  flushInterval,
		BufferPool:     &s.buffers,
		ModifyResponse: func(answer *http.Response) error { return s.clean(answer, x) },
		ErrorLog:       s.debug,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { failed = err; s.fail(w, r, x, err) },
	}
	defer func() {
		aborted := recover()
		s.recordExchange(r, x, counted, failed)
		if aborted == http.ErrAbortHandler && counted.status != 0 && x.socket == nil {
			_ = http.NewResponseController(counted).Flush() // what came of the answer goes on
		}
		if aborted != nil {
			panic(aborted) // http.ErrAbortHandler: the answer broke off, and so must ours
		}
	}()
	s.recordOpening(r, x)
	proxy.ServeHTTP(counted, r)
}

// way is how an exchange leaves, if it may.
type way struct {
	x         *exchange
	transport http.RoundTripper
	ctx       context.Context // of the exchange, without ReverseProxy's trace: interim answers go nowhere
}

// RoundTrip implements http.RoundTripper.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.x.unsent == nil {
		return w.transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(w.ctx, &httptrace.ClientTrace{GotConn: w.x.dialled})))
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, w.x.unsent
}

// dialled notes which connection the exchange goes out on.
func (x *exchange) dialled(on httptrace.GotConnInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.address = on.Conn.RemoteAddr().String()
}

// rewrite turns the bottle's request into ours: strip, then inject.
func (s *Server) rewrite(p *httputil.ProxyRequest, x *exchange) {
	out, route := p.Out, x.decision.Route
	out.URL.RawQuery = p.In.URL.RawQuery // as it was decided on: ReverseProxy writes some anew
	out.URL.Scheme = string(route.Protocol)
	out.URL.Host = authority(x)
	out.Host = out.URL.Host
	out.Trailer = nil // comes after all checks
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "") // no word of ours
	}
	out.Header.Del("Sec-Websocket-Extensions") // compression, through which nobody can look
	if route.Auth != nil {
		if x.unsent = x.rules.secrets.authorize(out, route.Auth); x.unsent != nil {
			return
		}
	}
	if x.guarded {
		out.Header.Set("Accept-Encoding", "identity")                                       // or our secret could come back unseen
		for _, name := range []string{"Range", "If-Range", "Request-Range", "X-Ms-Range"} { // nor in pieces, each too short to know
			out.Header.Del(name)
		}
	}
	if out.Body != nil && out.Body != http.NoBody {
		x.out.ReadCloser = out.Body
		if x.streamed {
			x.out.ReadCloser = x.search.stream(out.Context(), inBody, out.Header, out.Body)
		}
		if x.rules.limits(x.decision.Rule) {
			x.out.ReadCloser = x.meter(x.out.ReadCloser, s.up(x.rules, x.decision.Rule))
		}
		out.Body = &x.out
	}
}

// authority is the host, with its port where that is not the protocol's own.
func authority(x *exchange) string {
	if x.refusal.port == defaultPort(x.refusal.protocol) {
		return x.refusal.host
	}
	return fmt.Sprintf("%s:%d", x.refusal.host, x.refusal.port)
}

// clean makes an answer safe to hand on: no secret of ours in it, and no invitation to
// come by another way.
func (s *Server) clean(answer *http.Response, x *exchange) error {
	answer.Header.Del("Alt-Svc")                                   // HTTP/3 would go around us
	now := func() *echoes { return s.rules.Load().secrets.echoes } // others may have been sent meanwhile
	for _, header := range []http.Header{answer.Header, answer.Trailer} {
		now().maskHeader(header)
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		if err := x.upgraded(answer, now); err != nil {
			return err
		}
		x.socket.up, x.socket.down = s.up(x.rules, x.decision.Rule), s.down(x.rules, x.decision.Rule)
		return nil
	}
	if x.rules.limits(x.decision.Rule) {
		answer.Body = x.meter(answer.Body, s.down(x.rules, x.decision.Rule))
	}
	if x.guarded {
		if err := decompress(answer); err != nil {
			return err
		}
		answer.Body = maskBody(now, answer.Body, func() { now().maskHeader(answer.Trailer) })
	}
	x.observe(answer)
	s.injections.watch(answer, x)
	return nil
}

// meter counts what is read of a body, and remembers the limit that ended it.
func (x *exchange) meter(body io.ReadCloser, take func(int64) error) io.ReadCloser {
	noting := func(n int64) error {
		err := take(n)
		if err != nil {
			x.over.Store(overLimit(err))
		}
		return err
	}
	return struct {
		io.Reader
		io.Closer
	}{&metered{body, noting}, body}
}

// observe reads a model's usage out of an answer as it passes, where it can be read.
func (x *exchange) observe(answer *http.Response) {
	if answer.StatusCode == http.StatusSwitchingProtocols || answer.Header.Get("Content-Encoding") != "" {
		return
	}
	if x.usage = newUsage(x.refusal.host, x.path, answer.Header.Get("Content-Type")); x.usage != nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(answer.Body, x.usage), answer.Body}
	}
}

func (e *echoes) maskHeader(header http.Header) {
	for name, values := range header {
		if e.names(name) {
			delete(header, name) // a name cannot be masked
			continue
		}
		for i, value := range values {
			values[i] = e.maskText(value)
		}
	}
}

// decompress undoes gzip, which some servers send unasked. Another coding cannot be
// looked into, so it does not pass.
func decompress(answer *http.Response) error {
	coding := strings.Join(codings(answer.Header), ", ")
	if coding == "" || answer.Request.Method == http.MethodHead || answer.Body == http.NoBody {
		return nil
	}
	if coding != "gzip" {
		return fmt.Errorf("the upstream answered in the coding %q, which was not asked for", coding)
	}
	plain, err := gzip.NewReader(answer.Body)
	if err != nil {
		return err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{plain, answer.Body}
	answer.Header.Del("Content-Encoding")
	answer.Header.Del("Content-Length")
	answer.ContentLength = -1
	return nil
}

// fail answers for an upstream that could not be asked.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, x *exchange, err error) {
	no := x.refusal
	var address *errAddress
	var refused *errProxy
	switch {
	case errors.As(err, &address):
		no.code, no.reason = "address_denied", address.Error()
	case errors.As(err, &refused):
		no.code, no.reason, no.status = "upstream_proxy_failed", x.rules.secrets.echoes.maskText(refused.Error()), http.StatusBadGateway
	case x.over.Load() != nil:
		no = x.refused(x.over.Load())
	case errors.As(err, new(*leak)), errors.As(err, new(*errUnsearched)), errors.As(err, new(*errUnreplaced)), errors.As(err, new(*errSecond)):
		no = x.refused(err)
	case errors.Is(context.Cause(r.Context()), errRevoked):
		no.code, no.reason = "egress_denied", errRevoked.Error()
	case errors.Is(err, context.Canceled):
		no.code, no.reason, no.status = "cancelled", "the request was cancelled", http.StatusBadGateway
	default:
		no.code, no.reason, no.status = "upstream_unreachable", "the upstream did not answer: "+x.rules.secrets.echoes.maskText(err.Error()), http.StatusBadGateway
	}
	x.refusal = no
	no.status = cmp.Or(no.status, http.StatusForbidden)
	s.tell(w, r, no)
}

// recordExchange writes the event of a request that was sent, at its end.
func (s *Server) recordExchange(r *http.Request, x *exchange, w *countingWriter, failed error) {
	e := s.event(r, x)
	e.Status, e.BytesIn, e.BytesOut, e.Millis = w.status, w.bytes, x.out.bytes.Load(), millis(x.started)
	x.mu.Lock()
	e.Address = x.address
	x.mu.Unlock()
	if x.socket != nil {
		e.Status, e.BytesIn, e.BytesOut = http.StatusSwitchingProtocols, x.socket.came.Load(), x.socket.sent.Load()
	}
	if x.usage != nil {
		e.Usage = x.usage.Result()
	}
	e.Findings, e.Pipelock = x.search.found(), x.search.scanned()
	if errors.Is(context.Cause(r.Context()), errRevoked) {
		e.Reason, e.Decision = errRevoked.Error(), audit.Deny
	} else if over := x.over.Load(); over != nil {
		e.Reason, e.Decision = over.Error(), audit.Deny
	} else if x.socket != nil && x.socket.why() != nil {
		e.Reason, e.Decision = x.socket.why().Error(), audit.Deny
	} else if failed != nil {
		e.Reason = x.refusal.reason
		if x.refusal.status == 0 {
			e.Decision = audit.Deny
		}
	} else if auth := x.decision.Route.Auth; e.Status == http.StatusUnauthorized && auth != nil && auth.Scheme != policy.Placeholder { // with a placeholder the bottle may have sent none
		e.Reason = "the upstream does not take the value of " + auth.Secret
	}
	s.recordFor(x.decision.Route, e)
}

// recordOpening writes an event before the first byte of a request goes out.
func (s *Server) recordOpening(r *http.Request, x *exchange) {
	e := s.event(r, x)
	e.Phase = audit.Open
	if r.ContentLength == 0 && r.Header.Get("Upgrade") == "" {
		e.Phase = audit.Ahead
	}
	s.recordFor(x.decision.Route, e)
}

// event is what is known of a request from the start.
func (s *Server) event(r *http.Request, x *exchange) audit.Event {
	e := audit.Event{
		Time: x.started, Kind: audit.Request, Decision: audit.Allow, Protocol: x.refusal.protocol, Host: x.refusal.host, Port: x.refusal.port,
		Method: r.Method, Path: r.URL.EscapedPath(), Rule: &x.decision.Rule, Grant: x.decision.Route.Grant,
		Via: s.guard.proxy.via(x.decision.Route, x.refusal.host),
	}
	if auth := x.decision.Route.Auth; auth != nil {
		e.Secret = auth.Secret
	}
	return e
}
