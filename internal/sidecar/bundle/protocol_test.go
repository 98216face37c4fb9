//go:build linux

package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// raw sends what no client of MCP would.
func (r *running) raw(t *testing.T, method string, header map[string]string, body string) (status int, text string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "supervise.sock"))
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:7717/mcp", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// message calls a tool.
func message(id int, tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments)
}

// Attack G12: the agent speaks MCP by hand: sessions that are not its own, streams that stay open, bodies
// without end, fields that no tool has, names that lead elsewhere. None gets more than a tool gives, and
// the server goes on.
func TestAttackG12_TheProtocolIsNoWayIn(t *testing.T) {
	r := supervised(t)
	list := message(1, "list_requests", "{}")
	for name, test := range map[string]struct {
		method string
		header map[string]string
		body   string
		status int
		says   string
	}{
		"a stream":              {method: "GET", status: 405},
		"a stream of a session": {method: "GET", header: map[string]string{"Mcp-Session-Id": "1"}, status: 405},
		"the end of a session":  {method: "DELETE", header: map[string]string{"Mcp-Session-Id": "1"}, status: 405},
		"a session":             {header: map[string]string{"Mcp-Session-Id": "../../x"}, body: list, status: 200, says: "Nothing was asked for."},
		"a form":                {header: map[string]string{"Content-Type": "text/plain"}, body: list, status: 415},
		"a huge body":           {body: message(1, "ask_operator", `{"question":"`+strings.Repeat("x", 1<<20)+`"}`), status: 413},
		"a deep one":            {body: strings.Repeat("[", 30000) + strings.Repeat("]", 30000), status: 400},
		"an answer of ours":     {body: `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}`, status: 400},
		"a tool that is none":   {body: message(1, "approve", `{"id":"abcdef-1"}`), status: 200, says: `unknown tool`},
		"a credential":          {body: message(1, "request_egress", `{"host":"a.example","why":"x","auth":{"scheme":"bearer","secret":"KEY"}}`), status: 200, says: "unexpected additional properties"},
		"a private address":     {body: message(1, "request_egress", `{"host":"a.example","why":"x","private":true}`), status: 200, says: "unexpected additional properties"},
		"another spelling":      {body: message(1, "request_egress", `{"host":"a.example","Host":"b.example","why":"x"}`), status: 200, says: "unexpected additional properties"},
		"a path for an id":      {body: message(1, "check_request", `{"id":"../policy","wait_seconds":0}`), status: 200, says: "there is no such request"},
		"a query for an id":     {body: message(1, "check_request", `{"id":"abcdef-1?wait=5m"}`), status: 200, says: "there is no such request"},
		"no time at all":        {body: message(1, "check_request", `{"id":"abcdef-1","wait_seconds":-100}`), status: 200, says: "there is no such request"},
	} {
		if test.method == "" {
			test.method = "POST"
		}
		status, text := r.raw(t, test.method, test.header, test.body)
		if status != test.status || !strings.Contains(text, test.says) {
			t.Errorf("%s: got %d %.300s", name, status, text)
		}
	}
	if now, err := r.operate().Requests(t.Context(), -1); err != nil || len(now.Requests) != 0 {
		t.Errorf("the operator is bothered with %+v, %v", now, err)
	}
}

// Attack G1: hundreds of asks, in as few messages as batches make of them. They count one by one.
func TestAttackG1_ABatchIsManyAsks(t *testing.T) {
	r := supervised(t)
	go func() { _, _ = io.Copy(io.Discard, r.out) }() // or the log would hold all up
	var text string
	for n := range 25 {
		var batch []string
		for i := range 16 {
			batch = append(batch, message(i, "request_egress", fmt.Sprintf(`{"host":"h%d.example","why":"x"}`, 16*n+i)))
		}
		status, some := r.raw(t, "POST", map[string]string{"Mcp-Protocol-Version": "2025-03-26"}, "["+strings.Join(batch, ",")+"]")
		var answers []json.RawMessage
		if err := json.Unmarshal([]byte(some), &answers); status != http.StatusOK || err != nil || len(answers) != 16 {
			t.Fatalf("got %d, %v, %d answers", status, err, len(answers))
		}
		text += some
	}
	now, err := r.operate().Requests(t.Context(), -1)
	taken := strings.Count(text, "waits for the operator. Go on") / 2 // in words and as data
	if err != nil || len(now.Requests) != taken || taken < 5 || taken > 50 || !strings.Contains(text, "you ask too fast") {
		t.Errorf("%d were taken down, and %d are there, %v", taken, len(now.Requests), err)
	}
	for _, s := range now.Requests {
		if s.State != requests.Pending {
			t.Errorf("got %+v", s)
		}
	}
}
