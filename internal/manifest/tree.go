package manifest

import (
	"errors"
	"fmt"

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
	line  int
	value *value // nil when nothing was written
}

// get returns a field, or nil.
func (v *value) get(key string) *value {
	if v == nil {
		return nil
	}
	for _, f := range v.fields {
		if f.key == key {
			return f.value
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
	tree, err := parser.ParseBytes([]byte(matter), 0)
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
		for _, item := range n.Values {
			if read := t.read(item); read != nil {
				v.list = append(v.list, read)
			}
		}
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

func (t *treeReader) fields(v *value, nodes []*ast.MappingValueNode) {
	for _, n := range nodes {
		line := n.Key.GetToken().Position.Line + 1
		name, ok := keyName(n.Key)
		if !ok {
			t.problems.add(t.file, line, "%s is not a key", n.Key.String())
			continue
		}
		for _, f := range v.fields {
			if f.key == name {
				t.problems.add(t.file, line, "%s was given on line %d already", name, f.line)
			}
		}
		v.fields = append(v.fields, field{name, line, t.read(n.Value)})
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
