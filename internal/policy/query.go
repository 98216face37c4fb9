package policy

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// query looks for the condition's parameter. It must stand once, and nothing beside it
// that a server might take for it: another case, "name[]", "name;".
func (c condition) query(raw string, loose bool) (answer, string) {
	if strings.Contains(raw, ";") {
		return unclear, "the query holds ;"
	}
	value, found := "", false
	for part := range strings.SplitSeq(raw, "&") {
		escapedName, escapedValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(escapedName)
		if err != nil || !utf8.ValidString(name) || strings.ContainsFunc(name, control) || escaped(name) {
			return unclear, "the query holds a name with bad escapes"
		}
		switch {
		case !rivals(name, c.name):
			continue
		case found || name != c.name:
			return unclear, "query parameter " + c.name + " stands twice, or by another spelling"
		}
		value, found = escapedValue, true
	}
	if !found {
		return no, "there is no query parameter " + c.name
	}
	return c.parameter(value, loose)
}

// parameter compares a value as it stands: "+" may be a space or itself.
func (c condition) parameter(raw string, loose bool) (answer, string) {
	spaced, errSpaced := url.QueryUnescape(raw)
	plain, errPlain := url.PathUnescape(raw)
	if errSpaced != nil || errPlain != nil || !utf8.ValidString(plain) || strings.ContainsFunc(plain, control) {
		return unclear, "query parameter " + c.name + " holds bad escapes or control characters"
	}
	a, b := c.text(spaced, loose), c.text(plain, loose)
	if a != b {
		return unclear, "query parameter " + c.name + " can be read in two ways"
	}
	return a, "query parameter " + c.name + " is another"
}

// rivals reports whether a server might take two parameters for the same: it ignores
// case or spaces around, writes "_" for what its variables cannot hold, or makes a list
// or a map of "name[]" and "name[x]".
func rivals(a, b string) bool {
	a, b = variable(a), variable(b)
	return a == b || strings.HasPrefix(a, b+"[") || strings.HasPrefix(b, a+"[")
}

func variable(name string) string {
	name = strings.NewReplacer(" ", "_", ".", "_", "+", "_").Replace(strings.TrimSpace(fold(name)))
	if !strings.Contains(name, "]") {
		name = strings.Replace(name, "[", "_", 1)
	}
	return name
}
