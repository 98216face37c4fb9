package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Holder is where git-gate hands in pushes that wait for the operator. Nothing can be
// decided here, and nothing else asked for. It may be used concurrently.
type Holder interface {
	// Hold takes a push down; the same one again is the same request. A *requests.Refusal is
	// for the agent.
	Hold(ctx context.Context, p HeldPush) (requests.Request, error)
	// Decision returns a push as soon as it is not pending any more, or as it is when the
	// time is up.
	Decision(ctx context.Context, id string, atMost time.Duration) (requests.Request, error)
	// Done says what became of an approved push. Where it is recorded that the upstream has it, that
	// is known already.
	Done(ctx context.Context, id, result string) error
	// Again has an approved push wait for another decision: the upstream has not said what it makes of it.
	Again(ctx context.Context, id, why string) error
	// Pushed hands in what a push has changed that did not wait and that the upstream has, for
	// the operator to look at.
	Pushed(ctx context.Context, p Pushed) error
}

// Pushed is a push that the upstream has.
type Pushed struct {
	Key  string `json:"key"`  // PushKey's
	Text string `json:"text"` // the diff, at most MaxPushed bytes
}

// MaxPushed bounds the diff of a push that did not wait, in bytes.
const MaxPushed = 256 << 10

// PushKey names a push by what it changed, in place of a request's ID: a Desk has the diffs of
// the last ones.
func PushKey(repository string, updates []audit.Update) string {
	what := []string{repository}
	for _, u := range updates {
		what = append(what, u.Old, u.New)
	}
	text, _ := json.Marshal(what) // of strings
	sum := sha256.Sum256(text)
	return "push-" + hex.EncodeToString(sum[:16])
}

// Forwarded is the result of a push that the upstream has.
const Forwarded = requests.Forwarded

// HeldPush is a push that waits, with its diff, which whoever looks at it wants to see.
type HeldPush struct {
	requests.Push
	Text string `json:"text"` // the diff, perhaps cut
}

// ServeHolder answers git-gate's questions on conn until ctx ends or conn does.
func ServeHolder(ctx context.Context, conn net.Conn, h Holder) {
	serveLink(ctx, conn, holderHandler(h))
}

func holderHandler(h Holder) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pushes", func(w http.ResponseWriter, r *http.Request) {
		var p HeldPush
		if read(w, r, &p) {
			taken, err := h.Hold(r.Context(), p)
			answerAgent(w, taken, err)
		}
	})
	mux.HandleFunc("GET /pushes/{id}", func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
		if err != nil {
			wait = 0
		}
		found, err := h.Decision(r.Context(), r.PathValue("id"), min(wait, maxWait))
		answerAgent(w, found, err)
	})
	mux.HandleFunc("POST /pushed", func(w http.ResponseWriter, r *http.Request) {
		var p Pushed
		if read(w, r, &p) {
			answerAgent(w, nil, h.Pushed(r.Context(), p))
		}
	})
	mux.HandleFunc("PUT /pushes/{id}/result", func(w http.ResponseWriter, r *http.Request) {
		var result string
		if read(w, r, &result) {
			answerAgent(w, nil, h.Done(r.Context(), r.PathValue("id"), result))
		}
	})
	mux.HandleFunc("PUT /pushes/{id}/again", func(w http.ResponseWriter, r *http.Request) {
		var why string
		if read(w, r, &why) {
			answerAgent(w, nil, h.Again(r.Context(), r.PathValue("id"), why))
		}
	})
	return mux
}

// HolderClient asks a Holder at the other end of a connection. It may be used
// concurrently.
type HolderClient struct{ *CounterClient }

// NewHolderClient takes conn over.
func NewHolderClient(conn net.Conn) HolderClient { return HolderClient{NewCounterClient(conn)} }

var _ Holder = HolderClient{}

// Hold implements Holder.
func (c HolderClient) Hold(ctx context.Context, p HeldPush) (requests.Request, error) {
	var taken requests.Request
	return taken, c.call(ctx, http.MethodPost, "/pushes", p, &taken)
}

// Decision implements Holder.
func (c HolderClient) Decision(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	var found requests.Request
	return found, c.call(ctx, http.MethodGet, fmt.Sprintf("/pushes/%s?wait=%s", url.PathEscape(id), atMost), nil, &found)
}

// Pushed implements Holder.
func (c HolderClient) Pushed(ctx context.Context, p Pushed) error {
	return c.call(ctx, http.MethodPost, "/pushed", p, nil)
}

// Done implements Holder.
func (c HolderClient) Done(ctx context.Context, id, result string) error {
	return c.call(ctx, http.MethodPut, "/pushes/"+url.PathEscape(id)+"/result", result, nil)
}

// Again implements Holder.
func (c HolderClient) Again(ctx context.Context, id, why string) error {
	return c.call(ctx, http.MethodPut, "/pushes/"+url.PathEscape(id)+"/again", why, nil)
}
