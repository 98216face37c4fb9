package gitgate

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"maps"
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
	inside  *dlp.Scanner // of what is in a large archive
	author  person       // whose commits they must be; zero for anybody's
	large   sync.Mutex   // held while a large file is in memory
	known   *clean       // files that need not be searched again
	by      control.GitConfig
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
	if err != nil {
		return nil, err
	}
	inside, err := dlp.New(dlp.Options{Known: known, Actions: actions, Budget: insideBudget, CacheSize: -1})
	return &checker{scanner: scanner, inside: inside, author: person{c.Name, c.Email}, known: newClean(maxClean), by: c}, err
}

// knows reports whether it checks by what another configuration says.
func (c *checker) knows(other control.GitConfig) bool {
	return slices.Equal(c.by.Known, other.Known) && maps.Equal(c.by.Scan, other.Scan) && c.by.Name == other.Name && c.by.Email == other.Email
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
	changed  []change // paths that were asked about, by commit
	tags     []string // ids of the annotated ones that it brings

	mu    sync.Mutex
	shape *shape
}

// inspect looks at every object that is new with tips, and at who changes the paths that
// asked names. An error that is a *errTooMuch is
// for the client.
func (c *checker) inspect(ctx context.Context, g git, tips []string, refs []string, asked func(path string) bool) (*inspection, error) {
	objects, err := g.newObjects(ctx, tips)
	if err != nil {
		return nil, err
	}
	in := &inspection{objects: len(objects), shape: newShape()}
	memory := dlp.NewMemory(256) // of parts of a value that are apart
	if err := c.scan(ctx, g, objects, in, memory); err != nil {
		return nil, err
	}
	if err := in.shape.bounded(); err != nil {
		return nil, err
	}
	if err := c.scanNames(ctx, in, refs, memory); err != nil {
		return nil, err
	}
	if in.changed, err = g.changes(ctx, in.commits, asked); err != nil {
		return nil, err
	}
	return in, c.settle(ctx, g, in, tips)
}

// scan reads and searches the objects. Reading is one process's work; the search is done
// beside it.
func (c *checker) scan(ctx context.Context, g git, objects []object, in *inspection, memory *dlp.Memory) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0) + 1)
	objects, err := c.known.without(objects, func(o object, f cleanFile) error {
		in.found(o, "blob", nil, c.scanner.Join(memory, f.parts))
		return in.count(f.size)
	})
	if err != nil {
		return err
	}
	err = g.each(ctx, objects, func(o object, kind string, data []byte) error {
		if err := in.count(int64(len(data))); err != nil {
			return err
		}
		switch kind {
		case "tree":
			return in.tree(o, data)
		case "commit":
			if err := c.commit(in, o, data); err != nil {
				return err
			}
		case "tag":
			in.tags = append(in.tags, o.id)
			c.tag(in, o, data)
		}
		group.Go(func() error { return c.search(ctx, in, o, kind, data, memory) })
		return nil
	}, func(o object, content io.Reader, size int64) error {
		if err := in.count(size); err != nil {
			return err
		}
		return c.searchBlob(ctx, in, o, content, size)
	})
	return errors.Join(group.Wait(), err)
}

// count adds up what the objects unpack to.
func (in *inspection) count(size int64) error {
	if in.bytes += size; in.bytes > maxBytes {
		return tooMuch("it brings more than %d GiB", maxBytes>>30)
	}
	return nil
}

func (c *checker) commit(in *inspection, o object, data []byte) error {
	made, err := parseCommit(o.id, data)
	if err != nil {
		return err
	}
	in.commits = append(in.commits, made)
	if len(in.commits) > maxCommits {
		return tooMuch("it brings more than %d commits", maxCommits)
	}
	if !c.is(made.author) || !c.is(made.committer) {
		in.strange = append(in.strange, made)
	}
	return nil
}

// is reports whether somebody is the agent.
func (c *checker) is(who person) bool {
	return (c.author.name == "" || who.name == c.author.name) && (c.author.email == "" || strings.EqualFold(who.email, c.author.email))
}

// tag looks at whose it is.
func (c *checker) tag(in *inspection, o object, data []byte) {
	head, _, _ := bytes.Cut(data, []byte("\n\n"))
	for line := range bytes.SplitSeq(head, []byte("\n")) {
		if tagger, ok := bytes.CutPrefix(line, []byte("tagger ")); ok && !c.is(parsePerson(string(tagger))) {
			in.strange = append(in.strange, commit{id: o.id, author: parsePerson(string(tagger)), committer: parsePerson(string(tagger)), subject: "(a tag)"})
		}
	}
}

func (in *inspection) tree(o object, data []byte) error {
	id, err := hex.DecodeString(o.id)
	if err != nil {
		return errTree
	}
	return in.shape.add(o, string(id), data)
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
	if id, ok := parseID(o.id); ok && kind == "blob" {
		if f, ok := c.searchAlone(ctx, id, data); ok {
			in.found(o, kind, data, c.scanner.Join(memory, f.parts))
			return nil
		}
	}
	findings, err := c.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: data, Memory: memory})
	in.found(o, kind, data, findings)
	if err != nil {
		return unsearched(o, kind, err)
	}
	return nil
}

// searchAlone searches a file beside nothing else, and remembers it if it is clean. Whatever is
// found is for a search that takes it down.
func (c *checker) searchAlone(ctx context.Context, id objectID, data []byte) (cleanFile, bool) {
	findings, parts, err := c.scanner.ScanAlone(ctx, dlp.Input{Kind: dlp.Body, Data: data})
	if err != nil || len(findings) > 0 {
		return cleanFile{}, false
	}
	f := cleanFile{int64(len(data)), parts}
	c.known.add(id, f)
	return f, true
}

// unsearched refuses what could not be searched to its end.
func unsearched(o object, kind string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return tooMuch("%s cannot be searched for secrets: %v", describe(o, kind), err)
}

// settle drops what was found but is upstream already, and says which commits bring the
// rest.
func (c *checker) settle(ctx context.Context, g git, in *inspection, tips []string) error {
	in.findings = slices.DeleteFunc(in.findings, func(f finding) bool { return f.Action == dlp.Alert && f.kind == "blob" && f.Rule == dlp.RuleAssigned })
	bases := in.bases()
	kept, places := in.findings[:0], make(map[string]string)
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
			f.commit = c.introducer(ctx, g, f, in, tips)
		}
		place, known := places[f.object.path]
		if !known {
			place = c.clean(f.object.path)
			places[f.object.path] = place
		}
		f.object.path = place
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

// same reports whether the very secret that was found is in old, too.
func (c *checker) same(ctx context.Context, old []byte, f finding) bool {
	if f.Digest == 0 {
		return false
	}
	had := &inspection{}
	if err := c.searchBlob(ctx, had, object{}, bytes.NewReader(old), int64(len(old))); err != nil {
		return false
	}
	return slices.ContainsFunc(had.findings, func(o finding) bool { return o.Rule == f.Rule && o.Digest == f.Digest })
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
func (c *checker) introducer(ctx context.Context, g git, f finding, in *inspection, tips []string) string {
	id := f.object.id
	for _, made := range slices.Backward(in.commits) {
		if made.id == id || made.tree == id && f.kind == "tree" {
			return c.short(made)
		}
	}
	if f.kind != "blob" && f.kind != "tree" || id == "" {
		return ""
	}
	stdin := strings.NewReader(strings.Join(tips, "\n") + "\n")
	out, err := g.run(ctx, stdin, "log", "--format=%H", "-m", "-t", "--no-renames", "--find-object="+id, "--stdin", "--not", "--all")
	lines := strings.Fields(string(out))
	if err != nil || len(lines) == 0 {
		return ""
	}
	id = lines[len(lines)-1]
	if i := slices.IndexFunc(in.commits, func(made commit) bool { return made.id == id }); i >= 0 {
		return c.short(in.commits[i])
	}
	return ""
}

func cut(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}
