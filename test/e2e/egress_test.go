package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The operator opens a route of a running bottle and takes it back. Both hold at once,
// and nobody in the bottle can do the same.
func TestTheOperatorChangesARunningBottle(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	streams := make(chan struct{}, 1)
	l, err := net.Listen("tcp", "0.0.0.0:0") // the bundle comes over the engine's bridge
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			streams <- struct{}{}
			<-r.Context().Done()
		}
	}))
	_ = up.Listener.Close()
	up.Listener = l
	up.Start()
	t.Cleanup(up.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	target := gatewayName() + ":" + port
	identity := h.idle()
	fetch := func(path string) string {
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", "curl -sS -m 30 -N -o - -w ' %{http_code} %{exitcode}' http://"+target+path)
		if err != nil {
			t.Fatal(err)
		}
		return r.Stdout
	}
	if got := fetch("/"); !strings.Contains(got, " 403 0") {
		t.Errorf("before: got %q", got)
	}
	h.run(2, "", "egress", identity, "allow", "bad_host!")
	h.run(1, "", "egress", identity, "allow", "api.example", "--bearer", "NONE")
	h.run(1, "", "egress", identity, "deny", "nobody.example")
	h.run(0, "", "egress", identity, "allow", target, "--protocol", "http", "--private", "--bearer", "ANTHROPIC_API_KEY", "--method", "GET")
	if e := h.run(0, "", "egress", identity, "explain", "http://"+target+"/x"); !strings.Contains(e.Stdout, "ANTHROPIC_API_KEY") {
		t.Errorf("explained: %s", e.Stdout)
	}
	h.run(1, "", "egress", identity, "explain", "POST", "http://"+target+"/x")
	if got := fetch("/"); !strings.Contains(got, " 200 0") || strings.Contains(got, h.Key) {
		t.Errorf("allowed: got %q", got)
	}
	var now struct {
		Revision int
		Routes   []struct{ Host string }
		Secrets  []string
	}
	shown := h.run(0, "", "egress", identity, "show", "--json").Stdout
	if err := json.Unmarshal([]byte(shown), &now); err != nil || now.Revision != 2 || now.Routes[0].Host != gatewayName() || strings.Contains(shown, h.Key) {
		t.Errorf("got %s, %v", shown, err)
	}
	for words, want := range map[string]string{"allow": "api.anthropic.com", "deny": target, "explain": "https://api.anthropic.com/"} { // what a shell is offered
		for late := time.Now().Add(time.Minute); ; { // a shell is offered nothing where that takes a second
			got := h.run(0, "", "__complete", "egress", identity, words, "").Stdout
			if strings.Contains(got, want+"\n") {
				break
			}
			if time.Now().After(late) {
				t.Errorf("%s: offered %q, want %s", words, got, want)
				break
			}
		}
	}
	streaming := make(chan string)
	go func() { streaming <- fetch("/stream") }()
	<-streams
	h.run(0, "", "egress", identity, "deny", target)
	if got := <-streaming; !strings.Contains(got, " 200 18") && !strings.Contains(got, " 403") { // 18: partial file (curl(1))
		t.Errorf("what was open when it was taken back: got %q", got)
	}
	if got := fetch("/"); !strings.Contains(got, " 403 0") {
		t.Errorf("after: got %q", got)
	}
	// Attack G12: root in the bottle looks for the control API.
	found := h.run(0, "", "exec", "--root", identity, "--", "sh", "-c", "ls -A /run/bot-bottle; ls -d /run/bot-bottle-control /run/bot-bottle/*control* 2>/dev/null; curl -sS -m 5 --unix-socket /run/bot-bottle/egress.sock -X PUT -d '{}' -o /dev/null -w '%{http_code}' http://egress.bot-bottle/v1/egress/policy").Stdout
	if strings.Contains(found, "control") || !strings.Contains(found, "404") {
		t.Errorf("got %q", found)
	}
}

// A secret that has changed where it comes from is put in force while the bottle runs.
func TestASecretIsRefreshed(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	const old, fresh = "sk-ant-api03-the-one-before-0123456789", "sk-ant-api03-the-one-after-9876543210"
	write := func(name, content string) {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	write("bottles/filed.md", "---\nextends: sleeper\nsecrets: {ANTHROPIC_API_KEY: {file: key}}\n---\n")
	write("agents/filed.md", "---\nbottle: filed\n---\n")
	write("bottles/key", old)
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "filed").Stdout)
	t.Cleanup(func() { _, _ = h.Run(context.WithoutCancel(t.Context()), nil, "stop", identity) })
	arrives := func(want string) {
		t.Helper()
		got := h.inside(identity, "curl -sS -o /dev/null -w '%{http_code}' https://api.anthropic.com/api/hello").Stdout
		requests := h.Standin.Requests()
		if len(requests) == 0 || requests[len(requests)-1].Header.Get("X-Api-Key") != want {
			t.Errorf("got %s, %+v, want %s", got, requests, want)
		}
	}
	arrives(old)
	write("bottles/key", fresh)
	if got := h.run(0, "", "egress", identity, "refresh", "ANTHROPIC_API_KEY").Stdout; got != "ANTHROPIC_API_KEY\n" {
		t.Errorf("got %q", got)
	}
	arrives(fresh)
	h.run(1, "", "egress", identity, "refresh", "NONE")
}
