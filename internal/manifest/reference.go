package manifest

import (
	"fmt"
	"strings"
)

// Reference is docs/manifest.md: every key of the two kinds of file and of config.yaml, with
// what it means, from what the files are checked against.
func Reference() []byte {
	b := &strings.Builder{}
	b.WriteString(`# Manifest

Agents and bottles are Markdown files with YAML between two lines ` + "`---`" + ` at their top. A key that is not here is an error that
names the nearest one. ` + "`bot-bottle init`" + ` writes the first two, ` + "`bot-bottle validate`" + ` says what is wrong, and ` + "`validate --schema`" + ` prints
a JSON Schema for editors. This page is made from the same description of the keys.

In the tables ` + "`[]`" + ` is each item of a list, ` + "`NAME`" + ` a name of your choosing. Keys in bold must be there. Sizes are bytes, or such as
4GiB, 512m; spans of time are such as 90s, 5m, 24h, 7d. "~" is your home directory; a relative path is relative to the file that names it,
unless it says otherwise.
`)
	agent, bottle := agentShape(), bottleShape()
	section(b, "Agents: ~/.bot-bottle/agents/NAME.md, and .bot-bottle/agents/NAME.md of a repository", &agent)
	section(b, "Bottles: ~/.bot-bottle/bottles/NAME.md, never from a repository", &bottle)
	section(b, "Settings: ~/.bot-bottle/config.yaml", configShape())
	return []byte(b.String())
}

func section(b *strings.Builder, title string, s *shape) {
	_, _ = fmt.Fprintf(b, "\n## %s\n\n%s\n\n| key | value | |\n|---|---|---|\n", title, s.doc)
	s.rows(b, "")
}

// rows are those of an object's keys, each followed by those below it.
func (s *shape) rows(b *strings.Builder, prefix string) {
	for _, p := range s.fields {
		key := "`" + prefix + p.key + "`"
		if p.required {
			key = "**" + key + "**"
		}
		_, _ = fmt.Fprintf(b, "| %s | %s | %s |\n", key, p.value(), strings.ReplaceAll(p.doc, "|", `\|`))
		inner, at := p.innermost(prefix + p.key)
		inner.rows(b, at+".")
	}
}

// innermost is what a list of a map of … holds in the end, and how its place is written.
func (s *shape) innermost(at string) (*shape, string) {
	switch s.kind {
	case list:
		return s.items.innermost(at + "[]")
	case mapping:
		return s.items.innermost(at + ".NAME")
	}
	return s, at
}

// value says in a word or two what a key takes.
func (s *shape) value() string {
	switch {
	case len(s.words) > 0:
		return strings.Join(s.words, ", ")
	case s.kind == list:
		return "list of " + plural(s.items)
	case s.kind == mapping:
		return "names to " + plural(s.items)
	}
	return map[shapeKind]string{object: "map", word: "text", number: "number", whole: "whole number", yesNo: "true, false", size: "size", span: "span of time"}[s.kind]
}

func plural(s *shape) string {
	switch {
	case len(s.words) > 0:
		return strings.Join(s.words, ", ")
	case s.kind == object:
		return "maps"
	}
	return "text"
}
