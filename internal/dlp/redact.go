package dlp

import (
	"cmp"
	"slices"
)

// Redact is data without the findings that are to be redacted. What was in clear gives
// way to a mark with the rule's name; what was encoded is overwritten in its own
// alphabet, so that it can still be decoded. Search the result again before it is sent,
// and refuse when Worst says Block.
func (s *Scanner) Redact(data []byte, findings []Finding) []byte {
	list := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool {
		return f.Action != Redact || f.Start < 0 || f.End > len(data) || f.Start >= f.End
	})
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End))
	})
	out, from := make([]byte, 0, len(data)), 0
	for _, f := range list {
		start := max(f.Start, from)
		if start >= f.End {
			continue
		}
		out = append(out, data[from:start]...)
		out = append(out, f.instead(data[start:f.End])...)
		from = f.End
	}
	return append(out, data[from:]...)
}

// instead is what stands in the place of a secret.
func (f Finding) instead(secret []byte) []byte {
	filler := byte('A')
	for _, name := range f.Encoding {
		switch name {
		case "decimal", "octal":
			filler = '1'
		case "reversed", "rot13", "reversed rot13", "escapes", "quoted-printable", "joined", "separated":
			continue
		}
		masked := slices.Clone(secret)
		for i, c := range masked {
			if isAlnum(c) && (i == 0 || secret[i-1] != '\\') { // what a backslash says stays
				masked[i] = filler
			}
		}
		return masked
	}
	return []byte("[redacted:" + f.Rule + "]")
}
