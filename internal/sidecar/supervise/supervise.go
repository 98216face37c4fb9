// Package supervise is the door through which a bottle's agent asks its operator for
// more: an MCP server (streamable HTTP) on the bottle's supervise socket.
//
// It only takes asks down, by way of the bundle's parent (control.Counter), and says what
// became of them. It must never be able to decide one: whoever takes it over can ask, as the
// agent can, and nothing else.
package supervise

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// Server is a bottle's supervise service.
type Server struct {
	http *http.Server
	gone <-chan struct{} // the parent is
}

// Bounds of what a client may send.
const (
	maxBody     = 64 << 10
	headTimeout = 10 * time.Second
)

// New makes the service of one bottle.
func New(c *control.CounterClient, log *slog.Logger) (*Server, error) {
	scanner, err := dlp.New(dlp.Options{})
	if err != nil {
		return nil, err
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "bot-bottle", Title: "The operator of this bottle", Version: version}, &mcp.ServerOptions{
		Instructions: instructions,
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	addTools(server, &desk{c, scanner})
	// Without sessions there is nothing to lose when the service is started again, and
	// nothing that an agent could pile up.
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, MaxRequestBodyBytes: maxBody,
	})
	mux := http.NewServeMux()
	mux.Handle("/mcp", handler)
	return &Server{gone: c.Gone(), http: &http.Server{
		Handler: localOnly(mux), ReadHeaderTimeout: headTimeout, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

// localOnly refuses what a web page in a browser in the bottle would send, under a name that it
// made lead here: MCP servers must (specification 2025-11-25, transports, security warning).
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if !local(r.Host) || origin != "" && !local(strings.TrimPrefix(origin, "http://")) {
			http.Error(w, "this is for programs in the bottle, at 127.0.0.1", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local reports whether an authority is this machine.
func local(authority string) bool {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	return host == "127.0.0.1" || host == "localhost"
}

// errGone ends the service, to be started again with a connection that works.
var errGone = errors.New("the connection to the bundle has ended")

// Serve serves l until ctx ends, and closes it; with an error if the parent is gone.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(l) }()
	var why error
	select {
	case err := <-ended:
		return err
	case <-s.gone:
		why = errGone
	case <-ctx.Done():
	}
	_ = s.http.Close()
	<-ended
	return why
}

const instructions = `You work in a bottle: a machine without a network, but for what its operator allows. These tools
ask the operator for more. When a program is refused (HTTP 403 from the bottle's policy, or a name that does not resolve), do not
try to get around it: call list_policy to see what is allowed, request_egress to ask for what the task needs, and
check_request to wait for the answer. Ask for the least that does it, in one go, and say why; go on with other work
meanwhile. A rejection is final unless something has changed.`
