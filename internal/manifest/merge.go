package manifest

// merge puts a child's values over its parent's: lists append (the parent's first),
// maps merge, single values replace; what a child sets to false or 0 is set.
func merge(parent, child *value, s *shape) *value {
	switch {
	case child == nil:
		return parent
	case parent == nil || parent.kind != child.kind || s.whole:
		return child
	case child.kind == listKind:
		return &value{file: child.file, line: child.line, kind: listKind, list: append(append([]*value{}, parent.list...), child.list...)}
	case child.kind == mapKind:
		return mergeFields(parent, child, s)
	}
	return child
}

func mergeFields(parent, child *value, s *shape) *value {
	merged := &value{file: child.file, line: child.line, kind: mapKind}
	for _, f := range parent.fields {
		f.value = merge(f.value, child.get(f.key), s.of(f.key))
		merged.fields = append(merged.fields, f)
	}
	for _, f := range child.fields {
		if parent.get(f.key) == nil {
			merged.fields = append(merged.fields, f)
		}
	}
	return merged
}

// of is the shape of a field.
func (s *shape) of(key string) *shape {
	if s.kind == mapping {
		return s.items
	}
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i].shape
		}
	}
	return &shape{}
}
