package manifest

import (
	"slices"
	"strings"
)

// check compares a value with its shape, all of it, and reports every difference.
func check(v *value, s *shape, name string, problems *Problems) {
	if v == nil {
		return
	}
	switch s.kind {
	case object:
		if _, isFlag := v.scalar.(bool); s.flag && isFlag {
			return
		}
		checkObject(v, s, name, problems)
	case mapping:
		if expect(v, mapKind, name, problems) {
			for _, f := range v.fields {
				check(f.value, s.items, join(name, f.key), problems)
			}
		}
	case list:
		if expect(v, listKind, name, problems) {
			for _, item := range v.list {
				check(item, s.items, name, problems)
			}
		}
	default:
		checkScalar(v, s, name, problems)
	}
}

func join(parent, key string) string {
	if parent == "" {
		return key
	}
	return parent + "." + key
}

func expect(v *value, k kind, name string, problems *Problems) bool {
	if v.kind != k {
		problems.add(v.file, v.line, "%s must be %s, not %s", name, k, v.kind)
	}
	return v.kind == k
}

func checkObject(v *value, s *shape, name string, problems *Problems) {
	if s.flag && v.kind != mapKind {
		problems.add(v.file, v.line, "%s must be true, false or %s, not %s", name, mapKind, v.kind)
		return
	}
	if !expect(v, mapKind, name, problems) {
		return
	}
	known := make([]string, len(s.fields))
	for i, p := range s.fields {
		known[i] = p.key
	}
	for _, f := range v.fields {
		i := slices.Index(known, f.key)
		if i < 0 {
			problems.add(v.file, f.line, "unknown key %s%s", join(name, f.key), DidYouMean(f.key, known))
			continue
		}
		check(f.value, &s.fields[i].shape, join(name, f.key), problems)
	}
	for _, p := range s.fields {
		if p.required && v.get(p.key) == nil {
			problems.add(v.file, v.line, "%s is missing", join(name, p.key))
		}
	}
}

func checkScalar(v *value, s *shape, name string, problems *Problems) {
	if !expect(v, scalarKind, name, problems) {
		return
	}
	ok := false
	switch s.kind {
	case word:
		_, ok = v.scalar.(string)
	case yesNo:
		_, ok = v.scalar.(bool)
	case whole:
		n, isInt := v.scalar.(int64)
		ok = isInt && n >= 0
	case number:
		f, isNumber := asFloat(v.scalar)
		ok = isNumber && f >= 0
	case size:
		_, ok = asSize(v.scalar)
	case span:
		_, ok = asSpan(v.scalar)
	}
	if !ok {
		problems.add(v.file, v.line, "%s must be %s, not %#v", name, s.kind.words(), v.scalar)
		return
	}
	if text, isText := v.scalar.(string); isText && len(s.words) > 0 && !slices.Contains(s.words, text) {
		problems.add(v.file, v.line, "%s must be one of %s, not %q%s", name, strings.Join(s.words, ", "), text, DidYouMean(text, s.words))
	}
}

func (k shapeKind) words() string {
	switch k {
	case word:
		return "text (put it in quotes)"
	case yesNo:
		return "true or false"
	case whole:
		return "a whole number, 0 or more"
	case size:
		return "a size such as 4GiB"
	case span:
		return "a time such as 90s, 5m, 1h or 7d"
	}
	return "a number, 0 or more"
}
