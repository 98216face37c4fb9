package guest

import (
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// In a virtual machine the guest is process 1 of a workload that starts before anything was
// brought in, and goes on after the agent ended. What to run it is told on its socket, which
// nobody but root may speak on: a line with a verb, and what belongs to that.

// Order is what a guest in a machine is told to run.
type Order struct {
	Argv     []string          `json:"argv"`
	Env      []string          `json:"env"`
	Dir      string            `json:"dir"`
	Services []control.Service `json:"services"` // that there are; the others' sockets lead nowhere
	Size     session.Size      `json:"size"`     // of the terminal; zero: the agent has none
	Stdin    bool              `json:"stdin"`    // without a terminal: it has a standard input
	Awaited  bool              `json:"awaited"`  // an operator is on the way
	NProc    uint64            `json:"nproc"`    // how many processes the agent's user may have
}

func (o Order) terminal() bool { return o.Size.Width > 0 }

// Condition is how far a guest in a machine is.
type Condition struct {
	Begun    bool `json:"begun"`
	Terminal bool `json:"terminal"`
	Ended    bool `json:"ended"`
	Status   int  `json:"status"`
}

// Verbs on the guest's socket.
const (
	verbBegin   = "begin"   // an Order, a line; the answer is an outcome, a line
	verbSession = "session" // of a terminal: package session
	verbPipe    = "pipe"    // of an agent without one: session.Pipe
	verbStatus  = "status"  // the answer is a Condition, a line
	verbEnd     = "end"     // asks the agent to end; the answer comes when it has
)

// outcome answers an Order.
type outcome struct {
	Error string `json:"error,omitempty"`
}

// Where a guest in a machine keeps things. All is root's.
const (
	environmentFile = "/etc/bot-bottle/environment.json" // what every process in the bottle sees
	transcriptFile  = "/var/lib/bot-bottle/transcript"
)
