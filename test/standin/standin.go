// Package standin is an upstream that stands in for the Anthropic Messages API in tests
// and in the demo: real TLS with a CA of its own, real streaming. It remembers what it
// was sent, so that a test can see which key arrived.
package standin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
)

// Host is the name that the stand-in has a certificate for.
const Host = "api.anthropic.com"

// Options of a stand-in.
type Options struct {
	Listen string // address to listen on, such as 127.0.0.1:0
	Key    string // the only key that is let in; any when empty
	Answer string // what the model says
	// Tool, if set, is a command that the model runs with the Bash tool before it
	// answers.
	Tool string
	// Call, if set, says which tool the model calls next, by all that was said so far;
	// "" when it answers. Tool is not looked at then.
	Call func(conversation string) (tool string, input map[string]any)
	Log  io.Writer // gets each request as a line of JSON; may be nil
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
	key := r.Header.Get("X-Api-Key")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && key == "" {
		key = bearer
	}
	if s.options.Key != "" && key != s.options.Key && r.Host == Host {
		problem(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
		return
	}
	switch {
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

// ask is the part of a request that matters here.
type ask struct {
	Model    string            `json:"model"`
	Stream   bool              `json:"stream"`
	Tools    []json.RawMessage `json:"tools"`
	Messages []struct {
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
}

// messages answers, with a call of the Bash tool first where one is wanted and has
// not been made yet.
func (s *Server) messages(w http.ResponseWriter, body []byte) {
	var a ask
	if err := json.Unmarshal(body, &a); err != nil {
		problem(w, http.StatusBadRequest, "invalid_request_error", "not JSON")
		return
	}
	content, stop := map[string]any{"type": "text", "text": s.options.Answer}, "end_turn"
	if s.options.Tool != "" && len(a.Tools) > 0 && !strings.Contains(string(body), `"tool_result"`) {
		content, stop = map[string]any{"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": map[string]any{"command": s.options.Tool, "description": "Run it"}}, "tool_use"
	}
	if s.options.Call != nil && len(a.Tools) > 0 {
		if name, input := s.options.Call(string(body)); name != "" {
			id := fmt.Sprintf("toolu_%02d", strings.Count(string(body), `"type":"tool_result"`)+1)
			content, stop = map[string]any{"type": "tool_use", "id": id, "name": name, "input": input}, "tool_use"
		}
	}
	message := map[string]any{
		"id": "msg_01", "type": "message", "role": "assistant", "model": a.Model, "content": []any{content},
		"stop_reason": stop, "stop_sequence": nil, "usage": map[string]any{"input_tokens": 10, "output_tokens": 10},
	}
	if !a.Stream {
		reply(w, message)
		return
	}
	stream(w, message, content, stop)
}

// stream sends a message as server-sent events, text in several pieces.
func stream(w http.ResponseWriter, message, content map[string]any, stop string) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	send := func(kind string, fields map[string]any) {
		fields["type"] = kind
		data, _ := json.Marshal(fields)
		_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, data)
		_ = control.Flush()
	}
	message["content"], message["stop_reason"] = []any{}, nil
	send("message_start", map[string]any{"message": message})
	if text, ok := content["text"].(string); ok {
		send("content_block_start", map[string]any{"index": 0, "content_block": map[string]any{"type": "text", "text": ""}})
		for piece := range strings.SplitAfterSeq(text, " ") {
			send("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "text_delta", "text": piece}})
		}
	} else {
		input, _ := json.Marshal(content["input"])
		start := map[string]any{"type": "tool_use", "id": content["id"], "name": content["name"], "input": map[string]any{}}
		send("content_block_start", map[string]any{"index": 0, "content_block": start})
		send("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "input_json_delta", "partial_json": string(input)}})
	}
	send("content_block_stop", map[string]any{"index": 0})
	send("message_delta", map[string]any{"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": map[string]any{"output_tokens": 10}})
	send("message_stop", map[string]any{})
}
