package gitgate

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	server "github.com/bot-bottle/bot-bottle/test/sshd"
)

// Attack F1: force, deletion, mirroring, tags and refs that are not the agent's to push, in
// all the ways that git can ask for it.
func TestAttackF1_ByGit(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "a", "one\n")
	l.git(work, "push", "-q", "origin", "agent/fix")
	l.git(work, "commit", "-q", "--amend", "-m", "rewritten")
	l.git(work, "tag", "-a", "v1", "-m", "one")
	l.git(work, "update-ref", "refs/notes/commits", "HEAD")
	l.git(work, "update-ref", "refs/replace/"+strings.TrimSpace(l.git(work, "rev-parse", "HEAD~1")), "HEAD")
	before := l.state()
	var pushing sync.WaitGroup
	few := make(chan struct{}, 4) // at once: they share what the gate asks the upstream
	for args, why := range map[string]string{
		"--force origin agent/fix":                              "history may not be rewritten",
		"origin +agent/fix":                                     "history may not be rewritten",
		"--force-with-lease origin agent/fix":                   "history may not be rewritten",
		"origin +HEAD~1:refs/heads/agent/fix":                   "history may not be rewritten",
		"--mirror origin":                                       "REFUSED",
		"--all --force origin":                                  "REFUSED",
		"--delete origin agent/fix":                             "may not be deleted",
		"origin :agent/fix":                                     "may not be deleted",
		"origin :main":                                          "none of those that may be pushed",
		"--prune origin refs/heads/agent/*:refs/heads/*":        "REFUSED",
		"origin v1":                                             "none of those that may be pushed",
		"--tags origin":                                         "REFUSED",
		"origin HEAD:main":                                      "none of those that may be pushed",
		"origin +HEAD:main":                                     "none of those that may be pushed",
		"origin HEAD:refs/for/main":                             "only branches",
		"origin HEAD:refs/pull/1/head":                          "only branches",
		"origin HEAD:refs/merge-requests/1":                     "only branches",
		"origin refs/notes/commits":                             "only branches",
		"origin refs/replace/*":                                 "only branches",
		"origin HEAD:refs/heads/AGENT/x":                        "none of those that may be pushed",
		"origin HEAD:refs/heads/agent/FIX":                      "in nothing but case",
		"origin HEAD:refs/heads/agent":                          "none of those that may be pushed",
		"origin HEAD:refs/meta/config":                          "only branches",
		"origin HEAD:HEAD":                                      "taken for something else",
		"origin HEAD:refs/stash":                                "only branches",
		"--atomic origin HEAD:refs/heads/agent/new HEAD:main":   "none of those that may be pushed",
		"origin HEAD~1:refs/heads/agent/new HEAD:refs/for/main": "only branches",
		"-o skip-checks origin HEAD:agent/new":                  "push options",
		"--signed=yes origin HEAD:agent/new":                    "--signed",
	} {
		few <- struct{}{}
		pushing.Go(func() {
			defer func() { <-few }()
			out, err := l.try(work, append([]string{"push"}, strings.Fields(args)...)...)
			if err == nil || !strings.Contains(out, why) {
				t.Errorf("git push %s: %v, which does not say %q:\n%s", args, err, why, out)
			}
		})
	}
	pushing.Wait()
	if after := l.state(); after != before {
		t.Errorf("something has changed: %s\nwas\n%s", after, before)
	}
}

// Attack F2: the client lies about what it knows, and asks by hand for what git would not.
// The gate decides by what becomes of the upstream's refs.
func TestAttackF2_ByHand(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	other := &pack{}
	rewritten := other.change("a root of its own\n", nil, other.file("a", "x"))
	next := &pack{}
	head := next.change("next\n", []string{main}, next.file("a", "x"))
	long := "refs/heads/agent/" + strings.Repeat("x", 250)
	for name, c := range map[string]struct {
		why      string
		p        *pack
		commands []string
	}{
		"there is none, it says":   {"has moved", next, []string{command(noID, head, "refs/heads/main")}},
		"another id, it says":      {"has moved", next, []string{command(head, head, "refs/heads/main")}},
		"an id of nobody":          {"has moved", next, []string{command(strings.Repeat("1", 40), head, "refs/heads/agent/x")}},
		"the default branch":       {"none of those", next, []string{command(main, head, "refs/heads/main")}},
		"unrelated history":        {"none of those", other, []string{command(main, rewritten, "refs/heads/main")}},
		"deletion of what is not":  {"", nil, []string{command(noID, noID, "refs/heads/agent/x")}},
		"deletion of the default":  {"none of those", nil, []string{command(main, noID, "refs/heads/main")}},
		"one ref twice":            {"twice", next, []string{command(noID, head, "refs/heads/agent/x"), command(noID, main, "refs/heads/agent/x")}},
		"one ref twice, then away": {"twice", next, []string{command(noID, head, "refs/heads/agent/x"), command(noID, noID, "refs/heads/agent/x")}},
		"two that differ in case":  {"case", next, []string{command(noID, head, "refs/heads/agent/x"), command(noID, head, "refs/heads/agent/X")}},
		"up and out":               {"", next, []string{command(noID, head, "refs/heads/agent/../main")}},
		"up to a file":             {"", next, []string{command(noID, head, "refs/heads/agent/../../../config")}},
		"a lock":                   {"", next, []string{command(noID, head, "refs/heads/agent/x.lock")}},
		"a hidden one":             {"", next, []string{command(noID, head, "refs/heads/agent/.x")}},
		"a colon":                  {"", next, []string{command(noID, head, "refs/heads/agent/x:refs/heads/main")}},
		"a glob":                   {"", next, []string{command(noID, head, "refs/heads/agent/*")}},
		"a tilde":                  {"", next, []string{command(noID, head, "refs/heads/agent/x~1")}},
		"a reflog":                 {"", next, []string{command(noID, head, "refs/heads/agent/x@{1}")}},
		"a backslash":              {"", next, []string{command(noID, head, `refs/heads/agent/..\main`)}},
		"an empty part":            {"", next, []string{command(noID, head, "refs/heads/agent//x")}},
		"a slash at the end":       {"", next, []string{command(noID, head, "refs/heads/agent/")}},
		"a blank":                  {"", next, []string{command(noID, head, "refs/heads/agent/x y")}},
		"a newline":                {"", next, []string{command(noID, head, "refs/heads/agent/x\n"+noID+" "+head+" refs/heads/main")}},
		"an escape":                {"", next, []string{command(noID, head, "refs/heads/agent/\x1b]0;x\x07")}},
		"eight bits":               {"", next, []string{command(noID, head, "refs/heads/agent/\x9b31m")}},
		"right to left":            {"", next, []string{command(noID, head, "refs/heads/agent/\u202ex")}},
		"a very long one":          {"longer than", next, []string{command(noID, head, long)}},
		"an option":                {"", next, []string{command(noID, head, "--force")}},
		"no slash":                 {"", next, []string{command(noID, head, "main")}},
		"an id as a name":          {"taken for something else", next, []string{command(noID, head, "refs/heads/"+head)}},
		"a tree":                   {"not a commit", &pack{}, nil},
		"a tag of a tree":          {"", &pack{}, nil},
		"nothing at all":           {"", nil, []string{}},
		"a command that is none":   {"", next, []string{"push " + head}},
		"a shallow line":           {"", &pack{}, nil},
		"short ids":                {"", next, []string{command("0000", head[:12], "refs/heads/agent/x")}},
	} {
		t.Run(name, func(t *testing.T) {
			l.t = t
			switch name {
			case "a tree":
				c.commands = []string{command(noID, c.p.add("tree", treeOf(c.p.file("a", "x"))), "refs/heads/agent/tree")}
			case "a shallow line": // which says that a commit has no parents, though it has
				cut := c.p.change("cut off\n", []string{strings.Repeat("2", 40)}, c.p.file("a", "x"))
				c.commands = []string{"shallow " + cut, command(noID, cut, "refs/heads/agent/x")}
			case "a tag of a tree":
				tree := c.p.add("tree", treeOf(c.p.file("a", "x")))
				tag := c.p.add("tag", []byte("object "+tree+"\ntype tree\ntag v1\ntagger "+agentLine+"\n\nx\n"))
				c.commands = []string{command(noID, tag, "refs/heads/agent/tag")}
			}
			l.mustRefuse(t, c.why, c.p, c.commands...)
		})
	}
	l.t = t
}

// Attack F1, F8: more refs than anybody pushes, a million of them in few bytes.
func TestAttackF8_AMillionRefs(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Force = true })
	main := l.fresh()
	var some, many strings.Builder
	some.WriteString(pktLine(command(noID, main, "refs/heads/agent/x") + "\x00" + wantsAll))
	for i := range 1_000_000 {
		many.WriteString(pktLine(command(noID, main, fmt.Sprintf("refs/heads/agent/%07d", i))))
	}
	before := l.state()
	for name, body := range map[string]string{
		"101":     updates(wantsAll, each(101, func(i int) string { return command(noID, main, fmt.Sprintf("refs/heads/agent/%d", i)) })...),
		"million": some.String() + many.String() + "0000",
	} {
		_, said := l.post(receivePack, string(gzipped([]byte(body+string((&pack{}).bytes())))), "Content-Encoding", "gzip")
		if strings.Contains(said, "ok refs/") {
			t.Errorf("%s: it says %.300s", name, said)
		}
		if name == "101" && !strings.Contains(said, "more than 100 refs") {
			t.Errorf("it says %.300s", said)
		}
	}
	if after := l.state(); after != before {
		t.Error("something has changed")
	}
}

func each(n int, make func(int) string) (all []string) {
	for i := range n {
		all = append(all, make(i))
	}
	return all
}

// Attack F2: the upstream has a branch that stands for another one. Its name may be pushed, what it stands for may
// not. Over ssh, it is the server's configuration by which git says so or not.
func TestAttackF2_ABranchThatStandsForAnother(t *testing.T) {
	for over, c := range map[string]struct {
		make func(*testing.T) *lab
		why  string
		ok   bool // one that only is at the same commit may be pushed
	}{
		"ssh": {func(t *testing.T) *lab { return newLab(t) }, "upstream it is where refs/heads/main is, and the upstream does not say whether one stands for the other", false},
		"ssh with version 2": {func(t *testing.T) *lab {
			s, err := server.Start(t.TempDir(), "127.0.0.1", "AcceptEnv GIT_PROTOCOL")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return newLab(t, func(c *control.GitConfig) {
				r := &c.Repositories[0]
				_, path, _ := strings.Cut(strings.TrimPrefix(r.Upstream, "ssh://"), "/")
				r.Upstream, r.Key, r.KnownHosts = s.URL("127.0.0.1", "/"+path), read(t, s.KeyFile), s.KnownHosts("127.0.0.1")
			})
		}, "upstream it stands for refs/heads/main", true},
		"https": {func(t *testing.T) *lab { l, _ := newHTTPSLab(t); return l }, "upstream it stands for refs/heads/main", true},
	} {
		t.Run(over, func(t *testing.T) {
			l := c.make(t)
			l.git(l.upstream, "symbolic-ref", "refs/heads/agent/alias", "refs/heads/main")
			main := l.theirs("refs/heads/main")
			l.update("agent/same", main)
			work := l.clone()
			l.commit(work, "main.go", "package main\n")
			l.refused(work, c.why, "push", "origin", "HEAD:agent/alias")
			if got := l.theirs("refs/heads/main"); got != main {
				t.Errorf("main is %s, was %s", got, main)
			}
			if out, err := l.try(work, "push", "origin", "HEAD:agent/same"); (err == nil) != c.ok {
				t.Errorf("one that is at the same commit: %v\n%s", err, out)
			}
			l.git(work, "push", "-q", "origin", "HEAD:agent/new")
			l.commit(work, "main.go", "package main // more\n")
			l.git(work, "push", "-q", "origin", "HEAD:agent/new")
		})
	}
}

// Attack F1: the upstream's default branch has a name that may be pushed.
func TestAttackF1_TheDefaultBranchWhateverItsName(t *testing.T) {
	l := newLab(t)
	l.update("agent/start", l.child("main"))
	l.git(l.upstream, "symbolic-ref", "HEAD", "refs/heads/agent/start")
	work := l.clone()
	l.commit(work, "main.go", "package main\n")
	l.refused(work, "it is a protected branch", "push", "origin", "HEAD:agent/start")
}
