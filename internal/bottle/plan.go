package bottle

import "io"

// Plan is everything resolved and nothing created: plain data that can be shown.
type Plan interface {
	// WriteSummary writes the preflight that the operator answers y or N to. It
	// must name credentials and never hold one.
	WriteSummary(io.Writer) error
}

// CleanupPlan is what a cleanup would remove.
type CleanupPlan interface {
	// Leftovers lists it, and what is left over and stays, in the order to show it.
	Leftovers() []Leftover
}
