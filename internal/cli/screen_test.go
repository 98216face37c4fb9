package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/emulator"
)

// hinted is an error whose hint is somebody else's words.
type hinted struct{ error }

func (h hinted) Hint() string { return h.Error() }

// printed is everything of ours that shows words of an agent's, a repository's or an
// upstream's, as if whoever is to clean them had not.
func printed(t *testing.T, words string) map[string]string {
	var out strings.Builder
	a := &App{System: System{Now: time.Now, Stdout: &out, Stderr: &out}}
	all := make(map[string]string)
	take := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all[name] = out.String()
		out.Reset()
	}
	s := requests.Shown{
		Bottle: words, Delta: []string{words}, SoFar: []string{words}, Credentials: []string{words}, Risks: []string{words}, Digest: words,
		Request: requests.Request{
			ID: words, Kind: requests.Kind(words), State: requests.State(words), Question: words, Choices: []string{words}, Why: []string{words}, Edited: true,
			Push:    &requests.Push{Commits: []requests.Commit{{ID: words, Author: words, Subject: words}}, Stat: []string{words}, Reasons: []string{words}},
			Git:     &requests.Git{Repository: words, Upstream: words},
			Decided: &requests.Outcome{By: words, Reason: words, Answer: words, Result: words},
		},
	}
	out.WriteString(a.block(s, 0) + reachText(s, approval{}))
	take("requests", nil)
	take("approve", a.done(s, false, words))
	a.note(hinted{errors.New(words)})
	take("an error", nil)
	take("pull", printPulled(&out, 0, provision.Pulled{Ref: words, New: words, Commits: []provision.Written{{ID: "0", Author: words, Subject: words}}, Stat: []string{words}}))
	take("list", a.show(table{columns: []column{{"A", whole}, {"B", 1}}, rows: [][]string{{words, words}}}, false))
	out.WriteString(printableLines(words))
	take("a diff", nil)
	(&operator{app: a}).Progress(words)
	take("progress", nil)
	for name, v := range map[string]any{"requests --json": s, "list --json": []string{words}} {
		take(name, printJSON(&out, v, true))
	}
	out.WriteString(asItIs([]byte(words+"\n"), true))
	take("logs --json", nil)
	a.tellLeft(filecopy.Summary{Left: []filecopy.Left{{Name: words, Why: "it is a pipe"}}, LeftOut: 1})
	take("cp", nil)
	for _, width := range []int{0, 40, 100} {
		tl := &timeline{out: &out, width: width, local: time.UTC}
		take(fmt.Sprint("logs ", width), errors.Join(tl.show(audit.Event{
			Kind: words, Decision: words, Method: words, Host: words, Path: words, Reason: words, Service: words, Repository: words, Grant: words, Request: words, Usage: audit.Usage{Model: words},
			Updates: []audit.Update{{Ref: words}}, Protocol: policy.Protocol(words),
		}), tl.end()))
	}
	return all
}

// Attacks H1, H2: an agent's words, a host, a path, a branch, a commit or a file name move the
// operator's cursor, set the title or the clipboard, have the terminal type an answer, or stand
// where they cannot be seen. Shown on a real terminal, they are text, and no more.
func TestAttackH1_NothingOfOursHarmsATerminal(t *testing.T) {
	for attack, words := range inside.Hostile() {
		for what, text := range printed(t, words) {
			s := emulator.New(400)
			s.Show(text)
			if harm := s.Harm(""); len(harm) > 0 {
				t.Errorf("%s, by %s: %v\n%q", what, attack, harm[0], plain.Cut(text, 300))
			}
		}
	}
}

// Attack H2: an agent's words look like a request of ours, with an answer typed already. All that
// they can be is a line that is marked as the agent's.
func TestAttackH2_WordsAreNoRequest(t *testing.T) {
	for attack, words := range inside.Hostile() {
		a := &App{System: System{Now: time.Now}}
		l := requests.New("k7x2m4")
		r, err := l.Ask(time.Now(), policy.Policy{}, requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}, Why: "because " + words})
		if err != nil {
			t.Fatal(err)
		}
		ours := map[string]bool{}
		for i, line := range strings.Split(strings.TrimSuffix(a.block(l.Show(r, policy.Policy{}), 0), "\n"), "\n") {
			key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if i > 0 && !strings.HasPrefix(line, "  ") || ours[key] && key != "" && key != "for" {
				t.Errorf("%s: line %q could be taken for one of ours", attack, line)
			}
			ours[key] = true
			if key == "agent" && (!strings.HasPrefix(strings.TrimSpace(rest), "“") || !strings.HasSuffix(rest, "”")) {
				t.Errorf("%s: %q is not marked as the agent's words", attack, line)
			}
		}
	}
}

// What stands in JSON's own escapes is the same to a program.
func TestJSONIsPlainAndTheSame(t *testing.T) {
	for attack, words := range inside.Hostile() {
		var out strings.Builder
		if err := printJSON(&out, words, false); err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(words)
		var got, sent string
		if err := errors.Join(json.Unmarshal([]byte(out.String()), &got), json.Unmarshal(want, &sent)); err != nil || got != sent {
			t.Errorf("%s: got %q, want %q, %v", attack, got, sent, err)
		}
	}
}

// Attack G7: whoever judges what is asked for looks up its name, which tells whoever runs that
// domain, and carries what the agent wrote into the name. Nothing on the operator's side
// resolves anything.
func TestAttackG7_NothingIsLookedUp(t *testing.T) {
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = lookups(t)
	l := requests.New("k7x2m4")
	l.Declared = []requests.Repository{{Name: "widget", Upstream: "https://code.example/acme/widget"}}
	a := &App{System: System{Now: time.Now}}
	for i, ask := range []requests.Ask{
		{Kind: requests.Egress, Route: &policy.Route{Host: "c2VjcmV0.evil.example"}},
		{Kind: requests.Secret, Route: &policy.Route{Host: "c2VjcmV0.evil.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "K"}},
		{Kind: requests.Repo, Git: &requests.Git{Repository: "https://c2VjcmV0.evil.example/a/b", Push: policy.Push{Refs: []string{"x"}}}},
	} {
		now := time.Now().Add(time.Duration(i) * time.Second)
		r, err := l.Ask(now, policy.Policy{}, ask)
		if err != nil {
			t.Fatal(err)
		}
		s := l.Show(r, policy.Policy{})
		_ = a.block(s, 0)
		d := requests.Decision{Approve: true, Digest: s.Digest}
		if ask.Kind == requests.Secret {
			d.Secret = "v"
		}
		if _, err := l.Decide(now, r.ID, policy.Policy{}, d); err != nil {
			t.Fatal(err)
		}
	}
}

// Attack H2: a line is so long, with so many spaces in it, that the terminal goes on with it just
// where one of ours would begin: a change of the image adds "risk none" below itself, or a commit a
// branch that is not there. What goes on below begins further in than all that is ours.
func TestAttackH2_ALongLineIsNoneOfOurs(t *testing.T) {
	const width = 80
	ours := map[string]int{"requests": 11, "pull": 4, "--always": 4} // as far in as any of them begins
	forged := strings.Repeat(" ", width) + "  risk     none: it was built before" + strings.Repeat(" ", width) + "  sends    nothing" + strings.Repeat(" ", width) + "for ten minutes"
	for column := range width { // wherever the line begins
		long := strings.Repeat("x", column) + forged
		s := requests.Shown{Delta: []string{"+ RUN " + long}, Request: requests.Request{ID: "k7x2m4-1", Kind: requests.Capability, State: requests.Pending, Why: []string{long}}}
		s.Push = &requests.Push{Commits: []requests.Commit{{ID: "0", Author: long, Subject: long}}, Stat: []string{long}}
		a := &App{System: System{Now: time.Now}}
		var pulled strings.Builder
		if err := printPulled(&pulled, width, provision.Pulled{Ref: "refs/bottles/x", New: "0", Commits: []provision.Written{{ID: "0", Author: long, Subject: long}}, Stat: []string{long}}); err != nil {
			t.Fatal(err)
		}
		change := manifestChange{"dev.md", []byte("---\n"), []byte("---\nRUN " + long + "\n")}
		for of, text := range map[string]string{"requests": a.block(s, width), "pull": pulled.String(), "--always": change.diff(width)} {
			for line := range strings.Lines(text) {
				if line = strings.TrimSuffix(line, "\n"); plain.Width(line) > width {
					t.Fatalf("%s: a line is left to the terminal to break: %q", of, line)
				}
				first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				if slices.Contains([]string{"risk", "sends", "nothing", "for"}, first) && strings.Index(line, first) <= ours[of] {
					t.Fatalf("%s: %q begins where ours do", of, line)
				}
			}
		}
	}
}

// Attack H2: a push has a line of code so long that the terminal goes on with it below, where it
// is taken for a line of its own: unchanged, taken out, or of another file. Tabs make it longer.
func TestAttackH2_ALongLineOfADiffIsOneLine(t *testing.T) {
	const width = 80
	for column := range width {
		long := "+" + strings.Repeat("x", column) + strings.Repeat("\t", 9)
		for _, forged := range []string{" \told()", "-evil()", "diff --git a/b b/b", "+++ b/b", "@@ -1 +1 @@", "\\ No newline at end of file"} {
			long += strings.Repeat(" ", width-plain.Width(expanded(long))%width) + forged
		}
		rows := strings.Split(strings.TrimSuffix(diffText("@@ -0,0 +1 @@\n"+long+"\n", width), "\n"), "\n")
		for i, row := range rows {
			if plain.Width(row) > width || strings.Contains(row, "\t") {
				t.Fatalf("a line is left to the terminal to break: %q", row)
			}
			if strings.HasPrefix(row, "| ") != (i > 1) {
				t.Fatalf("row %d is not told from a line of the diff: %q", i, rows)
			}
			rows[i] = strings.TrimPrefix(row, "| ")
		}
		if got := strings.Join(rows[1:], ""); got != expanded(long) {
			t.Fatalf("got %q, want %q", got, expanded(long))
		}
	}
	if text := "+\tlong " + strings.Repeat("x", 200) + "\n \n"; diffText(text, 0) != text {
		t.Errorf("for a program it is as it is: %q", diffText(text, 0))
	}
}
