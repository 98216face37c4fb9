package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The documentation's commands are run as its reader would type them. Each page with blocks of sh
// has a scene (docs_scenes_test.go), which says what is there before. Its lines then run in their
// order, each on a terminal, in a bash that keeps what it is told (cd, export, variables), with
// bottles of the real engine. Each must end with status 0, or the one that its cue says. What a
// block of "output" shows must be what one of the lines before it printed. A line that cannot be
// run here has a cue that says why; one that is new is run; a cue without its line fails.

// cue says what is different about a line.
type cue struct {
	line   string // without its comment
	before func(*stage)
	keys   []string // words and what is typed when they are shown, by turns
	status int
	shows  string // a word of what it prints
	after  func(s *stage, printed string)
	piped  bool   // it runs without a terminal
	cannot string // why it is not run
}

// scene is what a page needs.
type scene struct {
	set  func(*stage)
	cues []cue
}

// stage is where one page is played.
type stage struct {
	house
	dir   string            // the operator's home directory
	last  int               // exit status of the line before
	names map[string]string // the identity of each agent's latest bottle
	asked map[string]string // the id of a request, by the number that the page gives it
}

func TestDocsCommandsRun(t *testing.T) {
	dockerOnly(t, "the pages are of the usual backend")
	t.Parallel()
	if os.Getenv(lab.Runtime) != "" {
		need.Elsewhere(t, "the pages are of the usual runtime")
	}
	all := scenes()
	for page, blocks := range docs(t) {
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.kind == "sh" }) {
			continue
		}
		played, ok := all[page]
		if !ok {
			t.Errorf("%s shows commands and has no scene", page)
		}
		delete(all, page)
		name := filepath.Base(page)
		if slices.Contains([]string{"README.md", "docs/quickstart.md"}, page) {
			continue // one after the other, below: both build in the tree
		}
		t.Run(name, func(t *testing.T) { t.Parallel(); played.play(t, page, blocks) })
	}
	for page := range all {
		t.Errorf("there is a scene for %s, which shows no command", page)
	}
	t.Run("clone", func(t *testing.T) {
		t.Parallel()
		for _, page := range []string{"README.md", "docs/quickstart.md"} {
			t.Run(filepath.Base(page), func(t *testing.T) { scenes()[page].play(t, page, docs(t)[page]) })
		}
	})
}

// block is a fenced part of a page.
type block struct{ kind, name, text string }

var fenced = regexp.MustCompile("(?ms)^```(\\w+)(?: ([^\n]+))?\n(.*?)^```$")

// docs are the blocks of all pages.
func docs(t *testing.T) map[string][]block {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 20 {
		t.Fatalf("the pages are not where they were: %v %v", files, err)
	}
	pages := map[string][]block{}
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page, _ := filepath.Rel("../..", file)
		for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
			pages[page] = append(pages[page], block{m[1], m[2], m[3]})
		}
	}
	return pages
}

var comment = regexp.MustCompile(`\s+# .*$`)

// lines are a block's commands, without their comments.
func (b block) lines() (all []string) {
	for line := range strings.Lines(b.text) {
		if line = comment.ReplaceAllString(strings.TrimSpace(line), ""); line != "" {
			all = append(all, line)
		}
	}
	return all
}

func (p scene) play(t *testing.T, page string, blocks []block) {
	s := newStage(t)
	for _, b := range blocks {
		if b.kind == "markdown" && b.name != "" {
			s.must(s.Write(b.name, here(b)))
		}
	}
	if p.set != nil {
		p.set(s)
	}
	unused := map[string]bool{}
	for _, c := range p.cues {
		unused[c.line] = true
	}
	var printed []string
	for _, b := range blocks {
		switch b.kind {
		case "output":
			s.compare(page, b.text, printed)
		case "sh":
			printed = nil
			for _, line := range b.lines() {
				c := cue{line: line}
				if i := slices.IndexFunc(p.cues, func(c cue) bool { return c.line == line }); i >= 0 {
					c = p.cues[i]
					delete(unused, line)
				}
				printed = append(printed, s.perform(page, c))
			}
		}
	}
	for line := range unused {
		t.Errorf("%s does not show %q any more, of which a cue tells", page, line)
	}
}

// here is a page's file of the manifest, on this machine: a bottle that is made from no other one
// reaches the stand-in, and is given one processor.
func here(b block) string {
	text := regexp.MustCompile(`\bcpus: \d+`).ReplaceAllString(b.text, "cpus: 1")
	if strings.HasPrefix(b.name, "bottles/") && !strings.Contains(text, "extends:") {
		return strings.Replace(text, "---\n", "---\nextends: standin\n", 1)
	}
	return text
}

// newStage is an operator's home directory: the program on PATH, with programs that stand in for
// those that would change this machine or ask a keeper of secrets; a repository; a manifest with
// an agent whose model is the stand-in.
func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(dir, ".bot-bottle")
	l, err := lab.New(t.Context(), home, filepath.Join(dir, "bin", "bot-bottle"), standin.Options{Answer: "42"})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{house: house{l, t, chosen()}, dir: dir, names: map[string]string{}, asked: map[string]string{}}
	t.Cleanup(s.strike)
	s.Extra = append(s.ownTools(), "HOME="+dir, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "PAGER=cat", "GIT_PAGER=cat", "LESS=", "GIT_CONFIG_NOSYSTEM=1")
	program, err := os.ReadFile(programs.program)
	s.must(err)
	s.file("bin/bot-bottle", string(program))
	s.file("bin/sudo", "#!/bin/sh\nexec \"$@\"\n")
	s.file("bin/gh", "#!/bin/sh\necho gho_standin\n")
	s.file("bin/pass", "#!/bin/sh\necho standin-password\n")
	s.file(".gitconfig", "[user]\n\tname = Op\n\temail = op@acme.example\n[init]\n\tdefaultBranch = main\n")
	s.file("src/widget/README", "a widget\n")
	s.bash("cd ~/src/widget && git init -q && git add . && git commit -q -m 'the beginning'")
	s.must(os.Rename(filepath.Join(home, "bottles", "dev.md"), filepath.Join(home, "bottles", "standin.md")))
	s.must(os.Remove(filepath.Join(home, "agents", "claude.md")))
	s.must(s.Write("bottles/dev.md", "---\nextends: standin\nsupervise: true\n---\n"))
	s.must(s.Write("agents/implementer.md", "---\nbottle: dev\ngit_identity: {name: Implementer, email: implementer@acme.example}\n---\n"))
	return s
}

// ownTools are the settings that Go reads from the real home directory.
func (s *stage) ownTools() []string {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	s.must(err)
	at := strings.Fields(string(out))
	return []string{"GOCACHE=" + at[0], "GOMODCACHE=" + at[1], "GOPATH=" + at[2]}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// file writes one below the operator's home directory.
func (s *stage) file(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.WriteFile(path, []byte(content), 0o700))
}

// bash runs what happens behind the scene.
func (s *stage) bash(script string) string {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), "bash", "-ec", script)
	c.Env, c.Dir = s.Env(), s.dir
	out, err := c.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// strike removes the bottles, and fails for what is left then.
func (s *stage) strike() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var kept []struct{ Identity, State string }
	if r, err := s.Run(ctx, nil, "list", "all", "--json"); err != nil || json.Unmarshal([]byte(r.Stdout), &kept) != nil {
		s.t.Errorf("%v: %s", err, r.Stderr)
	}
	for _, b := range kept {
		_, _ = s.Run(ctx, nil, "rm", "--force", b.Identity)
	}
	s.nothingLeft(ctx)
	if err := s.Close(ctx); err != nil {
		s.t.Error(err)
	}
}

// elsewhere are the places of the pages, and where they are here.
func (s *stage) elsewhere(line string) string {
	for agent, identity := range s.names {
		line = regexp.MustCompile(`\b`+agent+`-k7x2m4\b`).ReplaceAllString(line, identity)
	}
	line = regexp.MustCompile(`\bk7x2m4-\d+\b`).ReplaceAllStringFunc(line, func(id string) string {
		if real := s.asked[strings.TrimPrefix(id, "k7x2m4-")]; real != "" {
			return real
		}
		return id
	})
	return strings.NewReplacer(
		"ssh://me@build.example", s.asked["engine"], "IDENTITY", s.names["implementer"], "ANTHROPIC_API_KEY=…", "ANTHROPIC_API_KEY="+s.Key, "cd your/repository", "cd ~/src/widget",
		"/usr/local/bin/", s.dir+"/bin/", "/usr/share/bash-completion/completions/", s.dir+"/",
	).Replace(line)
}

// manners are what a reader does on a program's screen: it shows this, then one types that.
func manners(line string) []string {
	verb := regexp.MustCompile(`^bot-bottle (\w+)`).FindStringSubmatch(line)
	switch {
	case regexp.MustCompile(` (-f|--follow)\b`).MatchString(line):
		return []string{"begin", "\x03"}
	case verb == nil || regexp.MustCompile(` (--detach|--dry-run|-p) `).MatchString(line):
	case slices.Contains([]string{"start", "resume", "attach"}, verb[1]):
		return []string{"bypass permissions on", "\x10\x11"}
	case verb[1] == "dashboard":
		return []string{"implementer", "q"}
	}
	return nil
}

// perform runs one line, and returns what it printed.
func (s *stage) perform(page string, c cue) string {
	s.t.Helper()
	if c.cannot != "" {
		return ""
	}
	if c.before != nil {
		c.before(s)
	}
	line := s.elsewhere(c.line)
	if c.keys == nil {
		c.keys = manners(line)
	}
	if n := len(c.keys); n > 0 && c.keys[n-1] == "\x03" {
		c.status = 130 // ctrl-C is how one stops following
	}
	command := s.shell(line)
	var printed string
	var code int
	began := time.Now()
	if c.piped {
		out, err := command.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			s.t.Fatal(err)
		}
		printed, code = string(out), command.ProcessState.ExitCode()
	} else {
		printed, code = s.operate(onScreen(s.t, command), c.keys)
	}
	s.t.Logf("%.1f s: %s", time.Since(began).Seconds(), line)
	if code != c.status || !strings.Contains(printed, c.shows) {
		s.t.Fatalf("%s: %s\ngot status %d, want %d, and %q in\n%s", page, line, code, c.status, c.shows, printed)
	}
	s.last = code
	for _, m := range regexp.MustCompile(`\b([a-z]+)-[a-z2-7]{6}\b`).FindAllStringSubmatch(printed, -1) {
		if _, err := os.Stat(filepath.Join(s.Home, "agents", m[1]+".md")); err == nil && strings.HasPrefix(line, "bot-bottle start") {
			s.names[m[1]] = m[0]
		}
	}
	if c.after != nil {
		c.after(s, printed)
	}
	return printed
}

// shell is a bash that knows what the lines before have said.
func (s *stage) shell(line string) *exec.Cmd {
	top, err := filepath.Abs("../..")
	s.must(err)
	kept := filepath.Join(s.dir, "shell")
	script := fmt.Sprintf(`
trap 'code=$?; { declare -p; echo "cd \"$PWD\""; } 2>/dev/null | grep -v '\''^declare -[^ ]*r'\'' >%[1]q; exit $code' EXIT
[ ! -e %[1]q ] || . %[1]q 2>/dev/null
(exit %[2]d)
%[3]s
`, kept, s.last, line)
	c := exec.CommandContext(s.t.Context(), "bash", "-c", script)
	c.Env, c.Dir = s.Env(), top
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGHUP) }
	c.WaitDelay = time.Minute
	return c
}

// operate answers every question with y, types what is to be typed, and waits for the end.
//
// A program that does not end is ended with all that it has started.
func (s *stage) operate(on *screen, keys []string) (printed string, code int) {
	s.t.Helper()
	ended := make(chan int, 1)
	go func() { ended <- on.end() }()
	answered := 0
	for deadline := time.After(5 * time.Minute); ; {
		select {
		case code = <-ended:
			_ = on.slave.Close()
			time.Sleep(50 * time.Millisecond) // what the terminal has not handed over yet
			if len(keys) > 0 {
				s.t.Errorf("it ended before it showed %q:\n%s", keys[0], on.plain())
			}
			return strings.ReplaceAll(on.plain(), "\r\n", "\n"), code
		case <-deadline:
			_ = syscall.Kill(-on.command.Process.Pid, syscall.SIGKILL)
			s.t.Fatalf("it goes on, waiting for %q:\n%s", keys, on.plain())
		case <-time.After(20 * time.Millisecond):
		}
		shown := on.plain()
		if questions := strings.Count(shown, "[y/N]"); questions > answered {
			answered = questions
			on.send("y\n")
		}
		if len(keys) > 1 && strings.Contains(shown, keys[0]) {
			on.send(keys[1])
			keys = keys[2:]
		}
	}
}

// compare holds what a page shows against what was printed.
func (s *stage) compare(page, shown string, printed []string) {
	s.t.Helper()
	plain := func(text string) string {
		text = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h)\b`).ReplaceAllString(text, "TIME")
		text = regexp.MustCompile(`\b[a-z2-7]{6}-\d+\b`).ReplaceAllString(text, "ID")
		text = regexp.MustCompile(`\b([a-z]+)-[a-z2-7]{6}\b`).ReplaceAllString(text, "$1-IDENTITY")
		return strings.Join(strings.Fields(text), " ")
	}
	want := plain(shown)
	if !slices.ContainsFunc(printed, func(p string) bool { return strings.Contains(plain(p), want) }) {
		s.t.Errorf("%s shows\n%s\nand what came is\n%s", page, shown, strings.Join(printed, "\n"))
	}
}

// up starts a bottle behind the scene.
func (s *stage) up(agent string, args ...string) {
	s.t.Helper()
	s.names[agent] = s.bash("cd ~/src/widget && bot-bottle start -y --detach " + strings.Join(args, " ") + " " + agent + " 2>/dev/null")
}

// sleeping has the implementer be a program that waits, where a page is not about its screen.
func (s *stage) sleeping() {
	s.t.Helper()
	s.sleeper()
	s.must(os.Remove(filepath.Join(s.Home, "agents", "sleeper.md")))
	s.must(s.Write("agents/implementer.md", "---\nbottle: sleeper\ngit_identity: {name: Implementer, email: implementer@acme.example}\n---\n"))
}

// ask has the agent ask, by one of its tools, what the page calls number.
func (s *stage) ask(number, tool, arguments string) {
	s.t.Helper()
	s.asked[number] = s.house.asked(s.tool(s.names["implementer"], tool, arguments))
}

// inBottle runs what the agent did.
func (s *stage) inBottle(script string) {
	s.t.Helper()
	s.run(0, "", "exec", s.names["implementer"], "--", "sh", "-ec", script)
}

// exists fails if a file was not written.
func (s *stage) exists(name string) {
	s.t.Helper()
	if info, err := os.Stat(filepath.Join(s.dir, name)); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		s.t.Errorf("%s was not written", name)
	}
}
