package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Load reads home (a $BOT_BOTTLE_HOME) and, if repository is not empty, the agents in
// its .bot-bottle/agents. userHome is what "~" in a path means. Problems inside files
// are kept in the Manifest; an error means that there is nothing to read.
func Load(home, repository, userHome string) (*Manifest, error) {
	if info, err := os.Stat(home); err != nil || !info.IsDir() {
		return nil, &missingHome{home}
	}
	l := &loader{userHome: userHome, m: &Manifest{
		Agents: map[string]Agent{}, Bottles: map[string]Bottle{},
		home: home, bad: map[string]Problems{}, seen: map[string]string{},
	}}
	bottles := l.directory(filepath.Join(home, "bottles"), "bottle", false)
	l.bottles(bottles)
	l.agents(l.directory(filepath.Join(home, "agents"), "agent", false), false)
	if repository != "" {
		l.repository(filepath.Join(repository, ".bot-bottle"))
	}
	l.finish()
	return l.m, nil
}

// missingHome is the error of a first start.
type missingHome struct{ home string }

func (e *missingHome) Error() string {
	return "there is no manifest: " + e.home + " is not a directory"
}

// Hint says what to do.
func (e *missingHome) Hint() string {
	return "to write a first agent and bottle: bot-bottle init"
}

type loader struct {
	userHome string
	m        *Manifest
	problems Problems
}

// document is one file, read but not yet understood.
type document struct {
	name, file string
	root       *value // nil when it cannot be read
	body       string
}

// CheckName refuses what cannot be the name of an agent or a bottle.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return errors.New(nameRule)
	}
	return nil
}

const nameRule = "a name has 1 to 24 of a-z, 0-9 and -, and begins with a letter or digit"

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,23}$`)

// directory reads every NAME.md. A repository's files are not followed through links.
func (l *loader) directory(dir, kind string, hostile bool) []document {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problems.add(dir, 0, "it cannot be read: %v", errors.Unwrap(err))
	}
	var documents []document
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".md")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		file := filepath.Join(dir, entry.Name())
		if err := CheckName(name); err != nil {
			l.problems.add(file, 0, "%v", err)
			continue
		}
		if hostile && !entry.Type().IsRegular() {
			l.problems.add(file, 0, "it is not a regular file")
			continue
		}
		if l.m.seen[kind+" "+name] != "" {
			l.problems.add(file, 0, "%s is already %s %s; a repository cannot replace it", l.m.seen[kind+" "+name], kind, name)
			continue
		}
		l.m.seen[kind+" "+name] = file
		documents = append(documents, l.read(name, file, hostile))
	}
	return documents
}

func (l *loader) read(name, file string, hostile bool) document {
	d := document{name: name, file: file}
	data, err := readFile(file, !hostile)
	if err != nil {
		l.problems.add(file, 0, "%v", err)
		return d
	}
	matter, body, err := split(data)
	if err != nil {
		l.problems.add(file, 1, "%v", err)
		return d
	}
	d.body = strings.TrimLeft(body, "\n")
	d.root = parse(file, matter, &l.problems)
	return d
}

// readFile reads a regular file of bounded size. What is looked at is what was opened,
// and opening cannot block on a named pipe: whoever has the repository may swap files
// meanwhile.
func readFile(file string, follow bool) ([]byte, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if !follow {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(file, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", errors.Unwrap(err))
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, err
}

// repository adds the agents of a repository. Bottles there are pointed out and never
// read: what a repository brings can widen nothing.
func (l *loader) repository(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return
	}
	if home, err := os.Stat(l.m.home); err == nil && os.SameFile(home, info) {
		return // the operator keeps $HOME in git
	}
	if _, err := os.Lstat(filepath.Join(dir, "bottles")); err == nil {
		l.problems.add(filepath.Join(dir, "bottles"), 0, "bottles come from %s/bottles only, never from a repository", l.m.home)
	}
	agents := filepath.Join(dir, "agents")
	if info, err := os.Lstat(agents); err == nil && info.IsDir() {
		l.agents(l.directory(agents, "agent", true), true)
	}
}

// finish files every problem under its file.
func (l *loader) finish() {
	l.problems.sort()
	l.m.Problems = l.problems
	for _, p := range l.problems {
		l.m.bad[p.File] = append(l.m.bad[p.File], p)
	}
	for name, a := range l.m.Agents {
		if len(l.m.bad[a.File]) > 0 {
			delete(l.m.Agents, name)
		}
	}
}

// Agent returns an agent: UnknownError if there is none, Problems if its file has any.
func (m *Manifest) Agent(name string) (Agent, error) {
	if a, ok := m.Agents[name]; ok {
		return a, nil
	}
	return Agent{}, m.without("agent", name)
}

// Bottle returns a bottle, its extends applied: UnknownError if there is none, Problems
// if its file or one that it extends has any.
func (m *Manifest) Bottle(name string) (Bottle, error) {
	if b, ok := m.Bottles[name]; ok {
		return b, nil
	}
	return Bottle{}, m.without("bottle", name)
}

func (m *Manifest) without(kind, name string) error {
	file := m.seen[kind+" "+name]
	if file == "" {
		return &UnknownError{Kind: kind, Name: name, Known: m.names(kind), Home: m.home}
	}
	if ps := m.bad[file]; len(ps) > 0 {
		return ps
	}
	return Problems{{File: file, Message: "it has problems, or what it extends does; bot-bottle validate shows them"}}
}

// names lists the agents or bottles that there are, sorted: also those with a problem,
// which the operator may have meant.
func (m *Manifest) names(kind string) []string {
	var names []string
	for key := range m.seen {
		if name, ok := strings.CutPrefix(key, kind+" "); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
