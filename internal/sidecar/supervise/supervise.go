// Package supervise is the door through which a bottle's agent asks its operator for
// more: an MCP server (streamable HTTP) on the bottle's supervise socket.
//
// It only takes asks down, by way of the bundle's parent (control.Counter), and says what
// became of them. It must never be able to decide one: whoever takes it over can ask, as the
// agent can, and nothing else.
package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/net/netutil"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// Server is a bottle's supervise service.
type Server struct {
	http *http.Server
	gone <-chan struct{} // the parent is
}

// Bounds of what clients may send. Connections beyond wait in the listener's queue: what a bottle
// makes us hold is its bundle's memory.
const (
	maxConnections = 128
	maxBody        = 64 << 10
	headTimeout    = 10 * time.Second
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
	addTools(server, newDesk(c, scanner))
	// Without sessions there is nothing to lose when the service is started again, and
	// nothing that an agent could pile up.
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true, MaxRequestBodyBytes: maxBody,
	})
	mux := http.NewServeMux()
	mux.Handle("/mcp", fewAtATime(handler))
	return &Server{gone: c.Gone(), http: &http.Server{
		Handler: localOnly(mux), ReadHeaderTimeout: headTimeout, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

// maxBatch is how many messages a body may have. Only one version of MCP had batches (2025-03-26):
// as many calls as fit into a body, all at once, whose answers are held until the last is there.
const maxBatch = 16

// fewAtATime refuses longer batches.
func fewAtATime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var batch []json.RawMessage
		switch {
		case err != nil:
			http.Error(w, "the body is too long, or did not come", http.StatusRequestEntityTooLarge)
		case json.Unmarshal(body, &batch) == nil && len(batch) > maxBatch:
			http.Error(w, fmt.Sprintf("a batch has at most %d messages", maxBatch), http.StatusBadRequest)
		default:
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		}
	})
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
	go func() { ended <- s.http.Serve(netutil.LimitListener(l, maxConnections)) }()
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

// instructions name every tool: what a model has not read of, it does not think of.
const instructions = `You work in a bottle: a machine without a network, but for what its operator allows. These tools ask the operator for more.

See first: list_policy says what is allowed now, what is left of the limits, and which grants end when.

Ask for the least that the task needs, all of it in one request, and say why in one plain sentence:
- request_egress: a host is refused (HTTP 403 with "egress_denied") or its name does not resolve.
- request_secret: a host answers 401 or 403 because it wants a login. You never see the credential; the proxy puts it on.
- request_git: a clone, a fetch or a push is refused. Afterwards use plain git under the usual URL, without a login.
- request_capability: a program is missing that you cannot install. The machine is restarted with it, and you go on.
- request_limit: HTTP 429 with "limit_reached", or too little is left for what you are about to do.
- ask_operator: only a person can decide it, and you cannot go on sensibly without an answer.

Each returns at once with a request's id. Go on with other work, then call check_request, which waits for the decision. After a
restart or when you have lost an id, list_requests has all of them. cancel_request takes one back that you no longer need.

Do not try to get around a refusal, and do not ask for the same again: a rejection stands until something has changed.`
