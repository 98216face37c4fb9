package policy

import "strings"

// takenFor is a path, in small letters, as a file system may take it that knows fewer than git does:
// APFS and HFS+ fold letters that are none of ASCII to some that are, HFS+ drops characters, NTFS
// has a name end before a colon, drops dots and spaces at its end, and takes \ for /.
func takenFor(path string) string {
	var b strings.Builder
	for _, r := range path {
		switch {
		case r == '\\':
			b.WriteByte('/')
		case r == 0xfeff || r >= 0x200c && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x206a && r <= 0x206f:
		default:
			b.WriteString(folded(r))
		}
	}
	segments := strings.Split(b.String(), "/")
	for i, s := range segments {
		s, _, _ = strings.Cut(s, ":")
		segments[i] = strings.TrimRight(s, ". ")
	}
	return strings.Join(segments, "/")
}

// folded is a small letter as case folding has it, where that is ASCII (CaseFolding.txt, C and F).
func folded(r rune) string {
	switch r {
	case 'ſ':
		return "s"
	case 'ß':
		return "ss"
	case 'ﬀ':
		return "ff"
	case 'ﬁ':
		return "fi"
	case 'ﬂ':
		return "fl"
	case 'ﬃ':
		return "ffi"
	case 'ﬄ':
		return "ffl"
	case 'ﬅ', 'ﬆ':
		return "st"
	}
	return string(r)
}

// hasShortName reports whether a part of a path is one that NTFS may have given to something else
// with a longer name: up to six characters, ~ and a number, and an ending of up to three.
func hasShortName(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		base, rest, ok := strings.Cut(part, "~")
		number, ending, _ := strings.Cut(rest, ".")
		if ok && base != "" && len(base) <= 6 && number != "" && strings.Trim(number, "0123456789") == "" && len(ending) <= 3 {
			return true
		}
	}
	return false
}
