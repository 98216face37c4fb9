// Package faults stands between the program and an engine, and makes chosen calls fail.
package faults

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Mode is how a call fails.
type Mode string

const (
	Refuse Mode = "refused"     // the engine answers 500, and has done nothing
	Cut    Mode = "cut off"     // the connection ends before the engine hears of it
	Lose   Mode = "answer lost" // the engine does it, and its answer does not arrive
	Cancel Mode = "given up on" // the engine is told to give up half way
)

// Modes are all of them.
func Modes() []Mode { return []Mode{Refuse, Cut, Lose, Cancel} }

// Proxy carries calls to the engine until it is closed.
type Proxy struct {
	Host string // for DOCKER_HOST

	server  *http.Server
	forward *httputil.ReverseProxy
	done    chan struct{}

	mu    sync.Mutex
	seen  int
	at    int
	mode  Mode
	fired string
	only  func(call string) bool // nil: all
	calls []string
}

// Start listens in dir and carries everything to the engine's socket.
func Start(dir, socket string) (*Proxy, error) {
	path := filepath.Join(dir, "engine.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Host: "unix://" + path, done: make(chan struct{})}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		FlushInterval: -1,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{Handler: p}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(l)
	}()
	return p, nil
}

// Fail makes the call after so many more fail, once; 0 is the next one.
func (p *Proxy) Fail(after int, mode Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.at, p.mode, p.fired, p.only, p.calls = 0, after+1, mode, "", nil, nil
}

// FailOnly is Fail that counts only some calls, each its method and its path.
func (p *Proxy) FailOnly(only func(call string) bool, after int, mode Mode) {
	p.Fail(after, mode)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.only = only
}

// Calls are those since Fail was last called, in their order.
func (p *Proxy) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Fired is the call that failed, "" if there were not so many.
func (p *Proxy) Fired() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fired
}

func (p *Proxy) next(r *http.Request) (Mode, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := r.Method + " " + r.URL.Path
	p.calls = append(p.calls, call)
	if p.only != nil && !p.only(call) {
		return "", false
	}
	p.seen++
	if p.at == 0 || p.seen != p.at {
		return "", false
	}
	p.at, p.fired = 0, call
	return p.mode, true
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode, now := p.next(r)
	if !now {
		p.forward.ServeHTTP(w, r)
		return
	}
	switch mode {
	case Refuse:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"message":"an injected failure"}`))
		return
	case Lose:
		p.forward.ServeHTTP(lost{http.Header{}}, r)
	case Cancel:
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		p.forward.ServeHTTP(lost{http.Header{}}, r.WithContext(ctx))
	}
	panic(http.ErrAbortHandler) // ends the connection
}

// lost takes an answer that nobody gets.
type lost struct{ header http.Header }

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(p []byte) (int, error) { return len(p), nil }
func (l lost) WriteHeader(int)             {}

// Close ends it and what it carries.
func (p *Proxy) Close() error {
	err := p.server.Close()
	<-p.done
	_ = os.Remove(p.Host[len("unix://"):])
	return err
}
