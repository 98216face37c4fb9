//go:build linux

package bundle

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// get sends a request of plain HTTP through egress. Nobody is there to answer it: that it went on
// its way is what counts.
func (r *running) get(t *testing.T, host string) (status int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy"}), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "egress.sock"))
	}}}
	response, err := client.Get("http://" + host + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// limited is a bundle with limits, whose agent may ask.
func limited(t *testing.T, known ...requests.Request) *running {
	t.Helper()
	c := config(t)
	c.Supervise, c.Requests = true, known
	c.Egress.Routes = append(c.Egress.Routes, policy.Route{Host: "few.example", Protocol: policy.HTTP, Limits: &policy.Limits{Requests: 3, Window: policy.Span(time.Hour)}})
	c.Egress.Limits = &policy.Limits{BytesUp: 1 << 20}
	r := launch(t, self(t), c)
	r.awaitReady(t)
	return r
}

// left is what the operator is told is left, the bottle's own limits first.
func (r *running) left(t *testing.T) []policy.Left {
	t.Helper()
	now, err := r.operate().Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return now.Left
}

// What is left of the limits is told to the agent, in words and as data, and to the operator, who
// sees it also beside a request for more.
func TestWhatIsLeftIsTold(t *testing.T) {
	r := limited(t)
	agent := r.agent(t)
	for range 2 {
		if status := r.get(t, "few.example"); status == http.StatusTooManyRequests {
			t.Fatalf("got %d", status)
		}
	}
	text, _ := call(t, agent, "list_policy", object{}, nil)
	for _, want := range []string{"- http://few.example:80: 1 of 3 requests left in 1h\n", "- all routes together: 1023.", "request_limit"} {
		if !strings.Contains(text, want) {
			t.Errorf("the agent is not told %q: %s", want, text)
		}
	}
	if left := r.left(t); len(left) != 2 || left[1].Parts[0] != (policy.Part{What: "requests", Limit: 3, Used: 2, Left: 1}) || left[0].Parts[0].Used == 0 {
		t.Errorf("the operator is told %+v", left)
	}
	call(t, agent, "request_limit", object{"host": "few.example", "requests": 5, "why": "x"}, nil)
	shown := r.pending(t)
	if len(shown.Left) != 1 || shown.Left[0] != "http://few.example:80: 1 of 3 requests left in 1h" {
		t.Errorf("beside the request: got %q", shown.Left)
	}
	if r.get(t, "few.example") == http.StatusTooManyRequests || r.pending(t).Left[0] != "http://few.example:80: nothing of 3 requests left until "+r.left(t)[1].Parts[0].Again.UTC().Format(time.RFC3339)+" in 1h" {
		t.Errorf("got %q", r.pending(t).Left)
	}
	if r.pending(t).Digest != shown.Digest {
		t.Error("what is decided about changes with every request that goes out")
	}
	r.approve(t, shown.ID, requests.Scope{})
	if text, _ := call(t, agent, "list_policy", object{}, nil); !strings.Contains(text, "5 of 8 requests left") || r.get(t, "few.example") == http.StatusTooManyRequests {
		t.Errorf("granted: got %s", text)
	}
}

// While egress cannot say what is left, that is said, and all else works.
func TestNobodyKnowsWhatIsLeft(t *testing.T) {
	r := limited(t)
	agent := r.agent(t)
	stopService(t, "egress")
	text, failed := call(t, agent, "list_policy", object{}, nil)
	if failed || !strings.Contains(text, "is not known at this moment") || !strings.Contains(text, "few.example") {
		t.Errorf("got %s", text)
	}
	call(t, agent, "request_limit", object{"host": "few.example", "requests": 5, "why": "x"}, nil)
	if shown := r.pending(t); len(shown.Left) != 1 || !strings.Contains(shown.Left[0], "not known") {
		t.Errorf("got %q", shown.Left)
	}
	killService(t, "egress")
	await(t, "it is known again", func() bool { return len(r.left(t)) == 2 })
}

// granted asks for docs.example, and grants it where upstream is.
func (r *running) granted(t *testing.T, agent *mcp.ClientSession, upstream http.Handler, s requests.Scope) (id string) {
	t.Helper()
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	id = r.askHTTP(t, agent, "docs.example")
	route := policy.Route{Host: "docs.example", Protocol: policy.HTTP, Private: true, Address: server.Listener.Addr().String()}
	if _, err := r.operate().Edit(t.Context(), id, r.request(t, id).Digest, requests.Change{Routes: []policy.Route{route}}); err != nil {
		t.Fatal(err)
	}
	r.approve(t, id, s)
	return id
}

// What was granted once is let through once, to its end, however long its answer takes: the end of
// the grant does not break it off. After that, nothing more is.
func TestAUseIsCountedAtItsEnd(t *testing.T) {
	r := limited(t)
	agent := r.agent(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	id := r.granted(t, agent, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		w.WriteHeader(http.StatusTeapot)
	}), requests.Scope{Uses: 1})
	got := make(chan int, 1)
	go func() { got <- r.get(t, "docs.example") }()
	<-asked
	if status := r.get(t, "docs.example"); status != http.StatusTooManyRequests {
		t.Errorf("a second one beside it: got %d", status)
	}
	if !r.request(t, id).Live() {
		t.Error("the grant ended with its use under way")
	}
	close(answer)
	if status := <-got; status != http.StatusTeapot {
		t.Errorf("got %d", status)
	}
	await(t, "the grant ends", func() bool { return !r.request(t, id).Live() })
	if grant := r.request(t, id).Grant; grant.Used != 1 || r.get(t, "docs.example") != http.StatusForbidden {
		t.Errorf("got %+v", grant)
	}
}

// Attack G13: egress crashes, or the bottle is started again, while a grant has uses left. It
// begins to count anew, and as many requests at once as were granted pass before the parent has
// heard of the first.
func TestAttackG13_ACrashGivesNoUsesBack(t *testing.T) {
	r := limited(t)
	agent := r.agent(t)
	id := r.granted(t, agent, http.NotFoundHandler(), requests.Scope{Uses: 3, For: policy.Span(time.Hour)})
	of := func(r *running) (uses policy.Part) {
		for _, l := range r.left(t) {
			if l.Grant == id {
				uses = l.Parts[0]
			}
		}
		return uses
	}
	r.get(t, "docs.example")
	r.get(t, "docs.example")
	await(t, "the uses are counted", func() bool { return r.request(t, id).Grant.Used == 2 })
	if got := of(r); got.Left != 1 {
		t.Fatalf("before: %+v", got)
	}
	known := r.request(t, id).Request
	killService(t, "egress")
	await(t, "egress is back", func() bool { return of(r).Limit == 3 })
	if got := of(r); got.Left != 1 {
		t.Errorf("after a crash: %+v", got)
	}
	again := limited(t, known)
	await(t, "it is started again", func() bool { return of(again).Limit == 3 })
	if got := of(again); got.Left != 1 {
		t.Errorf("started again: %+v", got)
	}
}

// Attack G13: egress is killed while the last use of a grant is under way, whose end nobody will tell. It
// counts all the same, and there is no other.
func TestAttackG13_AUseThatNeverEndedCounts(t *testing.T) {
	r := limited(t)
	agent := r.agent(t)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	id := r.granted(t, agent, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	}), requests.Scope{Uses: 1, For: policy.Span(time.Hour)})
	t.Cleanup(func() { close(answer) })
	conn, err := net.Dial("unix", filepath.Join(r.dir, "egress.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET http://docs.example/ HTTP/1.1\r\nHost: docs.example\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-asked
	killService(t, "egress")
	await(t, "the use counts", func() bool { return !r.request(t, id).Live() })
	if got := r.request(t, id).Grant; got.Used != 1 || got.Why != "it was used as often as it may" {
		t.Errorf("got %+v", got)
	}
}
