package gitgate

import (
	"errors"
	"strings"
)

// complaints are what git, curl and ssh say of an upstream, and how the agent is told: as the
// end of a sentence that begins with "the upstream".
func complaints() [][2]string {
	const (
		credential = "does not take the gate's credential: only the operator can renew it"
		redirect   = "answers with a redirect, which is not followed: the operator has to declare where it leads"
		hostKey    = "shows another host key than the operator has pinned, so nothing was sent: tell the operator"
		missing    = "has no such repository, or not for the gate's credential: tell the operator"
		format     = "has object ids of SHA-256, which the gate does not speak: ask the operator for a copy with SHA-1"
	)
	return [][2]string{
		{"Authentication failed", credential}, {"could not read Username", credential}, {"could not read Password", credential},
		{"returned error: 401", credential}, {"returned error: 403", credential}, {"HTTP 401", credential}, {"HTTP 403", credential}, {"Permission denied (", credential},
		{"returned error: 30", redirect}, {"HTTP 30", redirect}, {"unable to update url base from redirection", redirect},
		{"Host key verification failed", hostKey}, {"HOST IDENTIFICATION HAS CHANGED", hostKey}, {"host key is known for", hostKey},
		{"returned error: 404", missing}, {"does not appear to be a git repository", missing}, {"not found", missing},
		{"repository's object format", format}, {"mismatched object format", format}, {"mismatched algorithms", format},
	}
}

// explain says what is wrong with an upstream, as the end of a sentence that begins with it.
// otherwise comes before what git itself says, where that is all there is.
func explain(err error, otherwise string) string {
	if errors.Is(err, errNoAnswer) {
		return err.Error()
	}
	if other := (*otherHostKey)(nil); errors.As(err, &other) {
		return "shows another host key (" + strings.Join(other.offered, ", ") + ") than the operator has pinned, so nothing was sent: tell the operator"
	}
	if full := (*errTooLarge)(nil); errors.As(err, &full) {
		return full.Error()
	}
	if failed := (*gitError)(nil); errors.As(err, &failed) {
		for _, c := range complaints() {
			if strings.Contains(failed.stderr, c[0]) {
				return c[1]
			}
		}
	}
	return otherwise + ": " + err.Error()
}
