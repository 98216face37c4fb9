// Package egress is the only way from a bottle to the network: a proxy that ends TLS
// with the bottle's own CA, decides about every request, and puts credentials on those
// it lets through (DESIGN §9).
//
// A request goes through these steps, in this order, each in a file of its own:
//
//	decide  (package policy)   may it go at all?
//	          unfit.go           does it say one thing to us and another to the upstream?
//	search  scan.go            does it carry a secret, or a placeholder where it must not?
//	          head.go            in its line and headers
//	          body.go coded.go   in its body
//	          second.go          and what does pipelock say, where the bottle has it?
//	strip   credentials.go     take off every credential that the bottle put on
//	inject  credentials.go     put on ours, on this very route
//	guard   guard.go           resolve, check every address, dial the checked one
//	stream  request.go         both ways, unbuffered; mask our secrets coming back
//	          injection.go       beside it, pipelock looks for prompt injection in what comes
//
// It must never send a request that a step could not judge, follow a redirect, resolve
// a name for a refused request, or write a secret anywhere but to the upstream that the
// route names.
package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// How long a bottle may take.
const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 5 * time.Minute
)

// Server is egress for one bottle. Once it serves, only its rules change, and all of
// them at once.
type Server struct {
	bottle     string
	supervised bool // the agent may ask the operator for more
	issuer     *pki.Issuer
	roots      *x509.CertPool
	rules      atomic.Pointer[rules]
	applying   sync.Mutex // one change at a time
	openings   *openings
	meter      *policy.Meter
	denials    *budget
	guard      guard
	audit      *audit.Writer
	log        *slog.Logger
	debug      *log.Logger // what net/http says
	inner      *http.Server
	tunnels    *tunnels
	buffers    buffers
	broken     context.CancelCauseFunc
	held       *semaphore.Weighted // bytes of bodies that are held to be searched
	unpacked   *semaphore.Weighted // and of decoders that go with bodies
	messages   *semaphore.Weighted // and of messages of WebSockets, for pipelock
	patience   time.Duration       // holdPatience
	scans      chan struct{}       // slots
	busy       busy
	crowd      crowd
	lines      lines
	answers    chan struct{} // to git, in tunnels that lead nowhere
	guest      attendance
	second     *second       // pipelock; nil for none
	injections *injections   // that it looks for in answers; nil: it does not
	grace      time.Duration // how long the guest may be silent
}

// New checks a configuration and makes a server of it. dial reaches pipelock, where the process may
// make no unix socket itself; nil where it may.
func New(cfg control.EgressConfig, events *audit.Writer, log *slog.Logger, dial pipelock.Dial) (*Server, error) {
	issuer, err := pki.NewIssuer(cfg.CACert, cfg.CAKey, time.Now)
	if err != nil {
		return nil, err
	}
	roots, err := rootPool(cfg.Roots)
	if err != nil {
		return nil, err
	}
	s := &Server{
		bottle: cfg.Bottle, supervised: cfg.Supervised, issuer: issuer, roots: roots, audit: events, log: log,
		openings: newOpenings(), meter: policy.NewMeter(), denials: newBudget(), tunnels: newTunnels(), answers: make(chan struct{}, maxAnswers),
		held: semaphore.NewWeighted(maxHeld), unpacked: semaphore.NewWeighted(maxUnpacked), messages: semaphore.NewWeighted(maxMessages), patience: holdPatience, scans: make(chan struct{}, maxScans), busy: newBusy(maxBusy), lines: lines{most: maxLines}, grace: guestGrace, guard: guard{resolve: net.DefaultResolver.LookupNetIP},
	}
	if s.guard.proxy, err = s.newProxy(cfg.Proxy); err != nil {
		return nil, err
	}
	first, err := s.newRules(cfg, nil)
	if err != nil {
		return nil, err
	}
	s.rules.Store(first)
	s.meter.Seed(cfg.Used)
	if s.second, err = newSecond(cfg, dial); err != nil {
		return nil, err
	}
	s.injections = newInjections(cfg, s.second, s.recordFor)
	return s, nil
}

// Serve answers on ln, the bottle's egress socket, until ctx ends, the audit log cannot be
// written, or the guest has gone (ErrGuestGone). It closes ln and every connection before it returns. Call it once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	s.broken, s.debug = broken, slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	front := s.httpServer(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveFront(ctx, w, r) }))
	s.inner = s.httpServer(ctx, http.HandlerFunc(s.serveTunnel))
	s.inner.ConnContext, s.inner.ConnState = withTunnel, s.busy.follow(ctx)

	var serving sync.WaitGroup
	serving.Go(func() { _ = s.inner.Serve(s.tunnels) })
	serving.Go(func() { s.keepSecond(ctx) })
	serving.Go(func() { s.injections.keep(ctx) })
	serving.Go(func() { s.guest.watchGuest(ctx, s.grace, func() { broken(ErrGuestGone) }) })
	stop := context.AfterFunc(ctx, func() { _ = front.Close() })
	err := front.Serve(limit(ln, maxConnections))
	stop()
	broken(nil)
	_ = s.inner.Close()
	s.tunnels.closeAll()
	serving.Wait()
	s.closeIdle()
	if cause := context.Cause(ctx); errors.As(cause, new(*auditError)) || errors.Is(cause, ErrGuestGone) {
		return cause
	}
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("egress stopped: %w", err)
}

func (s *Server) httpServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, MaxReceiveBufferPerConnection: maxUnread, MaxReceiveBufferPerStream: maxUnread},
		ErrorLog:    s.debug,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}

// serveFront answers what the guest sends: questions to us, CONNECT, and plain HTTP
// in absolute form (RFC 9112 §3.2).
// ctx is the server's: a tunnel outlives the request that opened it.
func (s *Server) serveFront(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		s.serveConnect(ctx, w, r)
	case r.URL.IsAbs():
		s.serveAbsolute(w, r)
	case r.Host == ownHost:
		s.serveOwn(w, r)
	default:
		s.refuse(w, r, refusal{code: "not_a_proxy_request", reason: "egress takes proxy requests only", status: http.StatusBadRequest})
	}
}

// auditError ends the service: what cannot be recorded must not happen.
type auditError struct{ err error }

func (e *auditError) Error() string { return "cannot write the audit log: " + e.err.Error() }
func (e *auditError) Unwrap() error { return e.err }

// record writes one event that no route decided.
func (s *Server) record(e audit.Event) { s.recordFor(nil, e) }

// logPath is what a route's manifest lets the log tell of a path.
func logPath(route *policy.Route, path string) string {
	if route != nil && route.LogPath == policy.LogNone {
		return ""
	}
	return audit.RedactPath(path, route != nil && route.LogPath == policy.LogFull)
}

// recordFor writes one event. What a bottle put in it may be a secret that it should not
// have; the log must not have it either.
func (s *Server) recordFor(route *policy.Route, e audit.Event) {
	if e.Decision == audit.Deny {
		unlisted, ok := s.denials.take(time.Now())
		if !ok {
			return
		}
		if unlisted > 0 {
			e.Reason += fmt.Sprintf(" (and %d refusals before it that came too fast to list)", unlisted)
		}
	}
	e.Path = logPath(route, e.Path)
	secrets := s.rules.Load().secrets
	for _, field := range []*string{&e.Reason, &e.Host, &e.Method, &e.Path} {
		*field = secrets.echoes.maskText(*field)
	}
	e.Bottle, e.Service = s.bottle, string(control.Egress)
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if err := s.audit.Write(e); err != nil && s.broken != nil {
		s.broken(&auditError{err})
	}
}
