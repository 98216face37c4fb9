package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// answer says whether a request meets a condition.
type answer int

const (
	no answer = iota
	yes
	unread  // the body decides, and has not been read
	unclear // it can be read in more than one way: no route allows it, every deny rule refuses it
)

// condition is what a query parameter or a field of the body must be: a value, or a glob
// where "*" is any run of characters.
type condition struct{ name, pattern string }

func conditions(of map[string]string) []condition {
	var all []condition
	for name, pattern := range of {
		all = append(all, condition{name, pattern})
	}
	slices.SortFunc(all, func(a, b condition) int { return cmp.Compare(a.name, b.name) })
	return all
}

func (c condition) String() string { return fmt.Sprintf("%s=%q", c.name, c.pattern) }

func (c condition) wild() bool { return strings.Contains(c.pattern, "*") }

// text compares a value. A glob covers no value that leads somewhere else once it is
// part of a path.
func (c condition) text(value string, loose bool) answer {
	pattern := c.pattern
	if loose {
		pattern, value = fold(pattern), fold(value)
	}
	switch {
	case !c.wild() && pattern == value:
		return yes
	case !c.wild():
		return no
	case wanders(value):
		return unclear
	case matchText(pattern, value):
		return yes
	}
	return no
}

var pathEscapes = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/", "%25", "%", `\`, "/")

// wanders reports whether a value holds a dot segment, plain or escaped once or twice more.
func wanders(value string) bool {
	for range 3 {
		for segment := range strings.SplitSeq(strings.ReplaceAll(value, `\`, "/"), "/") {
			if segment == "." || segment == ".." {
				return true
			}
		}
		value = pathEscapes.Replace(value)
	}
	return false
}

// checkConditions refuses names and patterns that can hold for no request.
func checkConditions(of map[string]string, name func(string) error) error {
	for _, c := range conditions(of) {
		if err := name(c.name); err != nil {
			return fmt.Errorf("%q: %w", c.name, err)
		}
		if strings.ContainsFunc(c.pattern, control) {
			return fmt.Errorf("%q: its value holds control characters", c.name)
		}
	}
	return nil
}

func checkParameter(name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(name, "&=;#+%") {
		return errors.New("it is not the name of a query parameter")
	}
	return nil
}

func checkField(name string) error {
	if slices.Contains(strings.Split(name, "."), "") || strings.ContainsFunc(name, control) || strings.Contains(name, " .") || strings.TrimSpace(name) != name {
		return errors.New("it is not a field of a JSON object, or a path of fields with dots between")
	}
	return nil
}
