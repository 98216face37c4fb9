package bottle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/bot-bottle/bot-bottle/internal/session"
	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// User is who a command runs as in a bottle.
type User string

const (
	Node User = "node" // uid 1000, the agent's own
	Root User = "root" // uid 0, without a single capability
)

// ErrNotRunning is Open's answer for a bottle that does not run.
var ErrNotRunning = errors.New("no such bottle is running")

// ErrRunning is the answer of Remove, and of Prepare to a resume, for a bottle that runs.
var ErrRunning = errors.New("the bottle is running")

// ErrGone is Prepare's answer to a resume of what is not there any more.
var ErrGone = errors.New("its home and workspace are gone")

// GoneError is ErrGone of a bottle of which something is there still.
type GoneError struct {
	Identity   string
	Gone, Left string // in words, such as home
	At         string // where in the bottle that is which is left
}

func (e *GoneError) Error() string { return e.Identity + ": its " + e.Gone + " is gone" }

// Is makes it an ErrGone.
func (e *GoneError) Is(target error) bool { return target == ErrGone }

// Hint says what to do.
func (e *GoneError) Hint() string {
	return fmt.Sprintf("its %s is there still: bot-bottle cp %s:%s DIR fetches it", e.Left, e.Identity, e.At)
}

// ErrElsewhere is the answer for a bottle that another engine has.
var ErrElsewhere = errors.New("it is on another engine than the one at hand")

// ErrAbsent is Available's answer where the backend's program is not installed at all: verbs that
// look at all backends leave it out without a word.
var ErrAbsent = errors.New("it is not installed here")

// Bottle is a running bottle. Its methods may be called concurrently.
type Bottle interface {
	Name() string // the identity
	// AgentArgv is the host-side command that opens the agent's terminal.
	AgentArgv(args []string, tty bool) []string
	// Agent connects io to the agent, from its first byte when this Bottle came from
	// Launch, and returns its exit status when it ends. ErrDetached means that the
	// operator left it running. It may be called once for a launched bottle. With a TTY
	// the agent's terminal is the bottle's own: whatever becomes of io, the connection or
	// this process, the agent goes on, and the end of ctx is ErrDetached, too.
	Agent(ctx context.Context, io IO) (int, error)
	// Watch opens a stream on which the agent's screen can be looked at, time and again,
	// without being attached to it. The error is ErrNoTerminal when it has none. The caller
	// closes it.
	Watch(ctx context.Context) (*session.Watcher, error)
	// Exec runs a POSIX sh script. A non-zero exit is not an error.
	Exec(ctx context.Context, script string, user User) (ExecResult, error)
	// Run runs argv connected to io and returns its exit status.
	Run(ctx context.Context, argv []string, user User, io IO) (int, error)
	// CopyIn copies a file or a tree from the host, owned by Node. Symbolic links
	// are copied as they are, never followed.
	CopyIn(ctx context.Context, hostPath, bottlePath string) error
	// Control opens a stream to the control API of the bottle's sidecar bundle (package
	// control). The caller closes it. The bottle itself can never reach it.
	Control(ctx context.Context) (net.Conn, error)
	// Detach lets go of the bottle and leaves it running. Close does nothing after it.
	Detach() error
	// Close ends the bottle: the agent is asked, then made, to end; everything goes
	// but what the bottle was to keep. It is idempotent, has its own timeout, and also
	// ends a bottle that another process holds.
	Close() error
}

// ErrDetached is returned by Bottle.Agent when the operator detached.
var ErrDetached = session.ErrDetached

// ErrNoTerminal is returned by Bottle.Watch for an agent that was started without one.
var ErrNoTerminal = errors.New("its agent has no terminal")

// EndedError is Open's answer for a bottle whose agent has ended by itself while nobody held
// it: it is ErrNotRunning, and knows how.
type EndedError struct {
	Identity string
	Code     int
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("%s has ended, with status %d", e.Identity, e.Code)
}

// Is makes it ErrNotRunning.
func (e *EndedError) Is(target error) bool { return target == ErrNotRunning }

// ExecResult is what a script left behind. Output is bounded to 1 MiB each.
type ExecResult struct {
	Code           int
	Stdout, Stderr []byte
}

// IO connects a process in a bottle with the operator. Stdin may be nil. With a
// TTY, Stderr is unused, and Size delivers the terminal's size: at once, then at
// every change.
type IO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	Size           <-chan Size
	View           View // how Agent shows a terminal
}

// Size of a terminal in cells.
type Size = session.Size

// View is what an operator wants of the agent's terminal.
type View struct {
	DetachKeys []byte           // also of Run; none if empty
	Allow      []terminal.Allow // what may reach beyond the screen of the operator's terminal
	ReadOnly   bool             // nothing that is typed gets to the agent
	Only       bool             // nobody else types meanwhile
	History    int              // how many lines of what has scrolled off are shown
	Colours    bool             // the operator's terminal can be asked for its colours
}
