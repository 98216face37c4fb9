package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing wrong with a manifest file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 1 is the first; 0 when it is the whole file
	Message string `json:"message"`
}

// String is one line that reads as it is written, whatever a hostile file's keys and name
// are made of: no control characters, no line separators, nothing that turns text around.
func (p Problem) String() string {
	text := fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	if p.Line == 0 {
		text = p.File + ": " + p.Message
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
}

// Problems is an error that lists them all, one a line.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Hint says what to do.
func (ps Problems) Hint() string {
	return "mend the lines above; bot-bottle validate checks the whole manifest"
}

func (ps *Problems) add(file string, line int, format string, args ...any) {
	*ps = append(*ps, Problem{file, line, fmt.Sprintf(format, args...)})
}

// sort orders by file and line, and drops what was found twice: a bottle's problems show
// again in each that extends it.
func (ps *Problems) sort() {
	seen := make(map[Problem]bool, len(*ps))
	*ps = slices.DeleteFunc(*ps, func(p Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
	slices.SortStableFunc(*ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// UnknownError is a name that no file declares.
type UnknownError struct {
	Kind, Name string   // "agent" or "bottle"
	Known      []string // sorted
	Home       string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no %s %q%s", e.Kind, e.Name, DidYouMean(e.Name, e.Known))
}

// Hint lists what there is.
func (e *UnknownError) Hint() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("there are no %ss yet: bot-bottle init writes one; or write it to %s/%ss/NAME.md", e.Kind, e.Home, e.Kind)
	}
	return fmt.Sprintf("known %ss: %s", e.Kind, strings.Join(e.Known, ", "))
}

// DidYouMean names the nearest of the known words, as the end of a message: " (did you mean
// "dev"?)". It is "" if none is near.
func DidYouMean(word string, known []string) string {
	best, distance := "", len(word)/2+1
	for _, k := range known {
		d := edits(strings.ToLower(word), strings.ToLower(k))
		if len(word) > 2 && strings.HasPrefix(k, word) {
			d = 1 // mem for memory
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// edits is the Damerau-Levenshtein distance, optimal string alignment: inserting,
// dropping, changing a letter and swapping two neighbours count one each.
func edits(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			change := row[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			next[j] = min(change, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
