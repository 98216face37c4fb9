package policy

import (
	"slices"
	"strings"
)

// Covers reports whether all that more allows is allowed already, as far as can be said for
// sure without the upstream's refs.
func (p Push) Covers(more Push) bool {
	if more.Force && !p.Force || more.Delete && !p.Delete {
		return false
	}
	return !slices.ContainsFunc(more.Refs, func(ref string) bool { return !p.coversRef(ref) })
}

func (p Push) coversRef(ref string) bool {
	if slices.Contains(p.Refs, ref) {
		return true
	}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if strings.Contains(ref, "*") || isBranch && p.protects(branch, ref, Refs{}) {
		return false
	}
	return slices.ContainsFunc(p.Refs, func(glob string) bool { return matchRef(glob, ref) })
}

// Opens names those of the refs that are protected branches, which stand there by their full
// name: globs leave them closed.
func (p Push) Opens() []string {
	var open []string
	for _, ref := range p.Refs {
		if branch, isBranch := strings.CutPrefix(ref, "refs/heads/"); isBranch && p.protects(branch, ref, Refs{}) {
			open = append(open, branch)
		}
	}
	return open
}
