package pipelock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Kinds of scan. Its tool_call is never asked for: with one option off it allows all, and
// does not say so.
const (
	kindURL    = "url"
	kindText   = "dlp"
	kindAnswer = "prompt_injection"
)

// Bounds of one call.
const (
	callTimeout = 6 * time.Second
	maxAnswer   = 1 << 20
	maxFindings = 20

	restLimit = 4 * time.Second // for a connection, below the 5 s after which pipelock ends it
)

// OutageError says that pipelock did not decide: nothing is known of what was to be sent.
type OutageError struct{ Reason string }

func (e *OutageError) Error() string { return "pipelock did not decide: " + e.Reason }

func outage(format string, args ...any) error { return &OutageError{fmt.Sprintf(format, args...)} }

// Finding is one thing that pipelock says about what was to be sent. Its message may quote
// that, so it is not kept.
type Finding struct {
	Rule     string
	Encoding string
}

// DeniedError is pipelock's no.
type DeniedError struct {
	Scan     string // its id
	Findings []Finding
}

func (e *DeniedError) Error() string {
	var rules []string
	for _, f := range e.Findings {
		rules = append(rules, f.Rule)
	}
	if len(rules) == 0 {
		return "pipelock refuses it, and does not say why"
	}
	return "pipelock found " + strings.Join(rules, ", ")
}

// request is what its Scan API takes; it refuses fields that it does not know.
type request struct {
	Kind    string  `json:"kind"`
	Input   input   `json:"input"`
	Context origin  `json:"context"`
	Options options `json:"options"`
}

type input struct {
	URL     string `json:"url,omitempty"`
	Text    string `json:"text,omitempty"`
	Content string `json:"content,omitempty"`
}

type origin struct {
	Request string `json:"request_id"`
}

type options struct {
	Evidence bool `json:"include_evidence"`
}

// answer is what it says; fields beside these are none of ours.
type answer struct {
	Status   string `json:"status"`
	Decision string `json:"decision"`
	Kind     string `json:"kind"`
	Scan     string `json:"scan_id"`
	Request  string `json:"request_id"`
	Version  string `json:"engine_version"`
	Findings []struct {
		Rule     string `json:"rule_id"`
		Evidence struct {
			Encoding string `json:"encoding"`
		} `json:"evidence"`
	} `json:"findings"`
}

// caller asks pipelock, over its socket. It may be used concurrently.
type caller struct {
	token string
	http  *http.Client
}

func newCaller(o Options, token string) *caller {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return o.dial(ctx, ScanSocket) }
	return &caller{token, &http.Client{
		Transport:     &http.Transport{DialContext: dial, MaxIdleConnsPerHost: atOnce, IdleConnTimeout: restLimit, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask makes one call; one that may go well the next time is made once more. The answer is
// allow: anything else is an error.
func (c *caller) ask(ctx context.Context, kind, id, text string) (answer, error) {
	a, again, err := c.call(ctx, kind, id, text)
	if !again {
		return a, err
	}
	select {
	case <-time.After(retryPause):
	case <-ctx.Done():
		return a, ctx.Err()
	}
	a, _, err = c.call(ctx, kind, id, text)
	return a, err
}

// retryPause is short: somebody waits.
const retryPause = 200 * time.Millisecond

func (c *caller) call(ctx context.Context, kind, id, text string) (a answer, again bool, err error) {
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.request(within, kind, id, text)
	if err != nil {
		return a, false, err
	}
	response, err := c.http.Do(r)
	if ctx.Err() != nil {
		return a, false, ctx.Err()
	}
	if err != nil {
		return a, false, outage("%s", reason(err))
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return a, false, ctx.Err()
	case err != nil:
		return a, false, outage("%s", reason(err))
	case len(data) > maxAnswer:
		return a, false, outage("its answer is too long")
	case response.StatusCode != http.StatusOK:
		busy := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
		return a, busy, outage("it answers with status %d", response.StatusCode)
	}
	a, err = judge(data, kind, id)
	return a, false, err
}

func (c *caller) request(ctx context.Context, kind, id, text string) (*http.Request, error) {
	body := request{Kind: kind, Context: origin{id}, Options: options{true}}
	switch kind {
	case kindURL:
		body.Input.URL = text
	case kindAnswer:
		body.Input.Content = text
	default:
		body.Input.Text = text
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return nil, outage("%v", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://pipelock/api/v1/scan", &data)
	if err != nil {
		return nil, outage("%v", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header["Idempotency-Key"] = nil // not sent: it tells net/http to ask again where pipelock ends a resting connection just then
	return r, nil
}

// judge takes completed and allow for a yes, with every other word of it as it should be.
func judge(data []byte, kind, id string) (a answer, err error) {
	if json.Unmarshal(data, &a) != nil {
		return answer{}, outage("its answer makes no sense")
	}
	a.Scan, a.Version = plain(a.Scan), plain(a.Version)
	switch {
	case a.Kind != kind || a.Request != id:
		return a, outage("its answer is one to another question")
	case a.Status != "completed":
		return a, outage("its scan did not complete")
	case a.Decision == "deny":
		return a, denied(a)
	case a.Decision != "allow" || len(a.Findings) > 0:
		return a, outage("its answer is neither allow nor deny")
	}
	return a, nil
}

func denied(a answer) error {
	d := &DeniedError{Scan: a.Scan}
	for _, f := range a.Findings {
		if len(d.Findings) < maxFindings {
			d.Findings = append(d.Findings, Finding{plain(f.Rule), plain(f.Evidence.Encoding)})
		}
	}
	return d
}

// maxWord bounds what of pipelock's words is kept.
const maxWord = 64

// plain is what may be logged of a word of pipelock's: it is a program of somebody else's.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxWord)]
}

// reason tells what became of a call, and nothing that pipelock said.
func reason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("it did not answer within %s", callTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it hung up before it answered"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return "it cannot be reached"
	}
	return "its answer cannot be read"
}
