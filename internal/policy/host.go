package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxHost is the longest name that DNS can carry (RFC 1035 §2.3.4).
const maxHost = 253

// ParseHost is the one normalisation of a host name. It lower-cases ASCII; whatever else
// is not a plain name of letters, digits and hyphens (RFC 1123 §2.1) is refused: control
// characters, NUL, non-ASCII, user information, escapes, a trailing dot, and IP addresses
// in any notation. What it returns it accepts again unchanged.
func ParseHost(s string) (string, error) {
	if s == "" || len(s) > maxHost {
		return "", errors.New("a host name has 1 to 253 characters")
	}
	if strings.HasSuffix(s, ".") {
		return "", fmt.Errorf("host %q: some servers take a trailing dot for another name", s)
	}
	if strings.ContainsAny(s, ":/") {
		return "", fmt.Errorf("host %q: write the name alone, without https://, a port or a path", s)
	}
	name := strings.Map(lowerASCII, s) // strings.ToLower makes an ASCII k of the Kelvin sign
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("host %q: %w", s, err)
		}
	}
	if numeric(labels[len(labels)-1]) {
		return "", fmt.Errorf("host %q: addresses are not host names", s)
	}
	return name, nil
}

func checkLabel(label string) error {
	if label == "" || len(label) > 63 {
		return errors.New("a label has 1 to 63 characters")
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("a label does not begin or end with a hyphen")
	}
	for _, c := range []byte(label) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errors.New("only letters, digits and hyphens make a label")
		}
	}
	return nil
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + ('a' - 'A')
	}
	return r
}

// numeric reports whether a last label makes resolvers take the whole for an IPv4
// address: 10.0.0.1, 2130706433, 0x7f.1, 0177.0.0.1 (WHATWG URL, "ends in a number").
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// pattern is a normalised host of a rule: an exact name, or a suffix with "*." (one
// label more) or "**." (one or more). Neither matches the name itself. "" is any host.
type pattern string

func parsePattern(s string) (pattern, error) {
	prefix, name := wildcard(s)
	host, err := ParseHost(name)
	if err != nil {
		return "", err
	}
	if prefix != "" && !strings.Contains(host, ".") {
		return "", fmt.Errorf("host %q: a wildcard needs a domain of two labels or more", s)
	}
	return pattern(prefix + host), nil
}

// wildcard takes a leading "*." or "**." off.
func wildcard(s string) (prefix, name string) {
	for _, prefix := range []string{"**.", "*."} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return prefix, rest
		}
	}
	return "", s
}

func (p pattern) matches(host string) bool {
	if suffix, ok := strings.CutPrefix(string(p), "**"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	if suffix, ok := strings.CutPrefix(string(p), "*"); ok {
		first, found := strings.CutSuffix(host, suffix)
		return found && first != "" && !strings.Contains(first, ".")
	}
	return p == "" || string(p) == host
}

// HostCovers reports whether a rule for one host pattern is about all hosts of another.
func HostCovers(wide, narrow string) bool {
	switch w := pattern(wide); {
	case wide == "" || wide == narrow:
		return true
	case strings.HasPrefix(narrow, "**."):
		return strings.HasPrefix(wide, "**.") && w.matches("any"+narrow[2:])
	case strings.HasPrefix(narrow, "*."):
		return w.matches("any" + narrow[1:])
	default:
		return w.matches(narrow)
	}
}
