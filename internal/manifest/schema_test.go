package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// jsonSchema is as much of JSON Schema as Schema uses; anything else fails to decode.
type jsonSchema struct {
	Schema               string                `json:"$schema"`
	Title                string                `json:"title"`
	Description          string                `json:"description"`
	Ref                  string                `json:"$ref"`
	Defs                 map[string]jsonSchema `json:"$defs"`
	AnyOf                []jsonSchema          `json:"anyOf"`
	Type                 any                   `json:"type"`
	Properties           map[string]jsonSchema `json:"properties"`
	Required             []string              `json:"required"`
	AdditionalProperties any                   `json:"additionalProperties"`
	Items                *jsonSchema           `json:"items"`
	Enum                 []string              `json:"enum"`
	Minimum              *float64              `json:"minimum"`
}

func decodeSchema(t *testing.T, data []byte) jsonSchema {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	var s jsonSchema
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// valid validates what parse read, as an editor would.
func valid(t *testing.T, s jsonSchema, v *value, name string) error {
	t.Helper()
	if v == nil {
		return nil
	}
	switch s.Type {
	case "object":
		return validObject(t, s, v, name)
	case "array":
		if v.kind != listKind {
			return fmt.Errorf("%s is not an array", name)
		}
		for _, item := range v.list {
			if err := valid(t, *s.Items, item, name); err != nil {
				return err
			}
		}
		return nil
	}
	return validScalar(s, v, name)
}

func validObject(t *testing.T, s jsonSchema, v *value, name string) error {
	t.Helper()
	if v.kind != mapKind {
		return fmt.Errorf("%s is not an object", name)
	}
	for _, key := range s.Required {
		if v.get(key) == nil {
			return fmt.Errorf("%s lacks %s", name, key)
		}
	}
	for _, f := range v.fields {
		inner, ok := s.Properties[f.key]
		if more, isSchema := s.AdditionalProperties.(map[string]any); !ok && isSchema {
			data, err := json.Marshal(more)
			if err != nil {
				t.Fatal(err)
			}
			inner, ok = decodeSchema(t, data), true
		}
		if !ok {
			return fmt.Errorf("%s has no property %s", name, f.key)
		}
		if err := valid(t, inner, f.value, join(name, f.key)); err != nil {
			return err
		}
	}
	return nil
}

func validScalar(s jsonSchema, v *value, name string) error {
	of := map[string]bool{}
	switch scalar := v.scalar.(type) {
	case string:
		of["string"] = len(s.Enum) == 0 || slices.Contains(s.Enum, scalar)
	case bool:
		of["boolean"] = true
	case int64:
		of["integer"] = s.Minimum == nil || float64(scalar) >= *s.Minimum
		of["number"] = of["integer"]
	case float64:
		of["number"] = s.Minimum == nil || scalar >= *s.Minimum
	}
	switch types := s.Type.(type) {
	case string:
		if of[types] {
			return nil
		}
	case []any:
		for _, one := range types {
			if of[one.(string)] {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: %v is not %v", name, v.scalar, s.Type)
}

// An editor with the schema and bot-bottle agree on what has the right structure.
func TestSchemaAndCheckAgree(t *testing.T) {
	schema := decodeSchema(t, Schema())
	if len(schema.AnyOf) != 2 || schema.Title == "" {
		t.Fatalf("got %+v", schema)
	}
	bottles := []string{strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(example, "\n---\n", 2)[0], "---\n"), "\n"), "", "supervise: false", "resources: {cpus: 0.5, memory: 1048576}",
		"runtme: x", "supervise: 1", "env: {A: 1}", "env: [a]", "resources: {cpus: -1}", "resources: {pids: 1.5}", "resources: {memory: true}", "runtime: docker",
		"secrets: {A: {evn: X}}", "secrets: {A: b}", "secrets: {A: {command: x}}", "egress: {routes: {}}", "egress: {routes: [{port: 3}]}", "egress: {routes: [a]}",
		"egress: {routes: [{host: a, auth: {scheme: bearer}}]}", "egress: {deny: [{host: a, query: {b: c}, body: {d.e: f}}], limits: {requests: 1, bytes_up: 1MiB, bytes_down: 5, window: 1h}}",
		"egress: {scan: {jwt: alert}}", "egress: {scan: [jwt]}", "egress: {routes: [{host: a, scan: {jwt: [x]}}]}", "egress: {deny: {}}", "egress: {deny: [a]}", "egress: {deny: [{hots: a}]}", "egress: {limits: []}", "egress: {limits: {request: 1}}", "egress: {limits: {window: 5}}", "egress: {limits: {requests: -1}}",
		"egress: {routes: [{host: a, query: {b: 1}}]}", "egress: {routes: [{host: a, body: [b]}]}", "egress: {routes: [{host: a, deny: [{host: b}]}]}", "egress: {routes: [{host: a, limits: {bytes_up: true}}]}",
		"egress: {routes: [{host: a, auth: {scheme: query, parameter: b, secret: c}}]}", "git: [{name: a}]", "git: [{name: a, upstream: b, push: {mode: later}}]", "- a"}
	agents := []string{"bottle: dev", "bottle: dev\nskills: [a]\nargs: [--x]\ngit_identity: {name: a, email: b}", "skills: [a]", "bottle: 3", "bottle: dev\nskills: a", "bottle: dev\negress: {}"}
	for kind, fronts := range map[string][]string{"bottle": bottles, "agent": agents} {
		s := map[string]shape{"bottle": bottleShape(), "agent": agentShape()}[kind]
		for _, front := range fronts {
			var syntax, problems Problems
			root := parse("f.md", front, &syntax)
			if len(syntax) > 0 {
				continue // "- a": neither reads it
			}
			check(root, &s, "", &problems)
			if err := valid(t, schema.Defs[kind], root, kind); (err == nil) != (len(problems) == 0) {
				t.Errorf("%s %q: the schema says %v, check says %v", kind, front, err, problems)
			}
		}
	}
}

// The whole tree of keys, not only the outermost, is in both.
func TestSchemaHasEveryKey(t *testing.T) {
	schema := decodeSchema(t, Schema())
	for kind, s := range map[string]shape{"bottle": bottleShape(), "agent": agentShape()} {
		want, got := keysOfShape(s, kind), keysOfSchema(t, schema.Defs[kind], kind)
		if !slices.Equal(want, got) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func keysOfShape(s shape, name string) []string {
	keys := []string{name}
	for _, f := range s.fields {
		keys = append(keys, keysOfShape(f.shape, join(name, f.key))...)
	}
	if s.items != nil {
		keys = append(keys, keysOfShape(*s.items, name+"[]")...)
	}
	slices.Sort(keys)
	return keys
}

func keysOfSchema(t *testing.T, s jsonSchema, name string) []string {
	t.Helper()
	keys := []string{name}
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		keys = append(keys, keysOfSchema(t, s.Properties[key], join(name, key))...)
	}
	if s.Items != nil {
		keys = append(keys, keysOfSchema(t, *s.Items, name+"[]")...)
	}
	if more, ok := s.AdditionalProperties.(map[string]any); ok {
		data, err := json.Marshal(more)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, keysOfSchema(t, decodeSchema(t, data), name+"[]")...)
	}
	slices.Sort(keys)
	return keys
}
