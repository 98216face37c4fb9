package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Requests is a bottle's ledger at one moment.
type Requests struct {
	Revision int              `json:"revision"` // goes up with each change
	Requests []requests.Shown `json:"requests"`
}

// Desk is where the operator decides requests. It may be used concurrently.
type Desk interface {
	// Requests waits until there is another revision than after, or ctx ends.
	Requests(ctx context.Context, after int) Requests
	// Decide carries a decision out: requests.ErrUnknown, requests.ErrChanged, or what else
	// is in the way.
	Decide(id string, d requests.Decision) (requests.Shown, error)
	// Edit puts something else in place of what was asked for.
	Edit(id, digest string, c requests.Change) (requests.Shown, error)
	// Revoke ends a grant.
	Revoke(id string) (requests.Shown, error)
	// Diff is what a push that waits would change, or one of the last that the upstream has (by
	// PushKey) has changed. It is the agent's text, byte for byte.
	Diff(id string) (string, error)
}

// edit is what Edit sends.
type edit struct {
	Digest string `json:"digest"`
	requests.Change
}

// longPoll is how long a question for changes is held open.
const longPoll = 20 * time.Second

// handleDesk serves a Desk.
//
//	GET    /v1/requests?after=REVISION   → Requests; waits for another revision up to 20 s
//	POST   /v1/requests/ID/decision      Decision → Shown; 409 when it has changed
//	PUT    /v1/requests/ID/asked         {digest, routes, push} → Shown; the same
//	DELETE /v1/requests/ID/grant         → Shown
//	GET    /v1/requests/ID/diff          → string
func handleDesk(mux *http.ServeMux, desk Desk) {
	mux.HandleFunc("GET /v1/requests", func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.Atoi(r.URL.Query().Get("after"))
		if err != nil {
			after = -1
		}
		ctx, cancel := context.WithTimeout(r.Context(), longPoll)
		defer cancel()
		answer(w, desk.Requests(ctx, after), nil)
	})
	mux.HandleFunc("POST /v1/requests/{id}/decision", func(w http.ResponseWriter, r *http.Request) {
		var d requests.Decision
		if read(w, r, &d) {
			shown, err := desk.Decide(r.PathValue("id"), d)
			answer(w, shown, err)
		}
	})
	mux.HandleFunc("PUT /v1/requests/{id}/asked", func(w http.ResponseWriter, r *http.Request) {
		var e edit
		if read(w, r, &e) {
			shown, err := desk.Edit(r.PathValue("id"), e.Digest, e.Change)
			answer(w, shown, err)
		}
	})
	mux.HandleFunc("DELETE /v1/requests/{id}/grant", func(w http.ResponseWriter, r *http.Request) {
		shown, err := desk.Revoke(r.PathValue("id"))
		answer(w, shown, err)
	})
	mux.HandleFunc("GET /v1/requests/{id}/diff", func(w http.ResponseWriter, r *http.Request) {
		text, err := desk.Diff(r.PathValue("id"))
		answer(w, text, err)
	})
}

// Diff returns what a push would change, or has changed (see Desk).
func (c Client) Diff(ctx context.Context, id string) (string, error) {
	var text string
	return text, c.call(ctx, http.MethodGet, requestPath(id, "diff"), nil, &text)
}

// Requests returns the bottle's requests: at once if after is not the current revision, else
// when they change or some seconds have passed. A negative after never waits.
func (c Client) Requests(ctx context.Context, after int) (Requests, error) {
	var now Requests
	return now, c.call(ctx, http.MethodGet, "/v1/requests?after="+strconv.Itoa(after), nil, &now)
}

// Decide carries a decision out (see Desk). requests.ErrChanged if what was shown is not
// what there is any more.
func (c Client) Decide(ctx context.Context, id string, d requests.Decision) (requests.Shown, error) {
	var shown requests.Shown
	return shown, changed(c.call(ctx, http.MethodPost, requestPath(id, "decision"), d, &shown))
}

// Edit puts something else in the place of what was asked for (see Desk).
func (c Client) Edit(ctx context.Context, id, digest string, to requests.Change) (requests.Shown, error) {
	var shown requests.Shown
	return shown, changed(c.call(ctx, http.MethodPut, requestPath(id, "asked"), edit{digest, to}, &shown))
}

// Revoke ends a grant (see Desk).
func (c Client) Revoke(ctx context.Context, id string) (requests.Shown, error) {
	var shown requests.Shown
	return shown, c.call(ctx, http.MethodDelete, requestPath(id, "grant"), nil, &shown)
}

func requestPath(id, what string) string {
	return fmt.Sprintf("/v1/requests/%s/%s", url.PathEscape(id), what)
}

// changed says what a conflict about a request means.
func changed(err error) error {
	if errors.Is(err, ErrConflict) {
		return requests.ErrChanged
	}
	return err
}
