// Package smolmachines runs bottles in micro-VMs, by the command smolvm: a machine without a
// network, with a guest of ours as process 1 of its workload, and a sidecar bundle of host
// processes, whose sockets are mounted into it (DESIGN §2, §4).
//
// It knows smolvm by its command line alone, and believes nothing that it prints before a machine
// was seen to be as it must: what is not understood is refused. It must never put a secret into
// an argument, an environment or a label, and never open a network.
package smolmachines

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Driver implements bottle.Driver. Its fields are set once, before use.
type Driver struct {
	State   state.Store
	Images  Images // nil where there is no engine: then a bottle names its archive
	Engine  error  // why there is none
	Self    string // our own executable, for the bundle
	Binary  string // our own linux executable, for the guest
	Version string // of this program, for the record
	Roots   func() (string, error)
	Getenv  func(string) string
	Log     *slog.Logger
	Now     func() time.Time

	patience time.Duration // bounds every wait for smolvm, and for a guest's answer; 0: each has its own limit
}

// Images makes the images that bottles run, and copies them out of the engine.
type Images interface {
	resolve.Images
	Save(ctx context.Context, id string) (io.ReadCloser, error)
}

var _ bottle.Driver[Plan, bottle.Tasks] = (*Driver)(nil)

// Name is what --backend says.
func (d *Driver) Name() string { return "smolmachines" }
