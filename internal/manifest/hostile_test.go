package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Attack H1: an agent of a repository has a key, a value and a file name made of escape
// sequences and line breaks, to draw on the operator's terminal or to forge a line of
// the report.
func TestAttackH1_ARepositoryDoesNotWriteOnTheTerminal(t *testing.T) {
	home := tree(t, map[string]string{"bottles/dev.md": "---\n---\n"})
	repository := tree(t, map[string]string{
		".bot-bottle/agents/key.md":              "---\nbottle: dev\n\"x\\nforged.md:1: fine\\e[2J\\u009b2J\": 1\n---\n",
		".bot-bottle/agents/value.md":            "---\nbottle: dev\nskills: {a: \"\\e]0;x\\a\"}\ngit_identity: \"\\r\\e[2J\"\n---\n",
		".bot-bottle/agents/unknown.md":          "---\nbottle: \"\\e[2J\\ndev\"\n---\n",
		".bot-bottle/agents/name\x1b[2J\nfor.md": "---\nbottle: dev\n---\n",
	})
	m := load(t, home, repository)
	if len(m.Problems) < 5 {
		t.Errorf("got %v", m.Problems)
	}
	for _, p := range m.Problems {
		if strings.ContainsAny(p.String(), "\x1b\n\r\a\u009b") {
			t.Errorf("got %q", p.String())
		}
	}
	if lines := strings.Count(m.Problems.Error(), "\n") + 1; lines != len(m.Problems) {
		t.Errorf("%d problems make %d lines", len(m.Problems), lines)
	}
}

// Attack D10: what is a file when the directory is read is a link or a pipe when it is opened.
func TestAttackD10_AFileIsSwappedBeforeItIsOpened(t *testing.T) {
	dir := tree(t, map[string]string{"secret.md": "---\n---\nsecret"})
	link, pipe := filepath.Join(dir, "link.md"), filepath.Join(dir, "pipe.md")
	if err := errors.Join(os.Symlink("secret.md", link), syscall.Mkfifo(pipe, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{link, pipe, dir} {
		if data, err := readFile(file, false); err == nil {
			t.Errorf("%s: got %q", file, data)
		}
	}
	if _, err := readFile(pipe, true); err == nil {
		t.Error("a pipe of the operator's was read")
	}
	if data, err := readFile(link, true); err != nil || !strings.HasSuffix(string(data), "secret") {
		t.Errorf("the operator's own link: got %q, %v", data, err)
	}
}

// Attack D7: the directories themselves are links to where the repository would not get.
func TestAttackD7_LinkedDirectories(t *testing.T) {
	home := tree(t, map[string]string{"bottles/dev.md": "---\n---\n"})
	elsewhere := tree(t, map[string]string{"agents/stray.md": "---\nbottle: dev\n---\n"})
	whole, half := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.Symlink(elsewhere, filepath.Join(whole, ".bot-bottle")),
		os.Mkdir(filepath.Join(half, ".bot-bottle"), 0o755),
		os.Symlink(filepath.Join(elsewhere, "agents"), filepath.Join(half, ".bot-bottle/agents")),
	); err != nil {
		t.Fatal(err)
	}
	for _, repository := range []string{whole, half} {
		if a, err := load(t, home, repository).Agent("stray"); err == nil {
			t.Errorf("got %+v", a)
		}
	}
}

// An operator who keeps the home directory in git has agents, not a hostile repository,
// by whatever name the directory was reached.
func TestTheRepositoryIsTheOperatorsHome(t *testing.T) {
	repository := tree(t, map[string]string{".bot-bottle/bottles/dev.md": "---\n---\n", ".bot-bottle/agents/a.md": "---\nbottle: dev\n---\n"})
	linked := filepath.Join(t.TempDir(), "linked")
	if err := os.Symlink(filepath.Join(repository, ".bot-bottle"), linked); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{filepath.Join(repository, ".bot-bottle"), linked} {
		m := load(t, home, repository)
		if a, err := m.Agent("a"); err != nil || a.Repository || len(m.Problems) > 0 {
			t.Errorf("got %+v, %v, %v", a, err, m.Problems)
		}
	}
}

// Attack: a repository's front matter is made to keep the parser busy, or to fill the
// memory with problems.
func TestAttack_FrontMatterWithoutBound(t *testing.T) {
	for name, matter := range map[string]string{
		"one key again and again": strings.Repeat("a:\n", maxLines),
		"many lines":              strings.Repeat("a:\n", maxMatter/3),
		"lists in lists":          strings.Repeat("- ", maxMatter/2),
		"brackets":                strings.Repeat("[", maxMatter),
		"braces":                  "a: " + strings.Repeat("{", maxMatter-3),
		"question marks":          strings.Repeat("? ", maxMatter/2),
		"anchors":                 strings.Repeat("&a ", maxMatter/3),
		"tags":                    strings.Repeat("!a ", maxMatter/3),
	} {
		m := load(t, tree(t, map[string]string{"bottles/b.md": "---\n" + matter + "\n---\n"}), "")
		if len(m.Problems) == 0 || len(m.Problems) > maxMatter {
			t.Errorf("%s: got %d problems", name, len(m.Problems))
		}
	}
	if _, _, err := split([]byte("---\n" + strings.Repeat("#", maxMatter+1) + "\n---\n")); err == nil {
		t.Error("front matter without bound was taken")
	}
}

// A nil list is "any" to a route: one that was begun and not finished must not be.
func TestAnUnfinishedListIsNotAny(t *testing.T) {
	for _, list := range []string{"methods:\n        -", "methods: [null]", "paths: [~]", "paths: [GET, null]", "methods:", "paths: []", "query:", "query: {}", "query: {a: }", "body: {a: null}", "deny: [null]", "deny: [{paths: [/x], query: }]"} {
		m := load(t, tree(t, map[string]string{"bottles/b.md": "---\negress:\n  routes:\n    - host: a.example\n      " + list + "\n---\n"}), "")
		if b, err := m.Bottle("b"); err == nil {
			t.Errorf("%s: got %+v", list, b.Routes)
		}
	}
}

// Attack E6: an upstream that git or ssh would take for an option, or run.
func TestAttackE6_Upstreams(t *testing.T) {
	for _, url := range []string{
		"", "-u@host:path", "--upload-pack=x", "ssh://-oProxyCommand=x/y", "ssh://git@-oProxyCommand=x/y", "ssh://git@/y", "ssh:///y",
		"https://", "https://@-x/y", "ext::sh -c id", "file:///etc", "/etc", "http://x/y", "git@host:a b", "git@host:a\nb", "git@-host:x", "SSH://x/y", "fd::3",
	} {
		if checkUpstream(url) == nil {
			t.Errorf("%q was taken", url)
		}
	}
	for _, url := range []string{"ssh://git@github.example/acme/w.git", "ssh://host:2222/w", "https://github.example/a/w.git", "git@github.example:acme/w.git", "me@host:~/w"} {
		if err := checkUpstream(url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for written, want := range map[any]int64{
		"4GiB": 4 << 30, "4g": 4 << 30, "4G": 4 << 30, "4gb": 4 << 30, "512m": 512 << 20, "1.5 GiB": 3 << 29, "64k": 64 << 10, "1t": 1 << 40, "100": 100, "0": 0,
		int64(1 << 20): 1 << 20, "100b": 100,
	} {
		if got, ok := asSize(written); !ok || got != want {
			t.Errorf("%v: got %d, %v", written, got, ok)
		}
	}
	for _, written := range []any{"", "g", "4X", "4 G B", "-1g", "1e400", "NaN", "Inf", "infg", "9999999999t", "4,5g", "4GiBs", int64(-1), 1.5, true, nil} {
		if got, ok := asSize(written); ok {
			t.Errorf("%v: got %d", written, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"runtime", "resources", "memory"}
	for word, want := range map[string]string{"runtme": "runtime", "RUNTIME": "runtime", "urntime": "runtime", "mem": "memory", "me": "", "zebra": "", "": ""} {
		if got := DidYouMean(word, known); want == "" && got != "" || want != "" && got != fmt.Sprintf(" (did you mean %q?)", want) {
			t.Errorf("%s: got %q", word, got)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	file := filepath.Join(tree(t, map[string]string{"file": "x"}), "file")
	for _, home := range []string{filepath.Join(t.TempDir(), "none"), file} {
		var hint interface{ Hint() string }
		if _, err := Load(home, "", ""); !errors.As(err, &hint) || !strings.Contains(err.Error(), home) || hint.Hint() == "" {
			t.Errorf("got %v", err)
		}
	}
}

// The problem of what is extended is not repeated for each that extends it.
func TestAProblemIsReportedOnce(t *testing.T) {
	files := map[string]string{"bottles/base.md": "---\nenv: {HTTPS_PROXY: x, 'A B': y}\nsecrets: {K: }\n---\n"}
	for i := range 5 {
		files[fmt.Sprintf("bottles/child-%d.md", i)] = "---\nextends: base\nenv: {X: y}\nsecrets: {L: {env: X}}\n---\n"
	}
	m := load(t, tree(t, files), "")
	if len(m.Problems) != 3 {
		t.Errorf("got %v", m.Problems)
	}
	for _, p := range m.Problems {
		if filepath.Base(p.File) != "base.md" {
			t.Errorf("got %v", p)
		}
	}
}
