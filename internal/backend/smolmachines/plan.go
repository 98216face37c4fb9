package smolmachines

import (
	"fmt"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// Plan is a bottle resolved for this host. It can be printed as it is: secrets are secret.Values.
type Plan struct {
	resolve.Plan

	Smolvm  string // its version
	Place   string
	Archive string // of the operator's, in an image's place; "" for none
	Dir     string // of the sockets
}

// Defaults of a machine.
const (
	defaultCPUs = 4
	diskGiB     = 20
)

// cpus are whole ones.
func (p Plan) cpus() int {
	n := int(p.CPUs)
	if float64(n) < p.CPUs {
		n++
	}
	return n
}

// memory is in MiB, at least what smolvm takes.
func (p Plan) memory() int64 { return max(p.Memory>>20, 64) }

// WriteSummary writes the preflight; of a resumed bottle, also what has changed since.
func (p Plan) WriteSummary(w io.Writer) error { return p.Plan.WriteSummary(w, p.own()) }

func (p Plan) summary() string { return p.Summary(p.own()) }

func (p Plan) own() resolve.Own {
	return resolve.Own{
		Runtime: "a virtual machine without a network (smolvm " + p.Smolvm + ")",
		Keeps:   fmt.Sprintf("the disk of machine %s, with %s and %s", machineName(p.Identity), provider.Home, provider.Workspace),
	}
}
