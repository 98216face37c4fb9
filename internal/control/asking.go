package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Counter is where the supervise service hands in what the agent asks: the other side of
// the Desk. Nothing can be decided here. It may be used concurrently.
type Counter interface {
	// Ask takes an ask down; a *requests.Refusal is for the agent.
	Ask(ctx context.Context, a requests.Ask) (requests.Request, error)
	// Wait returns a request as soon as it is not pending any more, or as it is when the
	// time is up.
	Wait(ctx context.Context, id string, atMost time.Duration) (requests.Request, error)
	// List returns all of the bottle's requests.
	List(context.Context) ([]requests.Request, error)
	// Cancel takes a pending request back.
	Cancel(ctx context.Context, id string) (requests.Request, error)
	// Allowed is what the bottle may do now.
	Allowed(context.Context) (Allowance, error)
}

// Allowance is what a bottle may do.
type Allowance struct {
	policy.Policy                       // with what is granted
	Grants        []requests.Request    `json:"grants"` // that have not ended
	Repositories  []requests.Repository `json:"repositories,omitempty"`
	Left          []policy.Left         `json:"left,omitempty"` // of the limits; nil where there are none, or nobody knows
}

// ServeCounter answers a service's questions on conn until ctx ends or conn does:
// HTTP/2 without TLS, so that one connection carries many at a time.
func ServeCounter(ctx context.Context, conn net.Conn, c Counter) {
	serveLink(ctx, conn, counterHandler(c))
}

// maxStreams is how many questions a link carries at a time.
const maxStreams = 256

// serveLink waits for a service's first question, however long that takes: the HTTP/2
// server gives whoever connects ten seconds.
func serveLink(ctx context.Context, conn net.Conn, handler http.Handler) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		return
	}
	server := &http2.Server{MaxConcurrentStreams: maxStreams}
	server.ServeConn(buffered{conn, reader}, &http2.ServeConnOpts{Context: ctx, Handler: handler, BaseConfig: &http.Server{}})
}

// buffered is a connection of which some has been read ahead.
type buffered struct {
	net.Conn
	reader *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.reader.Read(p) }

// maxWait bounds how long a service's question is held open.
const maxWait = 5 * time.Minute

func counterHandler(c Counter) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /requests", func(w http.ResponseWriter, r *http.Request) {
		var a requests.Ask
		if read(w, r, &a) {
			taken, err := c.Ask(r.Context(), a)
			answerAgent(w, taken, err)
		}
	})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		all, err := c.List(r.Context())
		answerAgent(w, all, err)
	})
	mux.HandleFunc("GET /requests/{id}", func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
		if err != nil {
			wait = 0
		}
		found, err := c.Wait(r.Context(), r.PathValue("id"), min(wait, maxWait))
		answerAgent(w, found, err)
	})
	mux.HandleFunc("DELETE /requests/{id}", func(w http.ResponseWriter, r *http.Request) {
		gone, err := c.Cancel(r.Context(), r.PathValue("id"))
		answerAgent(w, gone, err)
	})
	mux.HandleFunc("GET /policy", func(w http.ResponseWriter, r *http.Request) {
		now, err := c.Allowed(r.Context())
		answerAgent(w, now, err)
	})
	return mux
}

// answerAgent keeps what is for the agent apart from what went wrong on our side.
func answerAgent(w http.ResponseWriter, v any, err error) {
	var refusal *requests.Refusal
	if errors.As(err, &refusal) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(refusal)
		return
	}
	answer(w, v, err)
}

// CounterClient asks a Counter at the other end of a connection. It may be used
// concurrently.
type CounterClient struct {
	http http.Client
	gone chan struct{}
}

// NewCounterClient takes conn over.
func NewCounterClient(conn net.Conn) *CounterClient {
	gone := make(chan struct{})
	conn = &watched{Conn: conn, gone: sync.OnceFunc(func() { close(gone) })}
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	transport.Protocols.SetUnencryptedHTTP2(true)
	over := sync.OnceValues(func() (*http.ClientConn, error) {
		return transport.NewClientConn(context.Background(), "http", "parent:80")
	})
	return &CounterClient{http.Client{Transport: oneConn(over)}, gone}
}

// oneConn carries requests over the one connection that there is, made with the first. Those that
// it cannot carry at a time wait: an http.Transport would give it up for another one.
type oneConn func() (*http.ClientConn, error)

// RoundTrip implements http.RoundTripper.
func (one oneConn) RoundTrip(r *http.Request) (*http.Response, error) {
	conn, err := one()
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return conn.RoundTrip(r)
}

// Gone is closed when the connection has ended. Nothing can be asked any more then.
func (c *CounterClient) Gone() <-chan struct{} { return c.gone }

// watched tells of a connection's end.
type watched struct {
	net.Conn
	gone func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.gone()
	}
	return n, err
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil {
		w.gone()
	}
	return n, err
}

func (w *watched) Close() error {
	w.gone()
	return w.Conn.Close()
}

var _ Counter = (*CounterClient)(nil)

// Ask implements Counter.
func (c *CounterClient) Ask(ctx context.Context, a requests.Ask) (requests.Request, error) {
	var taken requests.Request
	return taken, c.call(ctx, http.MethodPost, "/requests", a, &taken)
}

// Wait implements Counter.
func (c *CounterClient) Wait(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	var found requests.Request
	return found, c.call(ctx, http.MethodGet, fmt.Sprintf("/requests/%s?wait=%s", url.PathEscape(id), atMost), nil, &found)
}

// List implements Counter.
func (c *CounterClient) List(ctx context.Context) ([]requests.Request, error) {
	var all []requests.Request
	return all, c.call(ctx, http.MethodGet, "/requests", nil, &all)
}

// Cancel implements Counter.
func (c *CounterClient) Cancel(ctx context.Context, id string) (requests.Request, error) {
	var gone requests.Request
	return gone, c.call(ctx, http.MethodDelete, "/requests/"+url.PathEscape(id), nil, &gone)
}

// Allowed implements Counter.
func (c *CounterClient) Allowed(ctx context.Context) (Allowance, error) {
	var now Allowance
	return now, c.call(ctx, http.MethodGet, "/policy", nil, &now)
}

func (c *CounterClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://parent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the operator's side: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return fmt.Errorf("cannot reach the operator's side: %w", err)
	}
	var refusal requests.Refusal
	if response.StatusCode == http.StatusForbidden && json.Unmarshal(data, &refusal) == nil {
		return &refusal
	}
	return decode(response.StatusCode, data, out)
}
