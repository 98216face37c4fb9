package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/semaphore"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock/pipelocktest"
)

// onlyStandIn is a word that only the stand-in takes for a secret, so that it is no other
// scanner's doing where it is refused.
const onlyStandIn = "standin-finding-word"

func withPipelock(dir string) func(*control.EgressConfig) {
	return func(c *control.EgressConfig) { c.Pipelock = &control.PipelockConfig{Dir: dir, Program: "test"} }
}

// newGuarded is an egress with the stand-in behind it.
func newGuarded(t *testing.T, routes ...policy.Route) (*lab, *pipelocktest.Lab) {
	t.Helper()
	p := pipelocktest.Start(t, pipelocktest.StandIn(t), time.Minute)
	return newLabOf(t, withPipelock(p.Dir), func(*Server) {}, routes...), p
}

// newCounting is an upstream that remembers what it was sent.
func newCounting(t *testing.T) (*origin, *safeBuffer) {
	heard := &safeBuffer{}
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(heard, "%s %s %v %s\n", r.Method, r.URL.RequestURI(), r.Header, body)
		_, _ = io.WriteString(w, "fine")
	}), heard
}

func noticeOf(t *testing.T, body string) (code, reason string) {
	t.Helper()
	var n struct{ Error, Reason string }
	if err := json.Unmarshal([]byte(body), &n); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return n.Error, n.Reason
}

// What our own scanner lets through goes to pipelock: the URL, the head, a body of each form,
// compressed or not. What it finds does not leave, and the log says by which scan.
func TestAttackC7_WhatPipelockFindsDoesNotLeave(t *testing.T) {
	upstream, heard := newCounting(t)
	l, _ := newGuarded(t, upstream.route("api.example", keyAuth()))
	for name, change := range map[string]func(r *http.Request){
		"in the query":  func(r *http.Request) { r.URL.RawQuery = "note=" + onlyStandIn },
		"in a header":   func(r *http.Request) { r.Header.Set("X-Note", onlyStandIn) },
		"in a document": withBody("application/json", `{"a":{"b":["\u0073tandin-finding-word"]}}`),
		"in a name":     withBody("application/json", `{"`+onlyStandIn+`":1}`),
		"in a form":     withBody("application/x-www-form-urlencoded", "a=standin%2Dfinding%2Dword"),
		"in a part":     withBody("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"+onlyStandIn+"\r\n--x--\r\n"),
		"in text":       withBody("text/plain", "see "+onlyStandIn),
		"in bytes":      withBody("application/octet-stream", "\x00\x01"+onlyStandIn+"\xff"),
		"of unknown size": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(onlyStandIn)), -1
		},
		"compressed": func(r *http.Request) {
			withBody("application/json", gzipped(t, `{"a":"`+onlyStandIn+`"}`))(r)
			r.Header.Set("Content-Encoding", "gzip")
		},
		"far into a body":  withBody("text/plain", strings.Repeat("nothing here. ", 20_000)+onlyStandIn),
		"after an Expect:": func(r *http.Request) { withBody("text/plain", onlyStandIn)(r); r.Header.Set("Expect", "100-continue") },
	} {
		t.Run(name, func(t *testing.T) {
			for _, h2 := range []bool{false, true} {
				if h2 && name == "after an Expect:" {
					continue
				}
				l.events.take()
				r := request(t, "GET", "https://api.example/v1", nil)
				change(r)
				answer, body := get(t, l.client(t, h2), r)
				if code, _ := noticeOf(t, body); answer.StatusCode != http.StatusForbidden || code != "secret_detected" {
					t.Fatalf("HTTP/2 %v: got %d %s", h2, answer.StatusCode, body)
				}
				e := l.awaitEvent(t, "the refusal", func(e audit.Event) bool { return e.Decision == audit.Deny })
				if len(e.Findings) != 1 || e.Findings[0].Scanner != "pipelock" || !strings.HasPrefix(e.Findings[0].Scan, "scan-") || !strings.HasPrefix(e.Findings[0].Rule, "DLP-") {
					t.Errorf("got %+v", e.Findings)
				}
			}
		})
	}
	if heard.String() != "" {
		t.Errorf("the upstream was sent %s", heard)
	}
}

func gzipped(t *testing.T, plain string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, plain); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return b.String()
}

func withBody(kind, body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", kind)
	}
}

// What is fine passes with our credential, and is known the next time.
func TestPipelockLetsPass(t *testing.T) {
	upstream, heard := newCounting(t)
	l, _ := newGuarded(t, upstream.route("api.example", keyAuth()))
	for i := range 2 {
		l.events.take()
		r := request(t, "GET", "https://api.example/v1?x=1", nil)
		withBody("application/json", `{"hello":"world"}`)(r)
		if answer, body := get(t, l.client(t, false), r); answer.StatusCode != 200 || body != "fine" {
			t.Fatalf("got %d %s", answer.StatusCode, body)
		}
		e := l.awaitEvent(t, "its end", func(e audit.Event) bool { return e.Kind == audit.Request && e.Phase == "" })
		if first := i == 0; first != (e.Pipelock != nil) || first && (len(e.Pipelock.Scans) != 3 || e.Pipelock.Bytes == 0) {
			t.Errorf("time %d: got %+v", i, e.Pipelock)
		}
	}
	if !strings.Contains(heard.String(), realKey) {
		t.Errorf("the upstream was sent %s", heard)
	}
}

// Each of pipelock's faults refuses what it was asked about, and is told from a finding.
func TestAttackA16_PipelocksFaultsLetNothingPass(t *testing.T) {
	upstream, heard := newCounting(t)
	l, _ := newGuarded(t, upstream.route("api.example", nil))
	for _, fault := range []string{"eof", "half", "429", "503", "error", "errorallow", "kind", "request", "maybe", "findings", "garbage", "two", "huge", "redirect", "crash"} {
		r := request(t, "GET", "https://api.example/v1", nil)
		withBody("text/plain", "standin-fault-"+fault)(r)
		answer, body := get(t, l.client(t, false), r)
		code, reason := noticeOf(t, body)
		if answer.StatusCode != http.StatusServiceUnavailable || code != "scanner_unavailable" || answer.Header.Get("Retry-After") == "" || !strings.Contains(reason, "did not decide") {
			t.Errorf("%s: got %d %s", fault, answer.StatusCode, body)
		}
	}
	if strings.Contains(heard.String(), "fault") {
		t.Errorf("the upstream was sent %s", heard)
	}
}

// Pipelock's container is killed while the bottle works: nothing more is sent on the routes
// that it guards, also not what it had allowed before. Once it is back, so is the traffic.
func TestAttackA16_WithoutPipelockNothingGoes(t *testing.T) {
	upstream, heard := newCounting(t)
	unguarded := upstream.route("free.example", nil)
	unguarded.Pipelock = &policy.Pipelock{Off: true}
	l, p := newGuarded(t, upstream.route("api.example", nil), unguarded)
	ask := func(host string) int {
		answer, _ := get(t, l.client(t, false), request(t, "GET", "https://"+host+"/v1", nil))
		return answer.StatusCode
	}
	if status := ask("api.example"); status != 200 {
		t.Fatalf("got %d before", status)
	}
	p.Stop(t)
	l.awaitEvent(t, "its end", func(e audit.Event) bool { return e.Kind == audit.Scanner && e.Decision == audit.Deny })
	heard.take()
	if status := ask("api.example"); status != http.StatusServiceUnavailable || heard.String() != "" {
		t.Errorf("got %d, and the upstream %s", status, heard)
	}
	if status := ask("free.example"); status != 200 {
		t.Errorf("got %d where it is off", status)
	}
}

// Egress that has a second scanner to ask does not start without it.
func TestAttackA16_NoPipelockNoEgress(t *testing.T) {
	ca, _ := newCA(t)
	cfg := control.EgressConfig{Bottle: "dev-abcdef", CACert: ca.CertPEM, CAKey: ca.KeyPEM}
	p := pipelocktest.Start(t, filepath.Join(t.TempDir(), "nothing"), time.Minute)
	withPipelock(p.Dir)(&cfg)
	if _, err := New(cfg, audit.NewWriter(io.Discard), nil, nil); err == nil || !strings.Contains(err.Error(), "pipelock did not decide: it does not run") {
		t.Errorf("got %v", err)
	}
}

// The scanner is somebody else's program: it must see neither a value nor a placeholder of
// the bottle's, wherever they stand.
func TestAttackC10_PipelockSeesNoSecret(t *testing.T) {
	upstream, heard := newCounting(t)
	p := pipelocktest.Start(t, pipelocktest.StandIn(t), time.Minute)
	shown := &safeBuffer{}
	l := newLabOf(t, withPipelock(listened(t, p.Dir, shown)), func(*Server) {}, upstream.route("api.example", keyAuth()))
	r := request(t, "GET", "https://api.example/v1", nil)
	withBody("application/json", `{"say":"the key is `+placeholder+`, isn't it"}`)(r)
	r.Header.Set("X-Api-Key", placeholder)
	r.Header.Set("Authorization", "Bearer something-else-of-the-bottles")
	if answer, body := get(t, l.client(t, false), r); answer.StatusCode != 200 {
		t.Fatalf("got %d %s", answer.StatusCode, body)
	}
	if !strings.Contains(heard.String(), realKey) || !strings.Contains(heard.String(), "the key is "+placeholder) {
		t.Errorf("the upstream was sent %s", heard)
	}
	all := shown.String()
	if !strings.Contains(all, "the key is "+inertWord) || !strings.Contains(all, "https://api.example/v1") {
		t.Errorf("pipelock was shown %s", all)
	}
	for _, s := range append(testSecrets(), control.Secret{Value: "something-else-of-the-bottles", Placeholder: "X-Api-Key"}) {
		if strings.Contains(all, s.Value) || strings.Contains(all, s.Placeholder) {
			t.Errorf("pipelock was shown %s", all)
		}
	}
}

// Pipelock is the second opinion: what is refused without it, for want of a route or by our own
// scanner, it is never shown, nor what that takes out of a conversation.
func TestPipelockIsAskedLast(t *testing.T) {
	upstream, heard := newCounting(t)
	p := pipelocktest.Start(t, pipelocktest.StandIn(t), time.Minute)
	shown := &safeBuffer{}
	narrow := upstream.route("api.example", nil)
	narrow.Paths = []string{"/v1"}
	l := newLabOf(t, withPipelock(listened(t, p.Dir, shown)), func(*Server) {}, narrow, upstream.route("model.example", nil))
	shown.take() // its test
	for name, change := range map[string]func(*http.Request){
		"no-such-path":     func(r *http.Request) { r.URL.Path = "/other/seen-by-pipelock" },
		"found-by-our-own": withBody("text/plain", "seen-by-pipelock "+githubToken),
		"a-placeholder":    withBody("text/plain", "seen-by-pipelock "+placeholder),
	} {
		r := request(t, "GET", "https://api.example/v1", nil)
		change(r)
		if answer, body := get(t, l.client(t, false), r); answer.StatusCode != http.StatusForbidden || strings.Contains(body, "pipelock found") {
			t.Errorf("%s: got %d %s", name, answer.StatusCode, body)
		}
	}
	if shown.String() != "" || heard.String() != "" {
		t.Errorf("pipelock was shown %s, the upstream %s", shown, heard)
	}
	taken := request(t, "GET", "https://model.example/v1/messages", nil)
	withBody("application/json", `{"m":["what is `+githubToken+`", "x"]}`)(taken)
	if answer, body := get(t, l.client(t, false), taken); answer.StatusCode != http.StatusOK || strings.Contains(shown.String(), githubToken) || !strings.Contains(shown.String(), "[redacted:github-token]") {
		t.Errorf("what was taken out: got %d %s, and pipelock was shown %s", answer.StatusCode, body, shown)
	}
}

// listened is a directory through which pipelock is reached, and heard what it is asked.
func listened(t *testing.T, dir string, heard io.Writer) string {
	between, err := os.MkdirTemp("", "pl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(between) })
	if err := os.Symlink(filepath.Join(dir, pipelock.OrderSocket), filepath.Join(between, pipelock.OrderSocket)); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(between, pipelock.ScanSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				to, err := net.Dial("unix", filepath.Join(dir, pipelock.ScanSocket))
				if err != nil {
					_ = from.Close()
					return
				}
				go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
				_, _ = io.Copy(io.MultiWriter(heard, to), from) // heard before it is answered
				_ = to.Close()
			}()
		}
	}()
	return between
}

// A body that pipelock may not see all of goes where the route says so, and the log tells.
func TestPipelockBudget(t *testing.T) {
	upstream, heard := newCounting(t)
	small, lenient, off := upstream.route("small.example", nil), upstream.route("lenient.example", nil), upstream.route("off.example", nil)
	small.Pipelock = &policy.Pipelock{Budget: 10 << 10}
	lenient.Pipelock = &policy.Pipelock{Budget: 10 << 10, Over: policy.OverAllow}
	off.Pipelock = &policy.Pipelock{Off: true}
	l, _ := newGuarded(t, small, lenient, off, upstream.route("usual.example", nil))
	for name, c := range map[string]struct {
		host string
		size int
		code string // "" passes
	}{
		"within":                    {"small.example", 9 << 10, ""},
		"over":                      {"small.example", 11 << 10, "not_inspectable"},
		"over, and allowed":         {"lenient.example", 11 << 10, ""},
		"too long to hold":          {"usual.example", 9 << 20, "not_inspectable"},
		"too long to hold, allowed": {"lenient.example", 9 << 20, ""},
		"too long to hold, and off": {"off.example", 9 << 20, ""},
		"within what is usual":      {"usual.example", 300 << 10, ""},
		"over what is usual":        {"usual.example", 2 << 20, "not_inspectable"},
	} {
		t.Run(name, func(t *testing.T) {
			l.events.take()
			heard.take()
			var text strings.Builder
			for i := 0; text.Len() < c.size; i++ {
				_, _ = fmt.Fprintf(&text, "line %d of %s, %d\n", i, name, i*i)
			}
			r := request(t, "GET", "https://"+c.host+"/v1", nil)
			withBody("text/plain", text.String())(r)
			answer, body := get(t, l.client(t, false), r)
			if c.code == "" && (answer.StatusCode != 200 || !strings.HasSuffix(strings.TrimSpace(heard.String()), strings.TrimSpace(text.String()[text.Len()-100:]))) {
				t.Fatalf("got %d %s", answer.StatusCode, body)
			}
			if c.code != "" {
				if code, reason := noticeOf(t, body); code != c.code || !strings.Contains(reason, "pipelock") {
					t.Errorf("got %s: %s", code, reason)
				}
			}
			if c.host == "lenient.example" {
				e := l.awaitEvent(t, "its end", func(e audit.Event) bool { return e.Kind == audit.Request && e.Phase == "" })
				if len(e.Findings) != 1 || e.Findings[0].Rule != "over-budget" || e.Findings[0].Action != "alert" {
					t.Errorf("got %+v", e.Findings)
				}
			}
		})
	}
}

// A granted host reaches pipelock's list with the grant, and leaves it with its end.
func TestPipelockFollowsThePolicy(t *testing.T) {
	upstream, _ := newCounting(t)
	p := pipelocktest.Start(t, pipelocktest.StandIn(t), time.Minute)
	first, granted := upstream.route("api.example", nil), upstream.route("**.new.example", nil)
	var kept control.EgressConfig
	l := newLabOf(t, func(c *control.EgressConfig) { withPipelock(p.Dir)(c); kept = *c }, func(*Server) {}, first)
	status := func() int {
		answer, _ := get(t, l.client(t, false), request(t, "GET", "https://a.new.example/v1", nil))
		return answer.StatusCode
	}
	kept.Routes = append(kept.Routes, granted)
	if err := l.server.Apply(kept); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != 200 {
		t.Errorf("got %d once granted", got)
	}
	p.Stop(t)
	kept.Routes = kept.Routes[:1]
	if err := l.server.Apply(kept); err == nil {
		t.Error("a change was taken over that pipelock does not know of")
	}
}

// A WebSocket's messages are looked at as a whole, in however many frames and pieces they
// come, and nothing of one leaves before that.
func TestAttackB8_PipelockSeesWholeMessages(t *testing.T) {
	heard := &safeBuffer{}
	l, _ := newGuarded(t, echo(t, heard).route("api.example", keyAuth()))
	conn := l.webSocket(t, "wss://api.example/ws")
	long := `{"text":"` + strings.Repeat("many words ", 30_000) + `"}`
	for _, message := range []string{`{"hello":"world"}`, "", long, "plain text"} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != message {
			t.Fatalf("%d bytes came back as %d, %v", len(message), len(got), err)
		}
	}
	heard.take()
	pieces, err := conn.Writer(t.Context(), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{`{"a":"stand`, `in-fin`, `ding-word"}`} {
		if _, err := io.WriteString(pieces, piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := pieces.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(t.Context())
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "pipelock found") {
		t.Errorf("got %v", err)
	}
	if heard.String() != "" {
		t.Errorf("the upstream was sent %q", heard)
	}
	e := l.awaitEvent(t, "its end", func(e audit.Event) bool { return e.Kind == audit.Request && e.Phase == "" })
	if e.Decision != audit.Deny || len(e.Findings) != 1 || e.Findings[0].Scanner != "pipelock" {
		t.Errorf("got %+v", e)
	}
}

// A message longer than is held ends the connection, unless the route says otherwise.
func TestPipelockAndALongMessage(t *testing.T) {
	heard := &safeBuffer{}
	upstream := echo(t, heard)
	lenient := upstream.route("lenient.example", nil)
	lenient.Pipelock = &policy.Pipelock{Over: policy.OverAllow}
	l, _ := newGuarded(t, upstream.route("api.example", nil), lenient)
	message := bytes.Repeat([]byte("long "), 2_000_000)
	for host, passes := range map[string]bool{"api.example": false, "lenient.example": true} {
		conn := l.webSocket(t, "wss://"+host+"/ws")
		_ = conn.Write(t.Context(), websocket.MessageText, message) // it may be cut off on the way
		_, got, err := conn.Read(t.Context())
		if passes != (err == nil && bytes.Equal(got, message)) {
			t.Errorf("%s: got %d bytes, %v", host, len(got), err)
		}
	}
	if !l.server.messages.TryAcquire(maxMessages) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if l.server.messages.Acquire(ctx, maxMessages) != nil {
			t.Error("something is still held")
		}
	}
}

// Attack J4: messages are begun on WebSockets and never ended. What is held of them for pipelock
// takes no room from requests with a body.
func TestAttackJ4_MessagesThatDoNotEnd(t *testing.T) {
	up := echo(t, &safeBuffer{})
	plain, _ := newCounting(t)
	p := pipelocktest.Start(t, pipelocktest.StandIn(t), time.Minute)
	l := newLabOf(t, withPipelock(p.Dir), func(s *Server) { s.held = semaphore.NewWeighted(1000) }, up.route("api.example", nil), plain.route("plain.example", nil))
	conn := l.secure(t, "api.example", 443)
	_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if got := readStatus(t, conn); got != http.StatusSwitchingProtocols {
		t.Fatalf("got %d", got)
	}
	_, _ = conn.Write(append(head(0x81, true, 1000), make([]byte, 4+450)...))
	free := func(room *semaphore.Weighted, size int64) bool {
		if !room.TryAcquire(size) {
			return false
		}
		room.Release(size)
		return true
	}
	for free(l.server.held, 1000) && free(l.server.messages, maxMessages) {
		time.Sleep(time.Millisecond) // nothing tells that it has come
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	response, err := l.client(t, false).Do(request(t, "POST", "https://plain.example/", strings.NewReader(strings.Repeat("much ", 150))).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %d", response.StatusCode)
	}
}

// The log says what guards a bottle from when on.
func TestPipelockIsInTheLog(t *testing.T) {
	upstream, _ := newCounting(t)
	l, _ := newGuarded(t, upstream.route("api.example", nil))
	e := l.awaitEvent(t, "pipelock's start", func(e audit.Event) bool { return e.Kind == audit.Scanner })
	if e.Decision != audit.Allow || !strings.Contains(e.Reason, "pipelock 2.3.0-standin (test) has passed its test") {
		t.Errorf("got %+v", e)
	}
}
