package manifest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// value is a piece of front matter that knows where it was written.
type value struct {
	file   string
	line   int
	kind   kind
	scalar any // string, int64, float64, bool
	list   []*value
	fields []field // in the order written, each key once
}

type kind string

const (
	scalarKind kind = "a single value"
	listKind   kind = "a list"
	mapKind    kind = "a mapping"
)

type field struct {
	key   string
	file  string // not always that of the mapping: extends brings fields from others
	line  int
	value *value // nil when nothing was written
}

// get returns a field's value, or nil.
func (v *value) get(key string) *value {
	if f := v.field(key); f != nil {
		return f.value
	}
	return nil
}

// field returns a field, or nil.
func (v *value) field(key string) *field {
	if v == nil {
		return nil
	}
	for i := range v.fields {
		if v.fields[i].key == key {
			return &v.fields[i]
		}
	}
	return nil
}

// at is the line of a value, or another where nothing was written.
func (v *value) at(other int) int {
	if v == nil {
		return other
	}
	return v.line
}

// parse reads front matter. Anchors, aliases, tags and merge keys are refused: they
// make one line mean something that another one says.
func parse(file, matter string, problems *Problems) *value {
	tree, err := parser.ParseBytes([]byte(matter), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, why := 0, "the front matter is not YAML"
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			why = syntax.Message
			if syntax.Token != nil {
				line = syntax.Token.Position.Line + 1
			}
		}
		problems.add(file, line, "%s", why)
		return nil
	}
	empty := &value{file: file, line: 1, kind: mapKind}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil || tree.Docs[0].Body.Type() == ast.NullType || tree.Docs[0].Body.Type() == ast.CommentType {
		return empty
	}
	if len(tree.Docs) > 1 {
		problems.add(file, 1, "the front matter holds more than one document")
		return nil
	}
	t := &treeReader{file: file, problems: problems}
	root := t.read(tree.Docs[0].Body)
	if root != nil && root.kind != mapKind {
		problems.add(file, root.line, "the front matter must be a mapping of keys to values")
		return nil
	}
	return root
}

type treeReader struct {
	file     string
	problems *Problems
}

func (t *treeReader) read(n ast.Node) *value {
	if n == nil {
		return nil
	}
	v := &value{file: t.file, line: n.GetToken().Position.Line + 1}
	switch n := n.(type) {
	case *ast.MappingNode:
		v.kind = mapKind
		t.fields(v, n.Values)
	case *ast.MappingValueNode:
		v.kind = mapKind
		v.line = n.Key.GetToken().Position.Line + 1
		t.fields(v, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		v.kind = listKind
		t.items(v, n.Values)
	case *ast.NullNode:
		return nil
	default:
		return t.scalar(v, n)
	}
	return v
}

func (t *treeReader) scalar(v *value, n ast.Node) *value {
	v.kind = scalarKind
	switch n := n.(type) {
	case *ast.StringNode:
		v.scalar = n.Value
	case *ast.LiteralNode:
		v.scalar = n.Value.Value
	case *ast.BoolNode:
		v.scalar = n.Value
	case *ast.FloatNode:
		v.scalar = n.Value
	case *ast.IntegerNode:
		v.scalar = integer(n.Value)
	}
	if v.scalar == nil {
		t.problems.add(t.file, v.line, "%s cannot be used here; write the value out", n.Type())
		return nil
	}
	return v
}

// integer is nil for one that no field could hold.
func integer(v any) any {
	switch v := v.(type) {
	case int64:
		return v
	case uint64:
		if v < 1<<63 {
			return int64(v)
		}
	}
	return nil
}

// items refuses one with nothing in it: left out, an unfinished list of methods or
// paths would mean any.
func (t *treeReader) items(v *value, nodes []ast.Node) {
	for _, n := range nodes {
		if n.Type() == ast.NullType {
			t.problems.add(t.file, n.GetToken().Position.Line+1, "an item of the list is empty")
		} else if item := t.read(n); item != nil {
			v.list = append(v.list, item)
		}
	}
}

func (t *treeReader) fields(v *value, nodes []*ast.MappingValueNode) {
	for _, n := range nodes {
		line := n.Key.GetToken().Position.Line + 1
		name, ok := keyName(n.Key)
		if !ok {
			t.problems.add(t.file, line, "%s is not a key", n.Key.String())
			continue
		}
		if i := slices.IndexFunc(v.fields, func(f field) bool { return f.key == name }); i >= 0 {
			t.problems.add(t.file, line, "%s was given on line %d already", name, v.fields[i].line)
			continue
		}
		v.fields = append(v.fields, field{name, t.file, line, t.read(n.Value)})
	}
}

// keyName takes words as they are written: "true" and "5432" may be names too.
func keyName(n ast.MapKeyNode) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, n.Value != ""
	case *ast.BoolNode, *ast.IntegerNode:
		return fmt.Sprint(n.GetToken().Value), true
	}
	return "", false
}
