package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/cli"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// What the documentation shows is held against the program:
//
//   - A fenced block of markdown whose info string names a file of $BOT_BOTTLE_HOME, as in
//     "```markdown bottles/dev.md", is that whole file. Those of one page make one manifest.
//     A markdown block that begins with "---" must have a name.
//   - A fenced block of yaml is part of a bottle, or of config.yaml where it begins with one of
//     that file's keys. It may name secrets that the page has elsewhere.
//   - A fenced block of sh has command lines: each bot-bottle in it must have that verb, those
//     flags with such values, and that many arguments. In running text, what stands between
//     backticks and begins with "bot-bottle" must have that verb and those flags.
//   - A link to a file of the repository leads to one, and to a heading that it has.

// fence is a fenced block of a page.
type fence struct {
	page, kind, name string
	line             int
	text             string
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.page, f.line) }

// pages are the files of the documentation, and what is in them.
func pages(t *testing.T) map[string]string {
	t.Helper()
	top := filepath.Join("..", "..")
	read := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "changelog/unreleased/*.md"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(files) == 0 && !strings.HasPrefix(pattern, "changelog/") { // just after a release nothing is new
			t.Fatalf("there are no pages %s: %v", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(top, file)
			read[name] = string(data)
		}
	}
	return read
}

// fences takes a page apart into its fenced blocks and the text between them.
func fences(page, text string) (blocks []fence, prose string) {
	var open *fence
	var between strings.Builder
	for n, line := range strings.Split(text, "\n") {
		info, mark := strings.CutPrefix(line, "```")
		switch {
		case mark && open == nil:
			kind, name, _ := strings.Cut(info, " ")
			open = &fence{page: page, kind: kind, name: name, line: n + 1}
		case mark:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		default:
			between.WriteString(line + "\n")
		}
	}
	return blocks, between.String()
}

func TestDocsShowManifestsThatAreRight(t *testing.T) {
	whole, parts := 0, 0
	for page, text := range pages(t) {
		blocks, _ := fences(page, text)
		files := slices.DeleteFunc(slices.Clone(blocks), func(f fence) bool {
			return f.kind != "markdown" || f.name == "" && !strings.HasPrefix(f.text, "---\n")
		})
		whole += len(files)
		checkManifest(t, files)
		for _, f := range blocks {
			if f.kind == "yaml" {
				parts++
				checkPart(t, f)
			}
		}
	}
	if whole < 10 || parts < 10 {
		t.Errorf("got %d whole files and %d parts: the pages are not read as they are written", whole, parts)
	}
}

// checkManifest lays one page's files out as it says, and reads them as validate does.
func checkManifest(t *testing.T, files []fence) {
	t.Helper()
	home, users := t.TempDir(), t.TempDir()
	for _, f := range files {
		if !regexp.MustCompile(`^((agents|bottles)/[a-z0-9-]+\.md|config\.yaml)$`).MatchString(f.name) {
			t.Errorf("%s: a whole file needs its name: ```markdown bottles/NAME.md, not %q", f, f.name)
			continue
		}
		write(t, filepath.Join(home, f.name), f.text)
	}
	m, err := manifest.Load(home, "", users)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Problems {
		t.Errorf("%s: %v", files[0].page, p)
	}
	for name := range m.Agents {
		if _, err := m.Bottle(m.Agents[name].Bottle); err != nil {
			t.Errorf("%s: agent %s: %v", files[0].page, name, err)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if _, err := os.Lstat(file); err == nil {
		t.Errorf("%s is there twice on one page", filepath.Base(file))
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// elsewhere is the problem of a part that names a secret which it does not have.
var elsewhere = regexp.MustCompile(`^there is no secret `)

// checkPart reads a part as it would be read in its place.
func checkPart(t *testing.T, f fence) {
	t.Helper()
	home := t.TempDir()
	key, _, _ := strings.Cut(f.text, ":")
	if slices.Contains([]string{"notify", "detach_keys", "terminal_allow", "prices"}, key) {
		write(t, filepath.Join(home, "config.yaml"), f.text)
		if _, err := manifest.LoadConfig(home); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		return
	}
	write(t, filepath.Join(home, "bottles", "part.md"), "---\n"+f.text+"---\n")
	m, err := manifest.Load(home, "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Problems {
		if !elsewhere.MatchString(p.Message) {
			t.Errorf("%s: line %d of it: %s", f, p.Line-1, p.Message)
		}
	}
}

func TestDocsShowCommandsThatExist(t *testing.T) {
	lines, spans := 0, 0
	for page, text := range pages(t) {
		blocks, prose := fences(page, text)
		for _, f := range blocks {
			if f.kind != "sh" {
				continue
			}
			for _, args := range invocations(f.text) {
				lines++
				if err := parses(args); err != nil {
					t.Errorf("%s: bot-bottle %s: %v", f, strings.Join(args, " "), err)
				}
			}
		}
		for _, span := range spansOf(prose) {
			spans++
			if err := named(span); err != nil {
				t.Errorf("%s: `bot-bottle %s`: %v", page, strings.Join(span, " "), err)
			}
		}
	}
	if lines < 50 || spans < 20 {
		t.Errorf("got %d command lines and %d in running text: the pages are not read as they are written", lines, spans)
	}
}

// A check of the checks: what is wrong is found.
func TestDocsChecksFindWhatIsWrong(t *testing.T) {
	for _, line := range []string{
		"bot-bottle strat dev", "bot-bottle start --cvd dev", "bot-bottle start", "bot-bottle start a b", "bot-bottle approve x --uses many",
		"bot-bottle image lst", "BOT_BOTTLE_HOME=/x bot-bottle list --jsn | jq .", "x=$(bot-bottle start -q dev)", "true && bot-bottle rm", "bot-bottle completion tcsh",
	} {
		if got := invocations(line); len(got) != 1 || parses(got[0]) == nil {
			t.Errorf("%s: nothing was found in %q", line, got)
		}
	}
	for _, line := range []string{
		`bot-bottle start -y dev -- -p "fix it; bot-bottle strat"   # bot-bottle strat`, "sudo install bin/bot-bottle /usr/local/bin/", "bot-bottle approve x --for 30m",
		"bot-bottle exec x-abcdef -- git log --oneline", "bot-bottle \\\n  list --json", "bot-bottle egress x-abcdef allow api.example --path '/a/**'",
	} {
		for _, args := range invocations(line) {
			if err := parses(args); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	for _, span := range []string{"`bot-bottle strat`", "`bot-bottle list --jsn`", "`bot-bottle image\nlst`"} {
		if got := spansOf(span); len(got) != 1 || named(got[0]) == nil {
			t.Errorf("%s: nothing was found in %q", span, got)
		}
	}
}

// invocations are the arguments of every bot-bottle in a piece of shell.
func invocations(script string) [][]string {
	var all [][]string
	for _, words := range simpleCommands(script) {
		for len(words) > 0 && (words[0] == "sudo" || words[0] == "nohup" || regexp.MustCompile(`^[A-Za-z_]+=`).MatchString(words[0])) {
			words = words[1:]
		}
		if len(words) > 0 && words[0] == "bot-bottle" {
			all = append(all, words[1:])
		}
	}
	return all
}

// shellToken is a comment, a word made of quoted and bare pieces, a continued line, or what ends a command.
var shellToken = regexp.MustCompile(`(?m)(?:^|[ \t])#.*$|\\\n|\d?[<>]+&?[ \t]*[^ \t\n|;&()]+|(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\[^\n]|[^ \t\n"'|;&()<>\\])+|[\n|;&()]`)

// simpleCommands takes shell apart as far as the pages need it: quotes, comments, pipes,
// lists, substitutions, redirections.
func simpleCommands(script string) [][]string {
	var all [][]string
	var words []string
	for _, token := range shellToken.FindAllString(script, -1) {
		switch trimmed := strings.TrimLeft(token, " \t"); {
		case strings.HasPrefix(trimmed, "#"), token == "\\\n", regexp.MustCompile(`^\d?[<>]`).MatchString(token):
		case strings.Contains("\n|;&()", token):
			all, words = append(all, words), nil
		default:
			words = append(words, strings.NewReplacer(`"`, "", `'`, "").Replace(token))
		}
	}
	return append(all, words)
}

// parses is what the command line would say about arguments, without running anything.
func parses(args []string) error {
	c, rest, err := verb(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if help, _ := c.Flags().GetBool("help"); help {
		return nil
	}
	return c.ValidateArgs(c.Flags().Args())
}

// verb finds the command that arguments name, and the arguments that are left for it.
func verb(args []string) (*cobra.Command, []string, error) {
	root := cli.Command()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	c, rest, err := root.Find(args)
	switch {
	case err != nil:
		return nil, nil, err
	case c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-"):
		return nil, nil, fmt.Errorf("there is no verb %q", rest[0])
	}
	c.InitDefaultHelpFlag()
	return c, rest, nil
}

// spansOf are the words of what stands between backticks and begins with the program's name.
func spansOf(prose string) [][]string {
	var all [][]string
	for _, m := range regexp.MustCompile("`bot-bottle\\s([^`]+)`").FindAllStringSubmatch(prose, -1) {
		if words := strings.Fields(m[1]); words[0] != "guest" && words[0] != "sidecar" { // parts of ours, no verbs
			all = append(all, words)
		}
	}
	return all
}

// named says whether there are such a verb and such flags; the words are not all there.
func named(words []string) error {
	if words[0] == "VERB" {
		return nil
	}
	c, rest, err := verb(words)
	if err != nil {
		return err
	}
	for _, word := range rest {
		flag, _, _ := strings.Cut(word, "=")
		name, long := strings.CutPrefix(flag, "--")
		switch {
		case word == "--":
			return nil
		case long && c.Flags().Lookup(name) == nil:
			return fmt.Errorf("%s has no flag %s", c.CommandPath(), flag)
		case !long && len(flag) == 2 && flag[0] == '-' && c.Flags().ShorthandLookup(flag[1:]) == nil:
			return fmt.Errorf("%s has no flag %s", c.CommandPath(), flag)
		}
	}
	return nil
}

func TestDocsLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	links := 0
	for page, text := range all {
		_, prose := fences(page, text)
		for _, m := range regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]+))?\)`).FindAllStringSubmatch(prose, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(filepath.Join("..", "..", to)); err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[0])
			} else if m[2] != "" && !slices.Contains(headings(all[to]), m[2]) {
				t.Errorf("%s: %s: there is no such heading", page, m[0])
			}
		}
	}
	if links < 50 {
		t.Errorf("got %d links: the pages are not read as they are written", links)
	}
}

// headings are a page's, as links name them.
func headings(text string) []string {
	var all []string
	_, prose := fences("", text)
	for line := range strings.SplitSeq(prose, "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			plain := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(title), "")
			all = append(all, strings.ReplaceAll(plain, " ", "-"))
		}
	}
	return all
}

// Each field of a request, as scripts read it, is in the page that tells of requests.
func TestDocsTellEveryFieldOfARequest(t *testing.T) {
	page, err := os.ReadFile("../../docs/supervise.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, of := range []reflect.Type{reflect.TypeFor[requests.Shown](), reflect.TypeFor[requests.Request](), reflect.TypeFor[requests.Grant](), reflect.TypeFor[requests.Scope](), reflect.TypeFor[requests.Outcome]()} {
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				continue // embedded
			}
			if fields++; !bytes.Contains(page, []byte("`"+name+"`")) {
				t.Errorf("docs/supervise.md does not tell of %q", name)
			}
		}
	}
	if fields < 30 {
		t.Errorf("only %d fields were seen", fields)
	}
}

// Each change is in the section that the next release puts into CHANGELOG.md, once, and with links
// as they are from there.
func TestDocsChangelogHasEveryChange(t *testing.T) {
	out, err := exec.Command("../../scripts/changelog").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob("../../changelog/unreleased/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(string(data), "- "), "\n")
		first = strings.ReplaceAll(first, "](../../", "](")
		if n := strings.Count(string(out), "- "+first+"\n"); n != 1 || filepath.Ext(file) != ".md" {
			t.Errorf("%s is %d times in what scripts/changelog prints", filepath.Base(file), n)
		}
	}
	if strings.Contains(string(out), "](../") {
		t.Errorf("a link leads from changelog/unreleased")
	}
}

// A message that the page of troubles begins a row with is one that the program says: each part of
// it, between what differs from time to time, is in the sources.
func TestDocsTroubleshootingQuotesTheProgram(t *testing.T) {
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile(`"\s*\+\s*"`).ReplaceAllString(all.String(), "")
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	puts := []string{"credential none", "is already agent"} // put together from parts
	quoted := 0
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \| `).FindAllStringSubmatch(string(page), -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			for _, part := range regexp.MustCompile(`"?…"?|: |[(),]|\b(IDENTITY|AGENT|bot-bottle)\b`).Split(m[1], -1) {
				if part = strings.Trim(part, ` .:"`); len(part) < 6 || slices.Contains(puts, part) {
					continue
				}
				if quoted++; !strings.Contains(source, part) {
					t.Errorf("nothing says %q, of which docs/troubleshooting.md tells", part)
				}
			}
		}
	}
	if quoted < 50 {
		t.Errorf("only %d messages were read", quoted)
	}
}
