//go:build linux

package bundle

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/need"
)

// npmClient is a client of MCP from npm that scripts/setup --test has installed.
func npmClient(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("BOT_BOTTLE_MCP_CLIENTS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "bot-bottle-test", "mcp")
	}
	path := filepath.Join(dir, "node_modules", ".bin", name)
	if _, err := os.Stat(path); err != nil {
		need.Lacking(t, need.MCP, fmt.Errorf("scripts/setup --test installs it, where there is Node 20: %w", err))
	}
	return path
}

// atTCP is where a client finds the bottle's MCP server.
func (r *running) atTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: l.Addr().String()})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "supervise.sock"))
	}}
	proxy.Transport = transport
	server := &http.Server{Handler: proxy}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); transport.CloseIdleConnections() })
	return "http://" + l.Addr().String() + "/mcp"
}

func runClient(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), npmClient(t, name), args...)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "HOME="+c.Dir)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%.3000s", name, args, err, out)
	}
	return string(out)
}

// The protocol's own conformance suite passes: those of its scenarios that are not about
// features, or about tools of a test server, that ours does not have.
func TestMCPConformance(t *testing.T) {
	client := supervised(t).atTCP(t)
	for _, scenario := range []string{"server-initialize", "ping", "tools-list"} {
		t.Run(scenario, func(t *testing.T) {
			out := runClient(t, "conformance", "server", "--url", client, "--scenario", scenario)
			if !strings.Contains(out, "Passed: ") || !strings.Contains(out, ", 0 failed") {
				t.Errorf("got %.3000s", out)
			}
		})
	}
}

// The inspector lists the tools and calls one; the request is there for the operator.
func TestMCPInspector(t *testing.T) {
	r := supervised(t)
	at := r.atTCP(t)
	list := runClient(t, "mcp-inspector", "--cli", at, "--transport", "http", "--method", "tools/list")
	for _, tool := range []string{"list_policy", "request_egress", "request_git", "request_capability", "request_secret", "request_limit", "ask_operator", "check_request", "cancel_request", "list_requests"} {
		if !strings.Contains(list, `"`+tool+`"`) {
			t.Errorf("%s is not listed: %.3000s", tool, list)
		}
	}
	out := runClient(t, "mcp-inspector", "--cli", at, "--transport", "http", "--method", "tools/call", "--tool-name", "request_egress", "--tool-arg", "host=docs.example", "--tool-arg", "why=to read")
	if s := r.pending(t); !strings.Contains(out, s.ID) || s.Routes[0].Host != "docs.example" {
		t.Errorf("got %s, %+v", out, s)
	}
}
