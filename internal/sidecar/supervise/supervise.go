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
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// Server is a bottle's supervise service.
type Server struct {
	http *http.Server
}

// Bounds of what a client may send.
const (
	maxBody     = 64 << 10
	headTimeout = 10 * time.Second
)

// New makes the service of one bottle.
func New(c control.Counter, log *slog.Logger) (*Server, error) {
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
	return &Server{&http.Server{
		Handler: mux, ReadHeaderTimeout: headTimeout, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

// Serve serves l until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = s.http.Close() })()
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

const instructions = `You work in a bottle: a machine without a network, but for what its operator allows. These tools
ask the operator for more. When a program is refused (HTTP 403 from the bottle's policy, or a name that does not resolve), do not
try to get around it: call list_policy to see what is allowed, request_egress to ask for what the task needs, and
check_request to wait for the answer. Ask for the least that does it, in one go, and say why; go on with other work
meanwhile. A rejection is final unless something has changed.`
