package cli

import (
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
