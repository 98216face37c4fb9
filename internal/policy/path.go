package policy

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

var errAmbiguous = errors.New("the path can be read in more than one way")

// ParsePath is the one normalisation of a request's path, as it stood on the request
// line without its query. It returns the path with its escapes undone, and refuses
// every form that a server might read otherwise than we do: dot segments, empty
// segments, backslashes, path parameters on dots, escaped slashes, dots, percents and
// control characters, and what is not UTF-8. Only routes with paths need it.
func ParsePath(raw string) (string, error) {
	if !strings.HasPrefix(raw, "/") {
		return "", errAmbiguous
	}
	lower := strings.ToLower(raw)
	for _, bad := range []string{"%2f", "%5c", "%2e", "%25", "%3b", "\\", "//", "?", "#"} {
		if strings.Contains(lower, bad) {
			return "", errAmbiguous
		}
	}
	path, err := url.PathUnescape(raw)
	if err != nil || !utf8.ValidString(path) {
		return "", errAmbiguous
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
		return "", errAmbiguous
	}
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";") // "..;x" is ".." to a servlet container
		if name == "." || name == ".." || segment != "" && name == "" {
			return "", errAmbiguous
		}
	}
	return path, nil
}

// matchPath reports whether a glob covers a parsed path, segment by segment: "*" is
// any run of characters within one, "**" as a whole segment any number of them.
func matchPath(glob, path string) bool {
	globs, segments := strings.Split(glob, "/"), strings.Split(path, "/")
	return match(len(globs), len(segments),
		func(g int) bool { return globs[g] == "**" },
		func(g, i int) bool { return matchSegment(globs[g], segments[i]) })
}

// matchSegment does the same within one segment, where "*" is any run of characters.
func matchSegment(glob, s string) bool {
	return match(len(glob), len(s),
		func(g int) bool { return glob[g] == '*' },
		func(g, i int) bool { return glob[g] == s[i] })
}

// match matches a pattern with wildcards for any run against what is n long. A mismatch
// goes back to the last wildcard only, so a hostile path costs no more than the product
// of both lengths.
func match(patterns, n int, wild func(int) bool, equal func(g, i int) bool) bool {
	star, mark, g, i := -1, 0, 0, 0
	for i < n {
		switch {
		case g < patterns && wild(g):
			star, mark = g, i
			g++
		case g < patterns && equal(g, i):
			g++
			i++
		case star >= 0:
			mark++
			g, i = star+1, mark
		default:
			return false
		}
	}
	for g < patterns && wild(g) {
		g++
	}
	return g == patterns
}

// checkGlob refuses a glob that can match nothing, or not what it seems to.
func checkGlob(glob string) error {
	if !strings.HasPrefix(glob, "/") {
		return errors.New("it must begin with /")
	}
	for segment := range strings.SplitSeq(glob, "/") {
		if strings.Contains(segment, "**") && segment != "**" {
			return errors.New("** must be a whole segment")
		}
	}
	if _, err := ParsePath(strings.ReplaceAll(glob, "*", "x")); err != nil {
		return err
	}
	return nil
}
