package dashboard

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Found is a bottle that there is.
type Found struct {
	bottle.ActiveAgent
	Running bool
	Ended   time.Time // if it does not run
	Code    *int      // its agent's exit status, if that is known
}

// Bottles finds and ends bottles. An error with some bottles is that others could not be
// looked for.
type Bottles interface {
	Bottles(context.Context) ([]Found, error)
	Stop(ctx context.Context, identity string) error
	Agents() ([]string, error) // that can be started
}

// Desks reach the operator's desk of each bottle, over its control API.
type Desks interface {
	// Watch tells what is asked in a bottle, at once, at every change and now and then
	// between, until the connection or ctx ends.
	Watch(ctx context.Context, identity string, tell func(control.Requests)) error
	Decide(ctx context.Context, identity, id string, d requests.Decision) (requests.Shown, error)
	Revoke(ctx context.Context, identity, id string) error
	Diff(ctx context.Context, identity, id string) (string, error)
	// Allow puts a route first, Deny takes a host's routes away.
	Allow(ctx context.Context, identity string, r policy.Route) error
	Deny(ctx context.Context, identity, host string, port int) error
	// ForGood is the change of the manifest that a request comes to.
	ForGood(requests.Shown) (Change, error)
	// Edit lets the operator change what is asked for, in an editor, on a terminal that is
	// theirs.
	Edit(ctx context.Context, s requests.Shown) error
}

// Change of a file that the operator has not seen yet.
type Change struct {
	Diff  string
	Write func() error
}

// Logs are what bottles did.
type Logs interface {
	// Follow tells every event of a bottle's, from the first one on, until its log or ctx ends.
	Follow(ctx context.Context, identity string, tell func(audit.Event)) error
}

// State of an agent.
type State string

// States, those that need the operator first.
const (
	WaitsForYou  State = "waits for you"   // it asked, and waits for an answer
	WaitsForText State = "waits for input" // its program waits for something to be typed
	CutOff       State = "cut off"         // its sidecar bundle does not run
	Working      State = "working"         //
	Idle         State = "idle"            //
	Exited       State = "exited"          //
	unknown      State = ""                //
)

// Screen is an agent's terminal as it is now.
type Screen struct {
	State State     // WaitsForText, Working, Idle, or "" if that is not known
	Since time.Time // when State began
	Lines []string  // text, from top to bottom
}

// ErrNoScreen is Screens' answer for a bottle whose screen cannot be looked at.
var ErrNoScreen = errors.New("it has no terminal: its output goes to who started it")

// errLooking is why there is no screen at first.
var errLooking = errors.New("looking at its terminal …")

// Screens look at agents' terminals.
type Screens interface {
	// Look opens one; the error is ErrNoScreen for a bottle that has none.
	Look(ctx context.Context, identity string) (Look, error)
}

// Look is an open look at a terminal, for one goroutine. After an error it is of no more use.
type Look interface {
	Screen(context.Context) (Screen, error)
	Close() error
}

// Terminal runs other programs in the operator's terminal.
type Terminal interface {
	// Self is a run of this program with other arguments.
	Self(args ...string) *exec.Cmd
	// Foreground runs a program on the operator's terminal, which the dashboard has left. What it
	// said when it failed stays until the operator has seen it.
	Foreground(*exec.Cmd) error
	// Passed is what such a run needs of the environment, NAME=value: nothing secret.
	Passed() []string
}
