package policy

import "strings"

// Unrouted reports whether a Decision's reason says that no more is missing than a route, or
// a method or path of one. It is false for what a deny rule refuses, for what is ambiguous,
// and where a condition on the query or the body is not met: those are meant.
func Unrouted(reason string) bool {
	return strings.HasPrefix(reason, noRoute) || strings.HasPrefix(reason, theRoute) && strings.Contains(reason, allowsOnly)
}

// Words of the reasons that Unrouted knows again.
const (
	noRoute    = "no route allows "
	theRoute   = "the route to "
	allowsOnly = " allows only "
)
