package manifest

import "encoding/json"

// Schema is a JSON Schema (draft 2020-12) of the front matter of both kinds of file.
func Schema() []byte {
	document := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "bot-bottle manifest, front matter",
		"anyOf":   []any{map[string]any{"$ref": "#/$defs/agent"}, map[string]any{"$ref": "#/$defs/bottle"}},
		"$defs":   map[string]any{"agent": agentShape().schema(), "bottle": bottleShape().schema()},
	}
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic(err) // built of strings, maps and slices
	}
	return append(data, '\n')
}

func (s shape) schema() map[string]any {
	out := map[string]any{}
	if s.doc != "" {
		out["description"] = s.doc
	}
	switch s.kind {
	case object:
		s.objectSchema(out)
	case mapping:
		out["type"], out["additionalProperties"] = "object", s.items.schema()
	case list:
		out["type"], out["items"] = "array", s.items.schema()
	case size:
		out["type"] = []string{"string", "integer"}
	case span:
		out["type"] = "string"
	default:
		out["type"] = string(s.kind)
	}
	if len(s.words) > 0 {
		out["enum"] = s.words
	}
	if s.kind == number || s.kind == whole {
		out["minimum"] = 0
	}
	return out
}

func (s shape) objectSchema(out map[string]any) {
	properties, required := map[string]any{}, []string{}
	for _, p := range s.fields {
		properties[p.key] = p.schema()
		if p.required {
			required = append(required, p.key)
		}
	}
	out["type"], out["properties"], out["additionalProperties"] = "object", properties, false
	if len(required) > 0 {
		out["required"] = required
	}
	if s.flag {
		out["type"] = []string{"object", "boolean"} // what is said of an object's keys holds for objects alone
	}
}
