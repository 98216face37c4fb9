package manifest

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// AddRoutes returns a bottle's file with routes added at the end of its own, and nothing
// else changed: comments, order and formatting are kept. note is written beside each. It
// fails where the file is written in a way that it cannot add to, which the operator then
// does by hand.
func AddRoutes(file string, data []byte, routes []policy.Route, note string) ([]byte, error) {
	lines := make([]string, len(routes))
	for i, r := range routes {
		text, err := RouteText(r)
		if err != nil {
			return nil, err
		}
		lines[i] = "- " + text + "  # " + note
	}
	old, err := parseFile(file, data)
	if err != nil {
		return nil, err
	}
	all := strings.SplitAfter(string(data), "\n")
	at, indent, head := place(old, all)
	if at < 0 {
		return nil, errors.New("its egress.routes are not a list of one item a line")
	}
	var added strings.Builder
	added.WriteString(head)
	for _, line := range lines {
		added.WriteString(strings.Repeat(" ", indent) + line + "\n")
	}
	changed := []byte(strings.Join(slices.Insert(all, at, added.String()), ""))
	return changed, onlyAdded(file, old, changed, len(routes))
}

// parseFile reads a file's front matter, and its first problem.
func parseFile(file string, data []byte) (*value, error) {
	matter, _, err := split(data)
	if err != nil {
		return nil, err
	}
	var problems Problems
	root := parse(file, matter, &problems)
	if len(problems) > 0 {
		return nil, problems
	}
	return root, nil
}

// place finds the index of the line before which routes are to be added, how far they
// are indented, and what has to come before them. at is -1 where there is no such place.
func place(root *value, lines []string) (at, indent int, head string) {
	egress := root.field("egress")
	if egress == nil {
		return slices.IndexFunc(lines[1:], func(s string) bool { return strings.TrimRight(s, "\r\n") == "---" }) + 1, 4, "egress:\n  routes:\n"
	}
	routes := egress.value.field("routes")
	switch {
	case egress.value == nil || egress.value.kind != mapKind || !strings.HasSuffix(bare(lines[egress.line-1]), ":"):
		return -1, 0, ""
	case routes == nil:
		indent = width(lines[egress.value.fields[0].line-1])
		return egress.line, indent + 2, strings.Repeat(" ", indent) + "routes:\n"
	case routes.value == nil || len(routes.value.list) == 0 || !strings.HasSuffix(bare(lines[routes.line-1]), ":"):
		return -1, 0, ""
	}
	first := routes.value.list[0].line - 1
	indent = width(lines[first])
	if !strings.HasPrefix(lines[first][indent:], "- ") {
		return -1, 0, ""
	}
	at = first + 1
	for i := first + 1; i < len(lines); i++ {
		text := bare(lines[i])
		if text == "" {
			continue
		}
		if w := width(lines[i]); w < indent || w == indent && !strings.HasPrefix(text, "- ") {
			break
		}
		at = i + 1
	}
	return at, indent, ""
}

// bare is a line without its indentation and what is a comment for sure.
func bare(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	if i := strings.Index(line, " #"); i >= 0 && !strings.ContainsAny(line[:i], `"'`) {
		line = strings.TrimSpace(line[:i])
	}
	return line
}

func width(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// onlyAdded reads the result back: it must say what it said before, and so many routes more.
func onlyAdded(file string, old *value, changed []byte, more int) error {
	now, err := parseFile(file, changed)
	if err != nil {
		return fmt.Errorf("adding to it would break it: %w", err)
	}
	was, is := plain(old).(map[string]any), plain(now).(map[string]any)
	before, _ := reach(was)
	after, egress := reach(is)
	if len(after) != len(before)+more || len(before) > 0 && !reflect.DeepEqual(after[:len(before)], before) {
		return errors.New("adding to it would change what it says")
	}
	if egress["routes"] = before; before == nil {
		delete(egress, "routes")
	}
	if _, had := was["egress"]; !had {
		delete(is, "egress")
	}
	if !reflect.DeepEqual(was, is) {
		return errors.New("adding to it would change what it says")
	}
	return nil
}

// reach are the routes in a plain document, and what holds them.
func reach(doc map[string]any) ([]any, map[string]any) {
	egress, _ := doc["egress"].(map[string]any)
	routes, _ := egress["routes"].([]any)
	return routes, egress
}

// plain is a value without its places.
func plain(v *value) any {
	switch {
	case v == nil:
		return nil
	case v.kind == mapKind:
		all := make(map[string]any, len(v.fields))
		for _, f := range v.fields {
			all[f.key] = plain(f.value)
		}
		return all
	case v.kind == listKind:
		all := make([]any, len(v.list))
		for i, item := range v.list {
			all[i] = plain(item)
		}
		return all
	}
	return v.scalar
}

// RouteText writes a route on one line, as people do. What stands for a default is left
// out.
func RouteText(r policy.Route) (string, error) {
	if r.CA != "" || r.LogPath != "" || r.Limits != nil || len(r.Deny) > 0 || len(r.Scan) > 0 || r.Pipelock != nil {
		return "", fmt.Errorf("the route to %s has a ca, limits, deny, scan, pipelock or log_path, which have to be written by hand", filepath.Base(r.Host))
	}
	fields := []string{"host: " + plainWord(r.Host)}
	add := func(name, text string) { fields = append(fields, name+": "+text) }
	if r.Protocol != "" && r.Protocol != policy.HTTPS {
		add("protocol", string(r.Protocol))
	}
	if r.Port != 0 && !(r.Protocol == policy.HTTPS && r.Port == 443) && !(r.Protocol == policy.HTTP && r.Port == 80) {
		add("port", strconv.Itoa(r.Port))
	}
	if len(r.Methods) > 0 {
		add("methods", wordList(r.Methods))
	}
	if len(r.Paths) > 0 {
		add("paths", wordList(r.Paths))
	}
	if len(r.Query) > 0 {
		add("query", pairs(r.Query))
	}
	if len(r.Body) > 0 {
		add("body", pairs(r.Body))
	}
	if a := r.Auth; a != nil {
		auth := "{scheme: " + string(a.Scheme)
		for _, f := range []struct{ name, value string }{{"header", a.Header}, {"user", a.User}, {"parameter", a.Parameter}, {"secret", a.Secret}} {
			if f.value != "" {
				auth += ", " + f.name + ": " + plainWord(f.value)
			}
		}
		if len(a.FormFields) > 0 {
			auth += ", form_fields: " + wordList(a.FormFields)
		}
		add("auth", auth+"}")
	}
	if r.Address != "" {
		add("address", strconv.Quote(r.Address))
	}
	if r.Private {
		add("private", "true")
	}
	return "{" + strings.Join(fields, ", ") + "}", nil
}

func wordList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = plainWord(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func pairs(m map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, strconv.Quote(name)+": "+strconv.Quote(m[name]))
	}
	return "{" + strings.Join(all, ", ") + "}"
}

// plainWord quotes what YAML could take for something else than a word.
func plainWord(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	if strings.Trim(s, letters+"0123456789.-") == "" && strings.ContainsAny(s[:min(1, len(s))], letters) &&
		!slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}
