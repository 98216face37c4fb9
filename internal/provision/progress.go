package provision

import (
	"bytes"
	"regexp"
	"strings"
)

// progressLine is what git says of its work, at the bottle's side ("remote: ") and at ours
// (git-fetch(1), --progress).
var progressLine = regexp.MustCompile(`^(remote: )?(Counting objects|Compressing objects|Receiving objects|Resolving deltas): +(\d{1,3}%) \((\d{1,10}/\d{1,10})\)`)

// progress takes what git writes to its standard error, and tells of its progress in words of
// ours. Nothing else of what the bottle writes is repeated. It is for one writer.
type progress struct {
	tell func(string)
	line []byte
}

// maxProgress bounds what is kept of a line, in bytes.
const maxProgress = 200

// Write implements io.Writer. A line ends with a newline, or with a carriage return to be
// written over.
func (p *progress) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '\n' || c == '\r':
			p.end()
		case len(p.line) < maxProgress:
			p.line = append(p.line, c)
		}
	}
	return len(b), nil
}

func (p *progress) end() {
	defer func() { p.line = p.line[:0] }()
	if m := progressLine.FindSubmatch(bytes.TrimRight(p.line, " ")); m != nil {
		where := ""
		if len(m[1]) > 0 {
			where = "in the bottle: "
		}
		p.tell(where + strings.ToLower(string(m[2])) + ": " + string(m[3]) + " (" + string(m[4]) + ")")
	}
}

// isProgress reports whether a line says nothing but how far git is.
func isProgress(line string) bool {
	line = strings.TrimPrefix(line, "remote: ")
	for _, begin := range []string{"Enumerating objects", "Counting objects", "Compressing objects", "Receiving objects", "Resolving deltas", "Total "} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}
