package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// rest ends the bundle and returns all that it still says.
func (r *running) rest(t *testing.T) string {
	t.Helper()
	said := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(r.out)
		said <- string(data)
	}()
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("got %v", err)
	}
	return <-said
}

// Attack H5, H3: a compromised service prints lines that claim to be another bottle's, to
// be numbered by itself, to have ended the log, or to be another service's.
func TestAttackH5_AServiceCannotForgeTheChain(t *testing.T) {
	for name, line := range map[string]string{
		"own numbers":      `{"seq":900,"prev":"` + strings.Repeat("ab", 32) + `","time":"2026-01-02T03:04:05Z","bottle":"dev-abcdef","service":"egress","event":"request","decision":"allow","host":"forged.example"}`,
		"another service":  `{"time":"2026-01-02T03:04:05Z","bottle":"other-aaaaaa","service":"supervise","event":"request","decision":"allow","host":"forged.example"}`,
		"twice the key":    `{"time":"2026-01-02T03:04:05Z","Bottle":"other-aaaaaa","event":"request","host":"a.example","host":"forged.example","HOST":"forged.example"}`,
		"terminal control": `{"time":"2026-01-02T03:04:05Z","event":"request","decision":"allow","host":"forged.example","path":"\u001b]52;c;aGk=\u0007\u202e\n{}","secret":"\u009b31m"}`,
		"spaces":           ` { "time":"2026-01-02T03:04:05Z", "event":"request", "host":"forged.example" }  `,
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, script(t, `echo '{"ready":true}'; cat <<'END'
`+line+`
END
exec sleep 60`), config(t))
			r.awaitReady(t)
			var e audit.Event
			first := r.line(t, &e)
			whole := r.begin + first + r.rest(t)
			if _, err := audit.Verify(strings.NewReader(whole), audit.Expect{Bottle: "dev-abcdef"}); err != nil {
				t.Errorf("%v in\n%s", err, whole)
			}
			if e.Seq != 2 || e.Service != "egress" || e.Bottle != "dev-abcdef" || e.Host != "forged.example" {
				t.Errorf("got %s", first)
			}
			if i := strings.IndexFunc(strings.TrimSuffix(first, "\n"), func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e }); i >= 0 {
				t.Errorf("a control character in %q", first)
			}
		})
	}
}

// Attack H5: a compromised service prints what is no event of its own. It is stopped,
// what it printed is not in the log, and the chain goes on.
func TestAttackH5_WhatIsNoEventEndsTheService(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":        `forged`,
		"empty":          ``,
		"half an object": `{"event":"request","host":"forged.example"`,
		"two objects":    `{"event":"request"}{"event":"request","host":"forged.example"}`,
		"array":          `[{"event":"request","host":"forged.example"}]`,
		"null":           `null`,
		"unknown field":  `{"event":"request","forged":true}`,
		"no kind":        `{"host":"forged.example"}`,
		"kind":           `{"event":"request\u001b[2J forged"}`,
		"decision":       `{"event":"request","decision":"forged or not"}`,
		"the beginning":  `{"event":"begin","reason":"forged"}`,
		"the end":        `{"event":"end","reason":"forged"}`,
		"the parent's":   `{"event":"lifecycle","reason":"forged"}`,
		"a time":         `{"event":"request","time":"forged"}`,
		"a deep one":     `{"event":` + strings.Repeat("[", 20000) + `"forged"`,
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, script(t, `echo '{"ready":true}'; cat <<'END'
`+line+`
END
echo '{"event":"request","host":"late.example"}'; exec sleep 60`), config(t))
			r.awaitReady(t)
			var e audit.Event
			first := r.line(t, &e)
			if e.Kind != audit.Lifecycle || !strings.Contains(e.Reason, "no event") {
				t.Errorf("got %s", first)
			}
			whole := r.begin + first + r.rest(t)
			if strings.Contains(whole, "forged") || strings.Contains(whole, "late") {
				t.Errorf("it is in the log:\n%s", whole)
			}
			report, err := audit.Verify(strings.NewReader(whole), audit.Expect{Bottle: "dev-abcdef"})
			if err != nil || report.Open {
				t.Errorf("got %+v, %v in\n%s", report, err, whole)
			}
		})
	}
}

// A log that was ended orderly says so in its last line, which carries the count.
func TestTheLogEndsWithTheBundle(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	for i := range 3 {
		_ = r.lookup(t, fmt.Sprintf("evil%d.example", i))
	}
	whole := r.begin + r.rest(t)
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
	var e audit.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Kind != audit.End || e.Seq != int64(len(lines)) {
		t.Errorf("got %s, %v", lines[len(lines)-1], err)
	}
	report, err := audit.Verify(strings.NewReader(whole), audit.Expect{Bottle: "dev-abcdef"})
	if err != nil || report.Open || report.Lines != int64(len(lines)) {
		t.Errorf("got %+v, %v in\n%s", report, err, whole)
	}
}

// A bottle that is resumed continues its log: the new run's first line follows the last
// line of the run before.
func TestARunContinuesTheLog(t *testing.T) {
	first := launch(t, self(t), config(t))
	first.awaitReady(t)
	log := first.begin + first.rest(t)
	head, _, err := audit.ReadHead(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	document := config(t)
	document.Log.After, document.Log.Cut = head, 7
	second := launch(t, self(t), document)
	second.awaitReady(t)
	if !strings.Contains(second.begin, "7 bytes") {
		t.Errorf("got %s", second.begin)
	}
	log += second.begin + second.rest(t)
	report, err := audit.Verify(strings.NewReader(log), audit.Expect{Bottle: "dev-abcdef"})
	if err != nil || report.Runs != 2 || report.Open {
		t.Errorf("got %+v, %v in\n%s", report, err, log)
	}
}
