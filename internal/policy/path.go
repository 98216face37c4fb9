package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// glob is a pattern of paths. "*" is any run of characters within a segment; "**" as a
// whole segment is any number of segments. An escaped slash is covered only by one that
// the glob has: whoever writes it knows how the server reads it.
type glob struct {
	raw      string
	segments []string
	loose    []string // for deny rules: without regard to case
	flat     []string // the same, and every slash divides
}

// parseGlob refuses a glob that can match nothing, or not what it seems to. Its escapes
// are undone like those of a path; "%2F" stays one.
func parseGlob(s string) (glob, error) {
	for segment := range strings.SplitSeq(s, "/") {
		if strings.Contains(segment, "**") && segment != "**" {
			return glob{}, errors.New("** must be a whole segment")
		}
	}
	if !strings.HasPrefix(s, "/") {
		return glob{}, errors.New("it must begin with /")
	}
	if strings.Contains(strings.ToLower(s), "%2a") {
		return glob{}, errors.New("an escaped * would be a wildcard")
	}
	segments, err := parsePath(PlainGlob(s))
	if err != nil {
		return glob{}, err
	}
	return glob{raw: s, segments: segments, loose: loosened(segments), flat: flattened(segments)}, nil
}

// PlainGlob is a glob as requests have it. People write theirs in their own script.
func PlainGlob(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// allows reports whether the glob covers a path.
func (g glob) allows(segments []string) bool {
	return slashes(g.segments) == slashes(segments) && matchPath(g.segments, segments, matchSegment)
}

// slashes counts the escaped ones.
func slashes(segments []string) int {
	n := 0
	for _, s := range segments {
		n += strings.Count(s, escapedSlash)
	}
	return n
}

// denies reports whether the glob covers any of the ways in which a server might read a
// path: without regard to case, to empty segments, to spaces and dots at a segment's
// end, and with escaped slashes that divide or not.
func (g glob) denies(segments []string) bool {
	return matchPath(g.loose, loosened(segments), matchText) || matchPath(g.flat, flattened(segments), matchText)
}

func loosened(segments []string) []string {
	loose := make([]string, len(segments))
	for i, s := range segments {
		loose[i] = fold(s)
	}
	return loose
}

func flattened(segments []string) []string {
	var flat []string
	for _, segment := range segments {
		for piece := range strings.SplitSeq(segment, escapedSlash) {
			if piece = strings.TrimRight(fold(piece), " ."); piece != "" {
				flat = append(flat, piece)
			}
		}
	}
	return flat
}

// fold makes equal what differs in case only (Unicode's simple folding).
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// matchPath matches segment by segment, where "**" is any number of them.
func matchPath(globs, segments []string, equal func(glob, s string) bool) bool {
	return match(len(globs), len(segments),
		func(g int) bool { return globs[g] == "**" },
		func(g, i int) bool { return equal(globs[g], segments[i]) })
}

// matchSegment matches one segment, where "*" does not reach over an escaped slash.
func matchSegment(glob, s string) bool {
	for {
		globPiece, globRest, globMore := strings.Cut(glob, escapedSlash)
		piece, rest, more := strings.Cut(s, escapedSlash)
		if globMore != more || !matchText(globPiece, piece) {
			return false
		}
		if !more {
			return true
		}
		glob, s = globRest, rest
	}
}

// matchText matches text, where "*" is any run of characters.
func matchText(glob, s string) bool {
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
