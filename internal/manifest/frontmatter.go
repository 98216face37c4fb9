package manifest

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits on one file. A repository's agents are hostile.
const (
	maxFile    = 1 << 20
	maxMatter  = 64 << 10
	maxLines   = 4096 // the parser's work grows with the square of the keys
	maxNesting = 256  // brackets, braces and lists that begin within a list, all in all
)

// split takes a file apart into front matter and body. The front matter begins on
// line 2.
func split(data []byte) (matter, body string, err error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", "", errors.New("the file is not text in UTF-8")
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	rest, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return "", "", errors.New("the file must begin with front matter: a line ---, YAML, and another line ---")
	}
	if body, ok = strings.CutPrefix(rest, "---\n"); ok || rest == "---" {
		return "", body, nil
	}
	matter, body, ok = strings.Cut(rest, "\n---\n")
	if !ok {
		if matter, ok = strings.CutSuffix(rest, "\n---"); !ok {
			return "", "", errors.New("the front matter has no end: a line ---")
		}
	}
	if len(matter) > maxMatter || strings.Count(matter, "\n") > maxLines || nesting(matter) > maxNesting {
		return "", "", errors.New("the front matter is too large")
	}
	return matter, body, nil
}

// nesting bounds how deep the parser has to go, whose work grows with its square.
func nesting(matter string) int {
	return strings.Count(matter, "[") + strings.Count(matter, "{") + strings.Count(matter, "- - ")
}
