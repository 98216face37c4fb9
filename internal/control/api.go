package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Socket is where the control API is served: in the bundle's own file system, in a
// directory that is root's alone. Neither the bottle nor a service can reach it.
const Socket = "/run/bot-bottle-control/bundle.sock"

// Policy is what a running bottle may reach.
type Policy struct {
	Revision int `json:"revision"` // goes up with each change
	policy.Policy
	Secrets []string           `json:"secrets"`          // names, which auth may refer to
	Grants  []requests.Request `json:"grants,omitempty"` // what is allowed beside it, until each ends
	Left    []policy.Left      `json:"left,omitempty"`   // of limits, those of grants among them; nil where there are none, or nobody knows
}

// NewValue replaces the value of a secret that the bottle has. It holds the value in
// clear: see the package comment.
type NewValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// API is what the bundle lets its host do. Its errors are for the operator. It may be
// used concurrently.
type API interface {
	Policy() Policy
	// SetPolicy puts a policy in force in place of that of a revision; ErrConflict if that
	// is not the current one any more.
	SetPolicy(revision int, p policy.Policy) (Policy, error)
	// SetSecrets replaces values. What is not named stays.
	SetSecrets([]NewValue) error
	Desk
}

// ErrConflict says that somebody else was faster.
var ErrConflict = errors.New("somebody else has changed the policy meanwhile")

// DownError is a bundle that does not run: its bottle is cut off.
type DownError struct{ Identity string }

func (*DownError) Error() string { return "its sidecar bundle does not run" }

// Hint says what to do.
func (e *DownError) Hint() string {
	return "to go on with it: bot-bottle stop " + e.Identity + ", then bot-bottle resume " + e.Identity
}

// Handler serves an API: HTTP/1.1 and JSON.
//
//	GET /v1/egress           → Policy
//	PUT /v1/egress/policy    {revision, routes, deny, limits} → Policy; 409 for another revision
//	PUT /v1/egress/secrets   [NewValue, …] → 204
//
// and the Desk's (see handleDesk).
//
// Any other failure is 422 with {"error": "…"}.
func Handler(api API) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/egress", func(w http.ResponseWriter, _ *http.Request) { answer(w, api.Policy(), nil) })
	mux.HandleFunc("PUT /v1/egress/policy", func(w http.ResponseWriter, r *http.Request) {
		var asked Policy
		if read(w, r, &asked) {
			now, err := api.SetPolicy(asked.Revision, asked.Policy)
			answer(w, now, err)
		}
	})
	mux.HandleFunc("PUT /v1/egress/secrets", func(w http.ResponseWriter, r *http.Request) {
		var values []NewValue
		if read(w, r, &values) {
			answer(w, nil, api.SetSecrets(values))
		}
	})
	handleDesk(mux, api)
	return mux
}

// maxDocument bounds what is read from the other side.
const maxDocument = 16 << 20

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDocument))
	decoder.DisallowUnknownFields()
	if decoder.Decode(v) != nil || decoder.More() { // the cause may quote a secret
		answer(w, nil, errors.New("the request is not what this version reads"))
		return false
	}
	return true
}

type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	switch {
	case errors.Is(err, ErrConflict) || errors.Is(err, requests.ErrChanged):
		status, v = http.StatusConflict, failure{err.Error()}
	case err != nil:
		status, v = http.StatusUnprocessableEntity, failure{err.Error()}
	case v == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Client asks a bundle's control API. Each call makes one connection with Dial and closes
// it, unless it is of a Session. It may be used concurrently.
type Client struct {
	Dial func(context.Context) (net.Conn, error)
	kept *http.Transport
}

// Session is a Client that keeps its connection for the next call: to make one takes most of
// the time. The caller calls end.
func (c Client) Session() (session Client, end func()) {
	c.kept = c.transport()
	return c, c.kept.CloseIdleConnections
}

func (c Client) transport() *http.Transport {
	return &http.Transport{
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) },
	}
}

// callTimeout bounds one call.
const callTimeout = 30 * time.Second

// Policy returns what is in force.
func (c Client) Policy(ctx context.Context) (Policy, error) {
	var now Policy
	return now, c.call(ctx, http.MethodGet, "/v1/egress", nil, &now)
}

// SetPolicy puts a policy in force in place of that of a revision (see API).
func (c Client) SetPolicy(ctx context.Context, revision int, p policy.Policy) (Policy, error) {
	var now Policy
	return now, c.call(ctx, http.MethodPut, "/v1/egress/policy", Policy{Revision: revision, Policy: p}, &now)
}

// SetSecrets replaces values of secrets that the bottle has.
func (c Client) SetSecrets(ctx context.Context, values []NewValue) error {
	return c.call(ctx, http.MethodPut, "/v1/egress/secrets", values, nil)
}

func (c Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://bundle"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	transport := c.kept
	if transport == nil {
		transport = c.transport()
		transport.DisableKeepAlives = true
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if down := (*DownError)(nil); errors.As(err, &down) {
		return down
	}
	if err != nil {
		return fmt.Errorf("cannot ask the bottle's bundle: %w", errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return fmt.Errorf("cannot ask the bottle's bundle: %w", err)
	}
	return decode(response.StatusCode, data, out)
}

func decode(status int, data []byte, out any) error {
	var failed failure
	switch {
	case status == http.StatusNoContent:
		return nil
	case status == http.StatusOK && json.Unmarshal(data, out) == nil:
		return nil
	case status == http.StatusConflict:
		return ErrConflict
	case status == http.StatusUnprocessableEntity && json.Unmarshal(data, &failed) == nil && failed.Error != "":
		return errors.New(failed.Error)
	}
	return fmt.Errorf("the bottle's bundle answered %d: it is of another version", status)
}
