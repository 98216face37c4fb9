//go:build linux

package memory

import (
	"io"

	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// Plan is a bottle resolved for this process.
type Plan struct {
	resolve.Plan
	Dir string // of its home and workspace
}

// WriteSummary writes the preflight.
func (p Plan) WriteSummary(w io.Writer) error { return p.Plan.WriteSummary(w, p.own()) }

func (p Plan) summary() string { return p.Summary(p.own()) }

func (p Plan) own() resolve.Own {
	return resolve.Own{Runtime: "namespaces of this machine", Keeps: p.Dir}
}
