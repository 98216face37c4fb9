package main

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// scanner is the Scan API.
type scanner struct {
	config config
	calls  atomic.Int64
	sick   atomic.Bool
	once   atomic.Int64 // of faults that happen once
}

func newScanner(c config) *scanner { return &scanner{config: c} }

type call struct {
	Kind  string `json:"kind"`
	Input struct {
		URL       string          `json:"url"`
		Text      string          `json:"text"`
		Content   string          `json:"content"`
		ToolName  string          `json:"tool_name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"input"`
	Context struct {
		RequestID string `json:"request_id"`
		SessionID string `json:"session_id"`
		AgentName string `json:"agent_name"`
	} `json:"context"`
	Options struct {
		IncludeEvidence bool `json:"include_evidence"`
	} `json:"options"`
}

type reply struct {
	Status   string    `json:"status"`
	Decision string    `json:"decision,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	ScanID   string    `json:"scan_id"`
	Request  string    `json:"request_id,omitempty"`
	Millis   int64     `json:"duration_ms"`
	Version  string    `json:"engine_version"`
	Findings []finding `json:"findings,omitempty"`
	Errors   []fault   `json:"errors,omitempty"`
}

type finding struct {
	Scanner  string    `json:"scanner"`
	Rule     string    `json:"rule_id"`
	Severity string    `json:"severity"`
	Message  string    `json:"message"`
	Evidence *evidence `json:"evidence,omitempty"`
}

type evidence struct {
	Encoding string `json:"encoding"`
}

type fault struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

func (s *scanner) health(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/health" || s.sick.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, `{"status":"healthy"}`)
}

func (s *scanner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/v1/scan" {
		http.NotFound(w, r)
		return
	}
	want := "Bearer " + s.config.ScanAPI.Auth.BearerTokens[0]
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) != 1 {
		s.fail(w, http.StatusUnauthorized, "unauthorized", false)
		return
	}
	s.calls.Add(1)
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(s.config.ScanAPI.MaxBodyBytes)+1))
	if err != nil || len(body) > s.config.ScanAPI.MaxBodyBytes {
		s.fail(w, http.StatusRequestEntityTooLarge, "body_too_large", false)
		return
	}
	var c call
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&c) != nil || decoder.More() {
		s.fail(w, http.StatusBadRequest, "invalid_json", false)
		return
	}
	text, limit := s.put(c)
	if text == "" || len(text) > limit || !s.config.ScanAPI.Kinds[c.Kind] {
		s.fail(w, http.StatusBadRequest, "invalid_input", false)
		return
	}
	if s.misbehave(w, c, text) {
		return
	}
	s.answer(w, c, s.look(c.Kind, text))
}

// put is what is asked about, "" for a kind that it does not know, and how long it may be.
func (s *scanner) put(c call) (text string, limit int) {
	limits := s.config.ScanAPI.FieldLimits
	switch c.Kind {
	case "url":
		return c.Input.URL, limits.URL
	case "dlp":
		return c.Input.Text, limits.Text
	case "prompt_injection":
		return c.Input.Content, limits.Content
	}
	return "", 0
}

func (s *scanner) answer(w http.ResponseWriter, c call, findings []finding) {
	a := s.reply(c)
	if len(findings) > 0 {
		a.Decision, a.Findings = "deny", findings
	}
	write(w, http.StatusOK, a)
}

func (s *scanner) reply(c call) reply {
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	return reply{Status: "completed", Decision: "allow", Kind: c.Kind, ScanID: "scan-" + hex.EncodeToString(id), Request: c.Context.RequestID, Version: version}
}

func (s *scanner) fail(w http.ResponseWriter, status int, code string, retry bool) {
	write(w, status, reply{Status: "error", ScanID: "scan-0000000000000000", Version: version, Errors: []fault{{code, code, retry}}})
}

func write(w http.ResponseWriter, status int, a reply) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a)
}

// tooLong is more than any client should wait for an answer.
const tooLong = 20 * time.Second
