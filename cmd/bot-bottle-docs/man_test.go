package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every page says what --help does, in man's own form, and the first names all others.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "man1/*.1"))
	if err != nil || len(files) < 25 {
		t.Fatalf("got %d pages, %v", len(files), err)
	}
	macro := regexp.MustCompile(`(?m)^[.'](?:TH|SH|PP|TP|BR|nf|fi|nh|ad)\b`)
	pages := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		pages[strings.TrimSuffix(filepath.Base(file), ".1")] = text
		for line := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(line, ".") && !macro.MatchString(line) || strings.HasPrefix(line, "'") {
				t.Errorf("%s: %q is nothing that man knows", file, line)
			}
		}
		if strings.Contains(text, "[=") || strings.Contains(text, "[command]") {
			t.Errorf("%s: a value that nobody types:\n%s", file, text)
		}
	}
	for name := range pages {
		if parent := name[:max(0, strings.LastIndex(name, "-"))]; name != "bot-bottle" && !strings.Contains(pages[parent]+pages["bot-bottle"], ".BR "+literal(name)+" (1)") {
			t.Errorf("no page names %s", name)
		}
	}
	if want := ".TP\n\\fB\\-y\\fR, \\fB\\-\\-yes\\fR\ndo not ask\n"; !strings.Contains(pages["bot-bottle-start"], want) {
		t.Errorf("got %s", pages["bot-bottle-start"])
	}
}

// What a text begins a line with is not taken for a word of man's.
func TestPageIsLiteral(t *testing.T) {
	c := &cobra.Command{Use: "x", Short: `a \ and`, Example: ".SH bad\n'a' --flag"}
	(&cobra.Command{Use: "bot-bottle"}).AddCommand(c)
	if got := page(c, when()); !strings.Contains(got, "\n\\&.SH bad\n\\&'a' \\-\\-flag\n") || !strings.Contains(got, `a \e and`) {
		t.Errorf("got %s", got)
	}
}
