// Package standin is an upstream that stands in for the APIs of models in tests and in the
// demo: Anthropic's Messages, OpenAI's Responses (also over a WebSocket) and Gemini's
// generateContent; real TLS with a CA of its own, real streaming. It remembers what it was
// sent, so that a test can see which key arrived.
package standin

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
)

// Names that the stand-in asks a key for. It has a certificate for any.
const (
	Host        = "api.anthropic.com"
	OpenAIHost  = "api.openai.com"
	GeminiHost  = "generativelanguage.googleapis.com"
	ChatGPTHost = "chatgpt.com"
)

// Options of a stand-in.
type Options struct {
	Listen string // address to listen on, such as 127.0.0.1:0
	Key    string // the only key that is let in; any when empty
	Answer string // what the model says
	// Tool, if set, is a command that the model runs with the agent's shell tool before
	// it answers.
	Tool string
	// Call, if set, says which tool the model calls next, by all that was said so far;
	// "" when it answers. Tool is not looked at then.
	Call func(conversation string) (tool string, input map[string]any)
	// Fault, if set, may answer a request in the stand-in's place; it says whether it has.
	Fault func(w http.ResponseWriter, r *http.Request) bool
	Log   io.Writer // gets each request as a line of JSON; may be nil
}

// Request is one that arrived.
type Request struct {
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// Server is a running stand-in.
type Server struct {
	Address string // host:port
	CA      string // PEM to trust
	options Options
	http    *http.Server
	done    chan struct{}

	mu       sync.Mutex
	requests []Request
}

// New starts one. The caller closes it.
func New(o Options) (*Server, error) {
	ca, err := pki.NewCA("stand-in", time.Now())
	if err != nil {
		return nil, err
	}
	issuer, err := pki.NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{Address: listener.Addr().String(), CA: ca.CertPEM, options: o, done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return issuer.Certificate(hello.ServerName)
		}},
	}
	go func() {
		defer close(s.done)
		_ = s.http.ServeTLS(listener, "", "")
	}()
	return s, nil
}

// Close stops it.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Close()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	return err
}

// Requests returns those that have arrived, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	s.record(Request{r.Method, r.URL.RequestURI(), r.Header.Clone(), string(body)})
	if s.options.Key != "" && keyOf(r) != s.options.Key && slices.Contains([]string{Host, OpenAIHost, GeminiHost, ChatGPTHost}, r.Host) {
		problem(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
		return
	}
	if s.options.Fault != nil && s.options.Fault(w, r) {
		return
	}
	switch {
	case r.Host == OpenAIHost || r.Host == ChatGPTHost:
		s.openAI(w, r, body)
	case r.Host == GeminiHost:
		s.gemini(w, r, body)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/messages":
		s.messages(w, body)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/messages/count_tokens":
		reply(w, map[string]any{"input_tokens": 10})
	case r.URL.Path == "/" || r.URL.Path == "/api/hello":
		reply(w, map[string]any{"message": "hello"})
	case r.URL.Path == "/echo":
		reply(w, map[string]any{"headers": r.Header, "body": string(body)})
	default:
		problem(w, http.StatusNotFound, "not_found_error", "not found")
	}
}

// keyOf is the credential of a request.
func keyOf(r *http.Request) string {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return cmp.Or(r.Header.Get("X-Api-Key"), r.Header.Get("X-Goog-Api-Key"), bearer)
}

func (s *Server) record(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.options.Log != nil {
		_ = json.NewEncoder(s.options.Log).Encode(r)
	}
}

func problem(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
