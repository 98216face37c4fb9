package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

func TestLearn(t *testing.T) {
	var log strings.Builder
	chain := audit.Continue(audit.Head{})
	for _, e := range []audit.Event{
		{Service: "egress", Kind: audit.Lookup, Decision: audit.Deny, Reason: "no route allows pypi.example", Host: "pypi.example"},
		{Service: "egress", Kind: audit.Request, Decision: audit.Deny, Reason: "no route allows https://api.example:443", Host: "api.example", Port: 443, Method: "POST", Path: "/v1/…(40)"},
	} {
		e.Time, e.Bottle = noon.Add(-time.Minute), identity
		line, err := chain.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(line)
	}
	l := newLogged(t, state.Metadata{Bottle: "dev"}, log.String())
	code, stdout, stderr := runWith(t, l.home, []bottle.Backend{l.backend}, "egress", identity, "learn")
	const want = `# What dev-abcdef was refused for want of a route. The agent chose these names: read each
# before you add it to bottles/dev.md. Nothing was changed.
egress:
  routes:
    - {host: api.example, methods: [POST], paths: ["/v1/*"]}  # 1 time, last 1m ago
    - {host: pypi.example, methods: [GET, HEAD]}  # 1 time, last 1m ago; nothing was sent yet: methods are a guess
`
	if code != 0 || stdout != want {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
	code, stdout, _ = runWith(t, l.home, []bottle.Backend{l.backend}, "egress", "learn", identity, "--json")
	var got []audit.Lesson
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || len(got) != 2 || got[0].Route.Host != "api.example" {
		t.Errorf("got %d, %v: %s", code, err, stdout)
	}
	l = newLogged(t, state.Metadata{Bottle: "dev"}, "")
	if code, stdout, stderr = runWith(t, l.home, []bottle.Backend{l.backend}, "egress", identity, "learn"); code != 0 || stdout != "" || !strings.Contains(stderr, "nothing was refused") {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
}
