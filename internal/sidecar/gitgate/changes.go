package gitgate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// change is a file that a commit changes.
type change struct{ commit, path string }

// maxDoubtful bounds how many merges are compared with what they merge, and how many of
// the files of one. What goes beyond counts as changed.
const maxDoubtful = 200

// changes lists the files that each commit changes, of those that asked names. Of a merge
// it is those that it has otherwise than by merging: a merge can take back what one of
// its parents has changed by having it as the other has it.
func (g git) changes(ctx context.Context, commits []commit, asked func(path string) bool) ([]change, error) {
	var stdin strings.Builder
	byID := make(map[string]commit, len(commits))
	for _, c := range commits {
		stdin.WriteString(c.id + "\n")
		byID[c.id] = c
	}
	differs := make(map[change]int) // from so many parents
	err := g.diffTree(ctx, strings.NewReader(stdin.String()), func(c change) error {
		if asked(c.path) {
			differs[c]++
		}
		return boundedChanges(len(differs))
	}, "--stdin", "-m", "--root")
	if err != nil {
		return nil, err
	}
	var sure []change
	doubtful := make(map[string][]string)
	for c, n := range differs {
		if n >= len(byID[c.commit].parents) || len(byID[c.commit].parents) > 2 {
			sure = append(sure, c)
		} else {
			doubtful[c.commit] = append(doubtful[c.commit], c.path)
		}
	}
	for i, id := range slices.Sorted(maps.Keys(doubtful)) {
		paths := doubtful[id]
		if i < maxDoubtful && len(paths) <= maxDoubtful {
			if paths, err = g.unmerged(ctx, byID[id], paths); err != nil {
				return nil, err
			}
		}
		for _, path := range paths {
			sure = append(sure, change{id, path})
		}
	}
	return sure, nil
}

// unmerged are the paths that a merge has otherwise than whoever changed them since the
// parents went apart.
func (g git) unmerged(ctx context.Context, merge commit, paths []string) ([]string, error) {
	base := ""
	out, err := g.run(ctx, nil, "merge-base", merge.parents[0], merge.parents[1])
	if base = strings.TrimSpace(string(out)); err != nil && status(err) != 1 {
		return nil, err
	}
	var have [4]map[string]string
	for i, id := range []string{merge.id, merge.parents[0], merge.parents[1], base} {
		if have[i], err = g.entries(ctx, id, paths); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(paths, func(path string) bool {
		merged, first, second, before := have[0][path], have[1][path], have[2][path], have[3][path]
		return first == before && merged == second || second == before && merged == first
	}), nil
}

// entries are modes and ids of files of a commit, by path; none of "".
func (g git) entries(ctx context.Context, id string, paths []string) (map[string]string, error) {
	have := make(map[string]string)
	if id == "" {
		return have, nil
	}
	out, err := g.run(ctx, nil, append([]string{"--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", id, "--"}, paths...)...)
	for entry := range strings.SplitSeq(string(out), "\x00") {
		if what, path, ok := strings.Cut(entry, "\t"); ok {
			have[path] = what
		}
	}
	return have, err
}

// boundedChanges refuses more than can be looked at.
func boundedChanges(n int) error {
	if n > maxEntries {
		return tooMuch("it changes more than %d files that servers act on", maxEntries)
	}
	return nil
}

// moved lists the files in which two commits differ, of those that asked names.
func (g git) moved(ctx context.Context, from, to string, asked func(path string) bool) ([]string, error) {
	var all []string
	err := g.diffTree(ctx, nil, func(c change) error {
		if asked(c.path) {
			all = append(all, c.path)
		}
		return boundedChanges(len(all))
	}, from, to)
	return all, err
}

// diffTree runs git diff-tree, and takes each file that it names.
func (g git) diffTree(ctx context.Context, stdin io.Reader, take func(change) error, args ...string) error {
	return g.stream(ctx, stdin, func(out *bufio.Reader) error { return parseChanges(out, take) },
		append([]string{"diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff"}, args...)...)
}

// parseChanges reads diff-tree's raw output (git-diff-tree(1)): a commit's id, then for each
// file what begins with a colon, and its path.
func parseChanges(out *bufio.Reader, take func(change) error) error {
	commit, isPath := "", false
	for {
		word, err := out.ReadString(0)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		word = strings.TrimSuffix(word, "\x00")
		switch {
		case isPath:
			isPath = false
			if err := take(change{commit, word}); err != nil {
				return err
			}
		case strings.HasPrefix(word, ":"):
			isPath = true
		default:
			commit = strings.TrimSpace(word)
		}
	}
}
