// Package guest is what runs inside a bottle: PID 1, and everything that makes "no
// network but a few unix sockets" invisible to ordinary programs (DESIGN §2).
//
// It holds no secret and decides nothing: whoever takes it over has what the agent has
// anyway. It must never carry a byte anywhere but to the bottle's sockets, and never
// answer a name by itself.
package guest

import (
	"io"
	"log/slog"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// Options of a guest. All but Terminal are needed.
type Options struct {
	Argv      []string     // the agent's command
	Dir       string       // its working directory
	SocketDir string       // where the services' sockets are
	Log       *slog.Logger // operators' log
	Terminal  *Terminal    // the agent gets one; nil: it gets our standard streams
}

// Terminal is what the agent's terminal begins as.
type Terminal struct {
	Size    session.Size
	Awaited bool      // an operator is on the way: at the agent's end, wait for that one
	Socket  string    // where operators come
	Record  io.Writer // where the transcript goes; nil for none
	Term    string    // what kind it is, for the transcript
}

// Where the guest listens. Ordinary programs find these by their environment.
const (
	proxyAddress     = "127.0.0.1:3128"
	gitGateAddress   = "127.0.0.1:9418"
	superviseAddress = "127.0.0.1:7717"
	dnsAddress       = "127.0.0.1:53"
)

// startGrace is how long egress may take to come up: it starts beside us.
const startGrace = 10 * time.Second

// relays say which listener leads to which socket.
func relays() map[string]control.Service {
	return map[string]control.Service{
		proxyAddress: control.Egress, gitGateAddress: control.GitGate, superviseAddress: control.Supervise,
	}
}
