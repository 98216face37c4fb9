package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// What is mistyped is named, with the nearest that there is, and where help is.
func TestMistyped(t *testing.T) {
	home := t.TempDir()
	if err := state.Open(home).Write(state.Metadata{Identity: "implementer-k7x2m4", Backend: "smolmachines"}); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"strat x":                         {`there is no verb "strat" (did you mean "start"?)`, "try: bot-bottle --help"},
		"zzzzzz":                          {`there is no verb "zzzzzz"` + "\n"},
		"image lst":                       {`image cannot "lst" (did you mean "list"?)`, "try: bot-bottle image --help"},
		"list bakends":                    {`list cannot show "bakends" (did you mean "backends"?)`, "try: bot-bottle list --help"},
		"list all agents":                 {"list takes one thing"},
		"egress x shw":                    {`egress cannot "shw" (did you mean "show"?)`},
		"egress learn":                    {"egress needs a bottle"},
		"egress learn implementer-k7x2m5": {"there is no bottle implementer-k7x2m5"},
		"egress explain x":                {"egress explain takes a URL"},
		"validate x":                      {`validate takes nothing after it, and there is "x"`},
		"start --bcakend docker x":        {`start has no flag --bcakend (did you mean "--backend"?)`, "try: bot-bottle start --help"},
		"start --zzzzzzz x":               {"start has no flag --zzzzzzz\n"},
		"logs implementr-k7x2m4":          {`there is no bottle implementr-k7x2m4 (did you mean "implementer-k7x2m4"?)`, "list all"},
		"exec implementer -- true":        {"no such bottle is running", `did you mean "implementer-k7x2m4"?`},
		"exec implementer-k7x2m4 -- true": {"no such bottle is running", "to go on with it: bot-bottle resume implementer-k7x2m4"},
		"resume implementer-k7x2m5":       {`did you mean "implementer-k7x2m4"?`},
	} {
		code, stdout, stderr := runWith(t, home, twoBackends()[:1], strings.Fields(line)...)
		for _, w := range want {
			if code == 0 || stdout != "" || !strings.Contains(stderr, w) {
				t.Errorf("%s: got %d %s%s; want %q", line, code, stdout, stderr, w)
			}
		}
	}
}

// Whoever names no agent is told which there are, or how to get one.
func TestStartOfNothing(t *testing.T) {
	none, empty, broken, three, many := filepath.Join(t.TempDir(), "none"), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	write := func(home, file, head string) {
		t.Helper()
		path := filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("---\n"+head+"\n---\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(broken, "agents/lost.md", "bottle: dev")
	for home, n := range map[string]int{three: 3, many: 9} {
		write(home, "bottles/dev.md", "supervise: true")
		for i := range n {
			write(home, fmt.Sprintf("agents/agent%d.md", i), "bottle: dev")
		}
	}
	for home, want := range map[string][]string{
		none:   {"there is no manifest", "bot-bottle init"},
		empty:  {"there is none yet", "bot-bottle init"},
		broken: {`lost.md:2: there is no bottle "dev"`},
		three:  {"start needs the name of an agent: agent0, agent1, agent2\n", "start --help"},
		many:   {"agent5, … (bot-bottle list agents)\n"},
	} {
		code, stdout, stderr := runWith(t, home, twoBackends()[:1], "start")
		for _, w := range want {
			if code != 2 || stdout != "" || !strings.Contains(stderr, w) {
				t.Errorf("got %d %s%s; want %q", code, stdout, stderr, w)
			}
		}
	}
}
