package bottle

import (
	"crypto/rand"
	"encoding/base32"
	"regexp"
	"strings"
)

var identityPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}-[a-z2-7]{6}$`)

// NewIdentity mints a name for life: the agent's name and six random characters.
func NewIdentity(agent string) string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return agent + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:6]
}

// ValidIdentity reports whether s has the form of an identity. Only such a string
// may become part of a path or of a resource's name.
func ValidIdentity(s string) bool { return identityPattern.MatchString(s) }
