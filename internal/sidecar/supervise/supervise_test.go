package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// served is a service on a socket, whose parent is at the other end of parent.
func served(t *testing.T) (socket string, parent net.Conn, ended chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	s, err := New(control.NewCounterClient(theirs), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), l) }()
	return socket, ours, ended
}

func post(t *testing.T, socket, host, origin string) int {
	t.Helper()
	return postBody(t, socket, host, origin, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
}

func postBody(t *testing.T, socket, host, origin, body string) int {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:7717/mcp", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// Attack G12: a page in a browser in the bottle reaches the server under a name of its own
// (DNS rebinding), or across origins, and asks in the agent's name.
func TestAttackG12_APageCannotAsk(t *testing.T) {
	socket, _, _ := served(t)
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:7717", "", 200}, {"localhost:7717", "", 200}, {"127.0.0.1", "http://localhost:7717", 200},
		{"evil.example:7717", "", 403}, {"127.0.0.1.evil.example", "", 403}, {"127.0.0.1:7717", "https://evil.example", 403}, {"127.0.0.1:7717", "null", 403},
	} {
		if got := post(t, socket, c.host, c.origin); got != c.want {
			t.Errorf("%s from %q: got %d, want %d", c.host, c.origin, got, c.want)
		}
	}
}

// A service that can ask nobody any more ends, so that the bundle starts one that can.
func TestTheServiceEndsWithItsParent(t *testing.T) {
	socket, parent, ended := served(t)
	go func() { _, _ = io.Copy(io.Discard, parent) }()
	go func() { // the first question opens the connection
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_policy","arguments":{}}}`
		transport := &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
		r, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if response, err := transport.RoundTrip(r); err == nil {
			_ = response.Body.Close()
		}
	}()
	_ = parent.Close()
	if err := <-ended; !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}

// Attack J4: thousands of connections, each with most of a request that never ends, fill the memory
// that the bottle's egress and the parent need as well. Beyond some, they wait, and hold nothing.
func TestAttackJ4_ConnectionsWait(t *testing.T) {
	socket, _, _ := served(t)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxConnections {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	answered := make(chan int, 1)
	go func() { answered <- post(t, socket, "127.0.0.1:7717", "") }()
	select {
	case status := <-answered:
		t.Fatalf("one more was taken: got %d", status)
	case <-time.After(200 * time.Millisecond): // nothing tells that it is not
	}
	_ = open[0].Close()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("got %d", status)
	}
}

// Attack J4: one request holds hundreds of calls, and all their answers are held until the last one
// is there: with as many connections as are taken, more than the bundle's memory.
func TestAttackJ4_BatchesAreShort(t *testing.T) {
	socket, _, _ := served(t)
	call := `{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`
	batch := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(call, i)
		}
		return " \r\n\t[" + strings.Join(all, ",") + "]"
	}
	for body, want := range map[string]int{
		fmt.Sprintf(call, 1): 200, batch(2): 200, batch(maxBatch): 200, batch(maxBatch + 1): 400, batch(1000): 400,
		batch(2) + strings.Repeat(" ", maxBody): 413,
	} {
		if got := postBody(t, socket, "127.0.0.1:7717", "", body); got != want {
			t.Errorf("%.60q: got %d, want %d", body, got, want)
		}
	}
}

// crowd answers nobody who may wait.
type crowd struct {
	control.Counter
	waits chan time.Duration
}

func (c crowd) Wait(ctx context.Context, _ string, atMost time.Duration) (requests.Request, error) {
	c.waits <- atMost
	if atMost > 0 {
		<-ctx.Done()
	}
	return requests.Request{}, nil
}

// Attack J4: an agent has check_request wait as often as it can at a time, so that nobody in the
// bottle can ask any more. Those beyond some are answered at once.
func TestAttackJ4_ThoseWhoWaitLeaveRoom(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := crowd{waits: make(chan time.Duration)}
	check := checkRequest(newDesk(c, nil))
	for range maxWaiting {
		go func() { _, _, _ = check(ctx, nil, checkIn{ID: "k7x2m4-1"}) }()
		if got := <-c.waits; got != defaultWait*time.Second {
			t.Fatalf("it waits for %v", got)
		}
	}
	go func() { _, _, _ = check(ctx, nil, checkIn{ID: "k7x2m4-1"}) }()
	if got := <-c.waits; got != 0 {
		t.Errorf("one more waits for %v", got)
	}
}

// What is over does not fill a model's context; what waits or is granted is always there.
func TestTheLatestAreListed(t *testing.T) {
	all := []requests.Request{{ID: "k-1", State: requests.Pending}, {ID: "k-2", State: requests.Approved, Grant: &requests.Grant{}}}
	for i := range maxOver + 7 {
		all = append(all, requests.Request{ID: fmt.Sprintf("k-%d", i+3), State: requests.Cancelled})
	}
	kept, left := latest(all)
	if left != 7 || len(kept) != maxOver+2 || kept[0].ID != "k-1" || kept[1].ID != "k-2" || kept[2].ID != "k-10" {
		t.Errorf("got %d of %v", left, kept)
	}
	if kept, left := latest(kept); left != 0 || len(kept) != maxOver+2 {
		t.Errorf("got %d of %v", left, kept)
	}
}

// An agent is told where its push stands, and never that nothing waits while something does.
func TestAPushIsToldOf(t *testing.T) {
	push := requests.Request{ID: "k-1", Kind: requests.Pushing}
	for name, test := range map[string]struct {
		state   requests.State
		decided *requests.Outcome
		again   string
		want    string
	}{
		"it waits":       {requests.Pending, nil, "", "k-1 waits for the operator. Go on"},
		"on its way":     {requests.Approved, &requests.Outcome{}, "", "k-1 is approved, and on its way upstream."},
		"upstream":       {requests.Approved, &requests.Outcome{Result: control.Forwarded}, "", "upstream has it"},
		"refused":        {requests.Approved, &requests.Outcome{Result: "it has moved"}, "", "k-1 was approved, but nothing was pushed: it has moved"},
		"it waits again": {requests.Pending, nil, "no answer.", "k-1 was approved, and waits for the operator again: no answer. Go on with something else, and call check_request with id k-1."},
	} {
		push.State, push.Decided, push.Again = test.state, test.decided, test.again
		if got := requestText(push); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
