package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// injections has pipelock look for prompt injection in what upstreams answer: text that would have
// the agent do what its author wants. It looks beside the stream, at a copy of an answer's
// beginning, and only tells: an answer is handed on as it comes, and waits for nothing. What
// it has no room or time for goes unseen, and the log says so. A nil one looks at nothing.
type injections struct {
	second *second
	tell   func(*policy.Route, audit.Event)
	room   *semaphore.Weighted // bytes of answers that are kept
	queue  chan *beginning
	every  time.Duration // between two tests
	model  []string      // hosts of models

	lost chan struct{} // something was missed

	mu     sync.Mutex
	missed int    // answers that nobody has looked at, since that was told last
	why    string // the first of them was missed
	told   bool
}

// Bounds of what is kept of answers.
const (
	maxKept    = 64 << 10 // of one, as it came
	maxAllKept = 4 << 20

	sniffed = 512 // what http.DetectContentType looks at
)

// newInjections returns nil where nobody is to look at answers.
func newInjections(cfg control.EgressConfig, second *second, tell func(*policy.Route, audit.Event)) *injections {
	if second == nil || !cfg.Pipelock.Answers {
		return nil
	}
	return &injections{
		second: second, tell: tell, room: semaphore.NewWeighted(maxAllKept), queue: make(chan *beginning, 4*maxAllKept/maxKept), every: time.Minute,
		model: provider.ModelHosts(), lost: make(chan struct{}, 1),
	}
}

// watches reports whether pipelock is asked about a request's answers. A model's are no text of
// somebody else's, and quote the whole of what they were asked.
func (i *injections) watches(x *exchange) bool {
	route := x.decision.Route
	return i != nil && i.second.guards(route) && (route.Pipelock == nil || !route.Pipelock.NoAnswers) && !x.model && !i.isModelHost(x.refusal.host)
}

// isModelHost reports whether a host serves models and little else, whatever the path.
// Elsewhere the path tells a conversation (isModel).
func (i *injections) isModelHost(host string) bool {
	return slices.Contains(i.model, host) ||
		strings.HasPrefix(host, "bedrock-runtime.") && strings.HasSuffix(host, ".amazonaws.com") ||
		strings.HasSuffix(host, "aiplatform.googleapis.com") || strings.HasSuffix(host, ".openai.azure.com")
}

// watch has an answer looked at as it passes, if it is text.
func (i *injections) watch(answer *http.Response, x *exchange) {
	if !i.watches(x) || !maybeText(answer.Header) {
		return
	}
	e := audit.Event{ // of what the bottle asked for: the upstream's request may hold our credential
		Kind: audit.Flag, Protocol: x.refusal.protocol, Host: x.refusal.host, Port: x.refusal.port, Method: x.asked.Method, Path: x.path,
		Rule: &x.decision.Rule, Grant: x.decision.Route.Grant, Status: answer.StatusCode,
	}
	b := &beginning{of: i, about: e, route: x.decision.Route, inert: x.rules.inert, kind: answer.Header.Get("Content-Type"), codings: codings(answer.Header)}
	answer.Body = &watched{answer.Body, b}
}

// maybeText reports whether an answer says that it is text. Of one that does not say, its
// beginning shows.
func maybeText(h http.Header) bool {
	kind, known := textual(h.Get("Content-Type"))
	return known || kind == ""
}

// textual reports whether a media type is text, with whatever parameters. kind is "" for one that
// says nothing.
func textual(contentType string) (kind string, text bool) {
	kind, _, _ = strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	if kind == "application/octet-stream" || kind == "binary/octet-stream" {
		return "", false
	}
	if strings.HasPrefix(kind, "text/") {
		return kind, true
	}
	_, suffix, _ := strings.Cut(kind, "+")
	words := []string{"json", "xml", "yaml", "json-seq"}
	if slices.Contains(words, suffix) {
		return kind, true
	}
	_, name, _ := strings.Cut(kind, "/")
	name = strings.TrimPrefix(name, "x-")
	return kind, slices.Contains(append(words, "ndjson", "jsonl", "javascript", "ecmascript", "toml", "sh", "www-form-urlencoded", "graphql", "markdown"), name)
}

// watched is an answer's body of which the beginning is kept.
type watched struct {
	io.ReadCloser
	kept *beginning
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.kept.keep(p[:n])
	if err != nil {
		w.kept.end()
	}
	return n, err
}

// Close implements io.Closer. What had come is looked at, also where no more was wanted.
func (w *watched) Close() error {
	w.kept.end()
	return w.ReadCloser.Close()
}

// beginning is what is kept of one answer.
type beginning struct {
	of      *injections
	about   audit.Event
	route   *policy.Route
	inert   *strings.Replacer
	kind    string
	codings []string

	mu    sync.Mutex
	data  []byte
	ended bool
}

func (b *beginning) keep(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || len(p) == 0 {
		return
	}
	p = p[:min(len(p), maxKept-len(b.data))]
	if !b.of.room.TryAcquire(int64(len(p))) {
		b.forget()
		b.of.miss("there is more of it at a time than is kept")
		return
	}
	looked := len(b.data) >= sniffed
	b.data = append(b.data, p...)
	switch {
	case !looked && len(b.data) >= sniffed && len(b.codings) == 0 && !b.isText(b.data):
		b.forget() // early: it may be long
	case len(b.data) == maxKept:
		b.hand()
	}
}

// isText reports whether it says that it is text, or shows it, where it says nothing.
func (b *beginning) isText(plain []byte) bool {
	kind, text := textual(b.kind)
	return text || kind == "" && strings.HasPrefix(http.DetectContentType(plain), "text/")
}

func (b *beginning) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && len(b.data) > 0 {
		b.hand()
	}
	b.ended = true
}

// hand has somebody look at it, if there is room in the queue.
func (b *beginning) hand() {
	b.ended = true
	select {
	case b.of.queue <- b:
	default:
		b.forget()
		b.of.miss("there is more of it than pipelock can look at")
	}
}

func (b *beginning) forget() {
	b.of.room.Release(int64(len(b.data)))
	b.data, b.ended = nil, true
}

// text is what the answer says, without what of it is the bottle's own; "" if it is no text.
func (b *beginning) text() (string, error) {
	plain, err := unpacked(b.data, b.codings)
	if err != nil || !b.isText(plain) {
		return "", err
	}
	return b.inert.Replace(pipelock.AnswerText(b.kind, plain)), nil
}

// unpacked is what is in codings, as much as is whole and looked at. None of them gives more than that.
func unpacked(data []byte, codings []string) ([]byte, error) {
	if len(codings) == 0 {
		return data, nil
	}
	opened, err := undo(data, codings, pipelock.MaxAnswer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = opened.Close() }()
	plain, err := io.ReadAll(io.LimitReader(opened, pipelock.MaxAnswer))
	if len(plain) == 0 && err != nil {
		return nil, notCoded("it is not in the content coding that it names")
	}
	return plain, nil
}

// keep looks at answers, one at a time, until ctx ends.
func (i *injections) keep(ctx context.Context) {
	if i == nil {
		return
	}
	clock := time.NewTicker(i.every)
	defer clock.Stop()
	i.test(ctx)
	for {
		select {
		case b := <-i.queue:
			i.look(ctx, b)
		case <-i.lost:
			i.tellOfMissed()
		case <-clock.C:
			i.test(ctx)
			i.tellOfMissed()
			i.review()
		case <-ctx.Done():
			i.last()
			return
		}
	}
}

// look tells what pipelock says about one answer.
func (i *injections) look(ctx context.Context, b *beginning) {
	text, err := b.text() // nobody changes what was handed over; locked, the answer would wait
	b.mu.Lock()
	b.forget()
	b.mu.Unlock()
	if err == nil && text != "" {
		_, err = i.second.Answer(ctx, text)
	}
	var denied *pipelock.DeniedError
	switch {
	case errors.As(err, &denied):
		i.tell(b.route, flagOf(b.about, denied))
	case err != nil:
		i.miss(err.Error())
	}
}

// flagOf is the event of what was found.
func flagOf(e audit.Event, denied *pipelock.DeniedError) audit.Event {
	found := denied.Findings
	if len(found) == 0 {
		found = []pipelock.Finding{{Rule: "unnamed"}}
	}
	var rules []string
	for _, f := range found {
		rules = append(rules, f.Rule)
		e.Findings = append(e.Findings, audit.Finding{Rule: f.Rule, Encoding: f.Encoding, Part: inAnswer, Action: string(dlp.Alert), Scanner: string(control.Pipelock), Scan: denied.Scan})
	}
	e.Reason = fmt.Sprintf("the answer holds what may be orders to the agent (%s; %s); it was handed on", strings.Join(rules, ", "), denied.Scan)
	return e
}

// inAnswer is the part of an exchange that is looked at here.
const inAnswer = "answer"

// test asks what can have one answer only.
func (i *injections) test(ctx context.Context) {
	if err := i.second.TestAnswers(ctx); err != nil && ctx.Err() == nil {
		i.note(err.Error(), 0)
	}
}

// miss counts an answer that nobody looks at.
func (i *injections) miss(why string) { i.note(why, 1) }

func (i *injections) note(why string, missed int) {
	i.mu.Lock()
	if i.missed += missed; i.why == "" {
		i.why = why
	}
	i.mu.Unlock()
	select {
	case i.lost <- struct{}{}:
	default:
	}
}

// tellOfMissed tells that answers go unseen, once until that is over.
func (i *injections) tellOfMissed() {
	i.mu.Lock()
	why, due := i.why, !i.told && i.why != ""
	i.told = i.told || due
	i.mu.Unlock()
	if due {
		i.say("answers are handed on without a look for prompt injection: " + why)
	}
}

// review tells that it is over, once a while has passed in which nothing was missed.
func (i *injections) review() {
	i.mu.Lock()
	missed, over := i.missed, i.told && i.why == ""
	if i.why = ""; over {
		i.missed, i.told = 0, false
	}
	i.mu.Unlock()
	if over {
		i.say(fmt.Sprintf("answers are looked at again; %d were not", missed))
	}
}

// last tells of what nobody will look at any more.
func (i *injections) last() {
	i.mu.Lock()
	missed := i.missed + len(i.queue)
	i.mu.Unlock()
	if missed > 0 {
		i.say(fmt.Sprintf("%d answers were handed on without a look for prompt injection", missed))
	}
}

func (i *injections) say(what string) {
	i.tell(nil, audit.Event{Kind: audit.Scanner, Reason: what})
}
