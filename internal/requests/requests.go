// Package requests is what a bottle's agent asks of its operator, what was decided, and
// what is granted because of it.
//
// It is pure: the caller brings the time, keeps two calls from running at once, and puts
// the resulting policy in force. It must never grant what was not shown: a decision names
// the digest of what it is about, and is refused if that has changed meanwhile. No answer
// is no. Whatever the agent says is hostile text: it is cleaned when it comes in, and
// never becomes a part of what is decided.
package requests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Kind is what is asked for.
type Kind string

const (
	Egress     Kind = "egress"     // routes that the bottle does not have
	Secret     Kind = "secret"     // a credential for a host, which the operator supplies and the agent never sees
	Limit      Kind = "limit"      // more of a limit
	Question   Kind = "question"   // an answer
	Repo       Kind = "git"        // a repository, or refs of one that the bottle has
	Capability Kind = "capability" // a change of the image
	Pushing    Kind = "push"       // a push that waits: git-gate asks, not the agent
)

// State is how far a request is.
type State string

const (
	Pending   State = "pending"
	Approved  State = "approved" // its grant may have ended since
	Rejected  State = "rejected"
	Answered  State = "answered"
	Cancelled State = "cancelled" // by the agent
)

// Ask is what an agent asks for. Which fields apply, Kind says.
type Ask struct {
	Kind     Kind           `json:"kind"`
	Route    *policy.Route  `json:"route,omitempty"`    // Egress, Secret: host, port, protocol, methods, paths; nothing else is looked at
	Auth     *policy.Auth   `json:"auth,omitempty"`     // Secret: its name, and how it is put on
	Host     string         `json:"host,omitempty"`     // Limit: the route's; "" for the bottle's own
	More     *policy.Limits `json:"more,omitempty"`     // Limit: to be added; the window stays
	Question string         `json:"question,omitempty"` // Question
	Choices  []string       `json:"choices,omitempty"`  // Question
	Git      *Git           `json:"git,omitempty"`      // Repo: repository (a name or a URL), and of push refs, force, delete
	Image    *Image         `json:"image,omitempty"`    // Capability
	Push     *Push          `json:"push,omitempty"`     // Pushing
	Why      string         `json:"why,omitempty"`
	For      policy.Span    `json:"for,omitempty"` // how long; 0: as long as the bottle runs
}

// Request is one that was taken down.
type Request struct {
	ID       string         `json:"id"`
	Kind     Kind           `json:"kind"`
	State    State          `json:"state"`
	Routes   []policy.Route `json:"routes,omitempty"`
	Host     string         `json:"host,omitempty"`
	More     *policy.Limits `json:"more,omitempty"`
	Question string         `json:"question,omitempty"`
	Choices  []string       `json:"choices,omitempty"`
	Git      *Git           `json:"git,omitempty"`
	Image    *Image         `json:"image,omitempty"`
	Push     *Push          `json:"push,omitempty"`
	Why      []string       `json:"why,omitempty"` // the agent's words, cleaned; one for each time it asked
	For      policy.Span    `json:"for,omitempty"`
	Asked    time.Time      `json:"asked"`
	Edited   bool           `json:"edited,omitempty"` // by the operator: it is not what the agent asked for
	Again    string         `json:"again,omitempty"`  // of a push that waits though it was approved: why it did not go
	Decided  *Outcome       `json:"decided,omitempty"`
	Grant    *Grant         `json:"grant,omitempty"` // of an approved one
}

// Open reports whether something is still to come of a request: it waits, or its grant has not
// ended.
func (r Request) Open() bool { return r.State == Pending || r.Grant.live() }

// Outcome is what became of a request.
type Outcome struct {
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`     // who decided, as the operator's side says
	Reason string    `json:"reason,omitempty"` // of a rejection
	Answer string    `json:"answer,omitempty"` // to a question
	Result string    `json:"result,omitempty"` // of an approved push: Forwarded, or why it was not
	Digest string    `json:"digest,omitempty"` // of what was shown
}

// Forwarded is the Result of a push that the upstream has.
const Forwarded = "forwarded"

// Scope says when a grant ends. The zero Scope is for as long as the bottle runs.
type Scope struct {
	Uses int64       `json:"uses,omitempty"` // that many requests
	For  policy.Span `json:"for,omitempty"`  // from the decision on
}

// Grant is what an approved request gives. It ends once.
type Grant struct {
	Scope
	Until time.Time `json:"until,omitzero"`
	Used  int64     `json:"used,omitempty"`
	Ended time.Time `json:"ended,omitzero"`
	Why   string    `json:"why,omitempty"` // of its end
}

func (g *Grant) live() bool { return g != nil && g.Ended.IsZero() }

// Decision is the operator's. Digest is that of what it was shown (Shown).
type Decision struct {
	Digest  string `json:"digest"`
	Approve bool   `json:"approve,omitempty"`
	Scope   Scope  `json:"scope,omitzero"`
	Reason  string `json:"reason,omitempty"`
	Answer  string `json:"answer,omitempty"`
	Secret  string `json:"secret,omitempty"` // the value that was asked for, in clear: the caller keeps it, the ledger does not
	By      string `json:"by,omitempty"`

	Credential *Credential `json:"credential,omitempty"` // for a new repository, in place of what was shown; the same
}

// Format prints no value.
func (d Decision) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "[decision on %s, approve %t]", d.Digest, d.Approve)
}

// digest names everything that a decision is about: v is of strings, numbers, slices and
// maps of those.
func digest(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
