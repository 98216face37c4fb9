package smolmachines

import (
	"fmt"
	"io"
	"strconv"
	"strings"

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
	Kept    string // what of the manifest the machine of a resumed bottle does not have, in words
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

// keep has a resumed bottle's plan say what its machine was made with, and what of the manifest that is not.
func (p *Plan) keep(m machine, image string) {
	var not []string
	if p.Image != "" && p.Image != image {
		not = append(not, "image "+p.Image)
	}
	if m.CPUs > 0 && m.CPUs != p.cpus() {
		not = append(not, "cpus "+strconv.Itoa(p.cpus()))
		p.CPUs = float64(m.CPUs)
	}
	if m.Memory > 0 && m.Memory != p.memory() {
		not = append(not, fmt.Sprintf("memory %d MiB", p.memory()))
		p.Memory = m.Memory << 20
	}
	if p.Image = image; len(not) > 0 {
		p.Kept = ", which keeps what it was made with: not the manifest's " + strings.Join(not, ", ") + " (a new bottle has them)"
	}
}

// memory is in MiB, at least what smolvm takes.
func (p Plan) memory() int64 { return max(p.Memory>>20, 64) }

// WriteSummary writes the preflight; of a resumed bottle, also what has changed since.
func (p Plan) WriteSummary(w io.Writer) error { return p.Plan.WriteSummary(w, p.own()) }

func (p Plan) summary() string { return p.Summary(p.own()) }

func (p Plan) own() resolve.Own {
	return resolve.Own{
		Runtime: "a virtual machine without a network (smolvm " + p.Smolvm + ")" + p.Kept,
		Keeps:   fmt.Sprintf("the disk of machine %s, with %s and %s", machineName(p.Identity), provider.Home, provider.Workspace),
	}
}
