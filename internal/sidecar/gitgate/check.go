package gitgate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// checker looks at what a push brings. It may be used concurrently.
type checker struct {
	scanner *dlp.Scanner
	author  person // whose commits they must be; zero for anybody's
}

func newChecker(c control.GitConfig) (*checker, error) {
	var known []dlp.Value
	for _, s := range c.Known {
		known = append(known, dlp.Value{Name: s.Name, Secret: []byte(s.Value)}, dlp.Value{Name: s.Name, Secret: []byte(s.Placeholder), Placeholder: true})
	}
	actions := make(map[string]dlp.Action, len(c.Scan))
	for rule, action := range c.Scan {
		if action == dlp.Redact {
			action = dlp.Block // nothing can be taken out of a commit without making it another
		}
		actions[rule] = action
	}
	scanner, err := dlp.New(dlp.Options{Known: known, Actions: actions})
	return &checker{scanner, person{c.Name, c.Email}}, err
}

// finding is a secret in what is pushed. It never holds the secret.
type finding struct {
	dlp.Finding
	object object
	kind   string // commit, tree, blob, tag, ref
	line   int    // in a blob; 0 where it is in no one place
	commit string // that brings it, with its first line; "" if unknown
	text   []byte // what was found, to look for it upstream; nil where it is in no one place
}

// inspection is what a push brings.
type inspection struct {
	objects  int
	bytes    int64
	commits  []commit // newest first
	findings []finding
	strange  []commit // by somebody else than the agent
	changed  []change // paths, by commit
	tagged   bool     // it brings annotated tags

	mu    sync.Mutex
	trees map[string][]entry
	names map[string]bool
}

// change is a file that a commit changes.
type change struct{ commit, path string }

// inspect looks at every object that is new with tips. An error that is a *errTooMuch is
// for the client.
func (c *checker) inspect(ctx context.Context, g git, tips []string, refs []string) (*inspection, error) {
	objects, err := g.newObjects(ctx, tips)
	if err != nil {
		return nil, err
	}
	in := &inspection{objects: len(objects), trees: make(map[string][]entry), names: make(map[string]bool)}
	if err := c.scan(ctx, g, objects, in); err != nil {
		return nil, err
	}
	if err := in.bounded(); err != nil {
		return nil, err
	}
	if err := c.scanNames(ctx, in, refs); err != nil {
		return nil, err
	}
	if in.changed, err = g.changes(ctx, in.commits); err != nil {
		return nil, err
	}
	return in, c.settle(ctx, g, in, tips)
}

// scan reads and searches the objects. Reading is one process's work; the search is done
// beside it.
func (c *checker) scan(ctx context.Context, g git, objects []object, in *inspection) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) + 1)
	memory := dlp.NewMemory(256) // of parts of a value that are apart
	err := g.each(ctx, objects, func(o object, kind string, data []byte) error {
		in.bytes += int64(len(data))
		switch kind {
		case "tree":
			return in.tree(o, data)
		case "commit":
			c.commit(in, o, data)
		case "tag":
			in.tagged = true
		}
		group.Go(func() error { return c.search(ctx, in, o, kind, data, memory) })
		return nil
	}, func(o object, content io.Reader, size int64) error {
		in.bytes += size
		return c.searchStream(ctx, in, o, content)
	})
	return errors.Join(group.Wait(), err)
}

func (c *checker) commit(in *inspection, o object, data []byte) {
	made := parseCommit(o.id, data)
	in.commits = append(in.commits, made)
	if len(in.commits) > maxCommits {
		return // inspect refuses it
	}
	for _, who := range []person{made.author, made.committer} {
		if c.author.name != "" && who.name != c.author.name || c.author.email != "" && !strings.EqualFold(who.email, c.author.email) {
			in.strange = append(in.strange, made)
			return
		}
	}
}

func (in *inspection) tree(o object, data []byte) error {
	entries, err := parseTree(data, len(o.id)/2)
	if err != nil {
		return err
	}
	in.trees[o.id] = entries
	for _, e := range entries {
		in.names[e.name] = true
	}
	return nil
}

// bounded refuses trees that unfold to more than anybody could check out: directories that
// hold each other many times over (a "git bomb").
func (in *inspection) bounded() error {
	if len(in.commits) > maxCommits {
		return tooMuch("it brings more than %d commits", maxCommits)
	}
	sizes := make(map[string]int, len(in.trees))
	var size func(id string, depth int) (int, error)
	size = func(id string, depth int) (int, error) {
		if depth > maxDepth {
			return 0, tooMuch("its directories are more than %d deep", maxDepth)
		}
		if n, ok := sizes[id]; ok {
			return n, nil
		}
		total := 1
		for _, e := range in.trees[id] {
			n := 1
			if e.dir {
				var err error
				if n, err = size(e.id, depth+1); err != nil {
					return 0, err
				}
			}
			if total += n; total > maxEntries {
				return 0, tooMuch("one of its directories unfolds to more than %d files", maxEntries)
			}
		}
		sizes[id] = total
		return total, nil
	}
	for id := range in.trees {
		if _, err := size(id, 0); err != nil {
			return err
		}
	}
	return nil
}

func (in *inspection) found(o object, kind string, data []byte, findings []dlp.Finding) {
	if len(findings) == 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, f := range findings {
		one := finding{Finding: f, object: o, kind: kind}
		if f.Start >= 0 && data != nil {
			one.line = 1 + bytes.Count(data[:f.Start], []byte{'\n'})
			one.text = bytes.Clone(data[f.Start:f.End])
		}
		in.findings = append(in.findings, one)
	}
}

func (c *checker) search(ctx context.Context, in *inspection, o object, kind string, data []byte, memory *dlp.Memory) error {
	findings, err := c.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: data, Memory: memory})
	in.found(o, kind, data, findings)
	if err != nil {
		return unsearched(o, kind, err)
	}
	return nil
}

// unsearched refuses what could not be searched to its end.
func unsearched(o object, kind string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return tooMuch("%s cannot be searched for secrets: %v", describe(o, kind), err)
}

// searchStream searches a large file as it comes.
func (c *checker) searchStream(ctx context.Context, in *inspection, o object, content io.Reader) error {
	stream, err := c.scanner.NewStream(dlp.Input{Kind: dlp.Body})
	if err != nil {
		return err
	}
	defer stream.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(content, buffer)
		findings, failed := stream.Write(ctx, buffer[:n])
		in.found(o, "blob", nil, findings)
		switch {
		case failed != nil:
			return unsearched(o, "blob", failed)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// scanNames searches what is neither in a file nor in a message: names of files and refs.
func (c *checker) scanNames(ctx context.Context, in *inspection, refs []string) error {
	var names bytes.Buffer
	for name := range in.names {
		names.WriteString(name + "\n")
	}
	if err := c.searchText(ctx, in, object{path: "the name of a file"}, "tree", names.Bytes()); err != nil {
		return err
	}
	for _, ref := range refs {
		if err := c.searchText(ctx, in, object{path: "the name of a ref"}, "ref", []byte(ref)); err != nil {
			return err
		}
	}
	return nil
}

// searchText searches in parts: a million names are more than one scan takes.
func (c *checker) searchText(ctx context.Context, in *inspection, o object, kind string, text []byte) error {
	for len(text) > 0 {
		n := min(len(text), wholeBlob)
		if end := bytes.LastIndexByte(text[:n], '\n'); end >= 0 && n < len(text) {
			n = end + 1
		}
		findings, err := c.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: text[:n]})
		in.found(o, kind, nil, findings)
		if err != nil {
			return unsearched(o, kind, err)
		}
		text = text[n:]
	}
	return nil
}

// settle drops what was found but is upstream already, and says which commits bring the
// rest.
func (c *checker) settle(ctx context.Context, g git, in *inspection, tips []string) error {
	in.findings = slices.DeleteFunc(in.findings, func(f finding) bool { return f.Action == dlp.Alert && f.kind == "blob" && f.Rule == dlp.RuleAssigned })
	bases := in.bases()
	kept := in.findings[:0]
	for i, f := range in.findings {
		if i < maxSettled && f.kind == "blob" && f.Rule != dlp.RuleKnownValue && f.Rule != dlp.RulePlaceholder {
			old, err := c.upstreamHas(ctx, g, f, bases)
			if err != nil {
				return err
			}
			if old {
				continue
			}
		}
		if i < maxSettled {
			f.commit = g.introducer(ctx, f, in, tips)
		}
		kept = append(kept, f)
	}
	in.findings = kept
	return nil
}

// maxSettled bounds how many findings are looked into; all others stay as they are.
const maxSettled = 200

// maxBases bounds how many of the upstream's commits a finding is looked for in.
const maxBases = 16

// bases are the upstream's commits that the pushed ones continue.
func (in *inspection) bases() []string {
	fresh := make(map[string]bool, len(in.commits))
	for _, c := range in.commits {
		fresh[c.id] = true
	}
	var bases []string
	for _, c := range in.commits {
		for _, parent := range c.parents {
			if !fresh[parent] && !slices.Contains(bases, parent) && len(bases) < maxBases {
				bases = append(bases, parent)
			}
		}
	}
	return bases
}

// upstreamHas reports whether the very text that was found is in the upstream's files: in
// the same file, or in another one that has its longest line. What is in no one place counts
// as known if the same is found in the same file there.
func (c *checker) upstreamHas(ctx context.Context, g git, f finding, bases []string) (bool, error) {
	for _, base := range bases {
		old, err := g.run(ctx, nil, "cat-file", "blob", base+":"+f.object.path)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err == nil {
			if f.text != nil && bytes.Contains(old, f.text) {
				return true, nil
			}
			if f.text == nil && c.same(ctx, old, f) {
				return true, nil
			}
		}
		if f.text != nil && g.elsewhere(ctx, base, f.text) {
			return true, nil
		}
	}
	return false, nil
}

func (c *checker) same(ctx context.Context, old []byte, f finding) bool {
	findings, err := c.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: old})
	return err == nil && slices.ContainsFunc(findings, func(o dlp.Finding) bool {
		return o.Start < 0 && o.Rule == f.Rule && slices.Equal(o.Encoding, f.Encoding)
	})
}

// elsewhere looks for text in all files of a commit. It is named on standard input: it may
// be a secret after all.
func (g git) elsewhere(ctx context.Context, commit string, text []byte) bool {
	longest := slices.MaxFunc(bytes.Split(text, []byte{'\n'}), func(a, b []byte) int { return len(a) - len(b) })
	if len(longest) < 16 || bytes.IndexByte(longest, 0) >= 0 {
		return false
	}
	out, err := g.run(ctx, bytes.NewReader(append(bytes.Clone(longest), '\n')), "grep", "-I", "-l", "-z", "-F", "--no-textconv", "-f", "-", commit, "--")
	if err != nil {
		return false
	}
	for i, name := range bytes.Split(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		if i == maxBases {
			break
		}
		if old, err := g.run(ctx, nil, "cat-file", "blob", string(name)); err == nil && bytes.Contains(old, text) { // "commit:path"
			return true
		}
	}
	return false
}

// introducer names the oldest of the pushed commits with an object, and its first line.
func (g git) introducer(ctx context.Context, f finding, in *inspection, tips []string) string {
	id := f.object.id
	if f.kind == "blob" {
		stdin := strings.NewReader(strings.Join(tips, "\n") + "\n")
		out, err := g.run(ctx, stdin, "log", "--format=%H", "-m", "--no-renames", "--find-object="+id, "--stdin", "--not", "--all")
		lines := strings.Fields(string(out))
		if err != nil || len(lines) == 0 {
			return ""
		}
		id = lines[len(lines)-1]
	}
	if i := slices.IndexFunc(in.commits, func(c commit) bool { return c.id == id }); i >= 0 {
		return in.commits[i].short()
	}
	return ""
}

// short names a commit for people.
func (c commit) short() string { return fmt.Sprintf("%.10s %s", c.id, cut(printable(c.subject), 60)) }

func cut(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// changes lists the files that each commit changes; of a merge, those that it has otherwise
// than all of its parents.
func (g git) changes(ctx context.Context, commits []commit) ([]change, error) {
	var stdin strings.Builder
	for _, c := range commits {
		stdin.WriteString(c.id + "\n")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := g.command(ctx, "diff-tree", "--stdin", "-r", "-c", "--root", "-z", "--raw", "--no-renames", "--no-ext-diff")
	c.Stdin = strings.NewReader(stdin.String())
	complaint := &bounded{most: 4 << 10, tail: true}
	c.Stderr = complaint
	pipe, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	all, failed := parseChanges(bufio.NewReaderSize(pipe, 256<<10))
	if failed != nil {
		cancel()
	}
	if err := c.Wait(); err != nil && failed == nil {
		failed = &gitError{"diff-tree", err, complaint.String()}
	}
	return all, failed
}

// parseChanges reads diff-tree's raw output (git-diff-tree(1)): a commit's id, then for each
// file what begins with a colon, and its path.
func parseChanges(out *bufio.Reader) ([]change, error) {
	var all []change
	commit, isPath := "", false
	for {
		word, err := out.ReadString(0)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		word = strings.TrimSuffix(word, "\x00")
		switch {
		case isPath:
			all = append(all, change{commit, word})
			isPath = false
		case strings.HasPrefix(word, ":"):
			isPath = true
		default:
			commit = strings.TrimSpace(word)
		}
		if len(all) > maxEntries {
			return nil, tooMuch("it changes more than %d files", maxEntries)
		}
	}
}
