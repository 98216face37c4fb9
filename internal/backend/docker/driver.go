// Package docker runs bottles on a Docker engine: an agent container without a
// network, a sidecar bundle container that holds the policy and the credentials, and
// a volume of unix sockets between them (DESIGN §2, §4).
//
// It speaks the Engine API and never runs the docker command. It must never put a
// secret into anything that the engine stores: not into an environment, a label, an
// argument, an image or a volume. Secrets go over the bundle's standard input.
package docker

import (
	"log/slog"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Driver implements bottle.Driver. Its fields are set once, before use.
type Driver struct {
	Client  *client.Client
	State   state.Store
	Images  resolve.Images
	Binary  string // our own linux executable for the engine's architecture
	Version string // of this program, for the record
	Roots   func() (string, error)
	Log     *slog.Logger
	Now     func() time.Time
}

var _ bottle.Driver[Plan, bottle.Tasks] = (*Driver)(nil)

// Name is what --backend says.
func (d *Driver) Name() string { return "docker" }
