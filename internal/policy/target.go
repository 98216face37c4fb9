package policy

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// ambiguous is the error of what a server might read otherwise than we do.
type ambiguous string

func (a ambiguous) Error() string { return "it can be read in more than one way: " + string(a) }

// escapedSlash stands for "%2F" in a segment. No other byte becomes it: control
// characters are refused.
const escapedSlash = "\x00"

// target is a request's target in origin form (RFC 9112 §3.2.1), taken apart. Nothing of
// it is rewritten: what was matched is, byte for byte, what is sent.
type target struct {
	segments []string // of the path, escapes undone; the first is before the leading slash
	query    string   // as it stands
}

// parseTarget is the one normalisation of a target, for every route and before any rule
// is looked at. It refuses whatever servers are known to read in different ways
// (docs/decisions/0009-ambiguous-targets.md).
func parseTarget(raw string) (target, error) {
	path, query, _ := strings.Cut(raw, "?")
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		return target{}, ambiguous("its query holds spaces, control characters, # or what is not ASCII")
	}
	segments, err := parsePath(path)
	return target{segments: segments, query: query}, err
}

// parsePath takes a path apart at its slashes and undoes its escapes. An escaped slash
// stays one: it is no boundary, and only a glob that has one as well covers it.
func parsePath(raw string) ([]string, error) {
	if !strings.HasPrefix(raw, "/") {
		return nil, ambiguous("its path does not begin with /")
	}
	if strings.Trim(raw, pathBytes) != "" {
		return nil, ambiguous("its path holds characters that must be escaped")
	}
	if strings.Contains(raw, "//") {
		return nil, ambiguous("its path holds //")
	}
	segments := strings.Split(raw, "/")
	for i, segment := range segments {
		if !strings.Contains(segment, "%") && strings.Trim(segment, ".") != "" && !strings.Contains(segment, ";") {
			continue
		}
		plain, err := parseSegment(segment)
		if err != nil {
			return nil, err
		}
		segments[i] = plain
	}
	return segments, nil
}

// pathBytes may stand in a path as they are (RFC 3986 §3.3, and the brackets, which
// net/url sends as they are).
const pathBytes = "/%-._~!$&'()*+,;=:@[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func parseSegment(raw string) (string, error) {
	lower := strings.ToLower(raw)
	if strings.Contains(lower, "%2e") {
		return "", ambiguous("its path holds an escaped dot")
	}
	pieces := strings.Split(strings.ReplaceAll(raw, "%2f", "%2F"), "%2F")
	for i, piece := range pieces {
		plain, err := url.PathUnescape(piece)
		if err != nil {
			return "", ambiguous("its path holds a bad escape")
		}
		if why := odd(plain); why != "" {
			return "", ambiguous("its path holds " + why)
		}
		pieces[i] = plain
	}
	return strings.Join(pieces, escapedSlash), nil
}

// lookalikes are what Unicode's normalisation or a code page turns into a dot, a slash,
// a backslash, a percent sign or a semicolon.
const lookalikes = "\uff0e\u2024\u2025\u2026\uff0f\u2044\u2215\uff3c\uff05\uff1b"

// odd names what is ambiguous in a piece of a path, "" if nothing is.
func odd(piece string) string {
	switch {
	case !utf8.ValidString(piece):
		return "bytes that are not UTF-8"
	case strings.ContainsFunc(piece, control):
		return "control characters"
	case strings.Contains(piece, `\`):
		return "a backslash"
	case strings.Contains(piece, ";"):
		return "a semicolon" // "/admin;x" is /admin to a servlet container
	case strings.ContainsAny(piece, lookalikes):
		return "a character that may become a dot or a slash"
	case escaped(piece):
		return "what is escaped twice"
	case strings.Contains(piece, ".") && strings.Trim(piece, ". ") == "":
		return "a dot segment" // ".. " is one to Windows
	}
	return ""
}

func control(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// escaped reports whether text holds what another unescaping would change.
func escaped(text string) bool {
	for i := 0; i+2 < len(text); i++ {
		if text[i] == '%' && hexDigit(text[i+1]) && hexDigit(text[i+2]) {
			return true
		}
	}
	return false
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
