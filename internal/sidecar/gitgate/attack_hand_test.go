package gitgate

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Attack F6: names that some file system takes for .git, or for a file that git obeys, in all
// the ways that are known: with the marks that NTFS and HFS+ drop, short names, streams.
func TestAttackF6_NamesThatBecomeDotGit(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	for _, name := range []string{
		".git ", ".git.", ".git...", ".git . .", ".git::$INDEX_ALLOCATION", ".git:x", ".GiT ", "git~1", "GIT~1 ", "GIT~1.", ".gi\u200dt", ".git\ufeff", ".g\u200eit", ".\u206agit", ".git\\x", ".git/x", "\u200c.git",
	} {
		for kind, entry := range map[string]func(p *pack) leaf{
			"file":      func(p *pack) leaf { return p.file(name, "x") },
			"directory": func(p *pack) leaf { return leaf{"40000", name, p.add("tree", treeOf(p.file("config", "x")))} },
			"link":      func(p *pack) leaf { return leaf{"120000", name, p.add("blob", []byte("x"))} },
			"gitlink":   func(*pack) leaf { return leaf{"160000", name, main} },
		} {
			p := &pack{}
			head := p.change("odd\n", []string{main}, entry(p))
			said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/"+head[:12]))
			if strings.Contains(said, "ok refs/") {
				t.Errorf("%s %q: it says %s", kind, name, said)
			}
		}
	}
	for _, name := range []string{".gitmodules", ".GITMODULES", "GITMOD~1", "gi7eba~1", ".gitmodules ", ".gitmodule\u200cs"} {
		p := &pack{}
		bad := p.file(name, "[submodule \"x\"]\n\tpath = -x\n\turl = ext::touch /tmp/x\n")
		for _, entry := range []leaf{bad, {"120000", name, p.add("blob", []byte("/etc/passwd"))}} {
			head := p.change("odd\n", []string{main}, entry)
			said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/"+head[:12]))
			if strings.Contains(said, "ok refs/") {
				t.Errorf("%q: it says %s", name, said)
			}
		}
	}
	if out := l.git(l.upstream, "for-each-ref"); strings.Contains(out, "agent") {
		t.Errorf("upstream has %s", out)
	}
}

// Attack F6: commands and arguments of the protocol that the gate does not offer, asked for by
// hand: to be sent elsewhere, to be told of objects, to have the gate work without end.
func TestAttackF6_WhatIsNotOfferedIsNotDone(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	v2 := func(lines ...string) string {
		body := ""
		for _, line := range lines {
			if len(line) == 4 && strings.HasPrefix(line, "000") {
				body += line
			} else {
				body += pktLine(line)
			}
		}
		_, said := l.post(uploadPack, body, "Git-Protocol", "version=2")
		return said
	}
	const done = "done\n"
	for name, said := range map[string]string{
		"bundles":               v2("command=bundle-uri\n", "0000"),
		"a push":                v2("command=push\n", "0001", command(noID, main, "refs/heads/agent/x"), "0000"),
		"two commands":          v2("command=fetch\n", "command=ls-refs\n", "0001", "want "+main+"\n", done, "0000"),
		"a ref by its name":     v2("command=fetch\n", "0001", "want-ref refs/heads/main\n", done, "0000"),
		"a filter by a path":    v2("command=fetch\n", "0001", "filter sparse:path=/etc/passwd\n", "want "+main+"\n", done, "0000"),
		"a format":              v2("command=fetch\n", "object-format=sha256\n", "0001", "want "+main+"\n", done, "0000"),
		"shallow since nothing": v2("command=fetch\n", "0001", "want "+main+"\n", "deepen-not refs/heads/../../x\n", done, "0000"),
		"a line of no length":   v2("command=fetch\n", "0001", "0003", "0000"),
		"an option":             v2("command=ls-refs\n", "0001", "ref-prefix --upload-pack=x\n", "symrefs\n", "0000"),
	} {
		if strings.Contains(said, "PACK") || strings.Contains(said, main) {
			t.Errorf("%s: it says %.300q", name, said)
		}
	}
	if got := v2("command=fetch\n", "0001", "packfile-uris https\n", "want "+main+"\n", done, "0000"); strings.Contains(got, "packfile-uris\n") || strings.Contains(got, "https://") {
		t.Errorf("it sends the client elsewhere: %.300q", got)
	}
	p := &pack{}
	head := p.change("x\n", []string{main}, p.file("a", "x"))
	before := l.state()
	body := updates(wantsAll+" push-options", command(noID, head, "refs/heads/agent/x"))
	if _, said := l.post(receivePack, body+pktLine("skip-checks")+"0000"+string(p.bytes())); strings.Contains(said, "ok refs/") {
		t.Errorf("push options: it says %s", said)
	}
	if after := l.state(); after != before {
		t.Errorf("something has changed: %s", after)
	}
	l.clone()
}

// Attack G2: while a push waits it is pushed again and again, and others to the same ref, and
// the operator decides in between. What goes upstream is what was approved, once; each push
// is one request at a time.
func TestAttackG2_PushedAgainWhileItIsDecided(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	main := l.fresh()
	p := &pack{}
	head := p.change("held\n", []string{main}, p.file("a", "held"))
	again := func() string { return l.send(wantsAll, p, command(noID, head, "refs/heads/agent/x")) }
	var pushing sync.WaitGroup
	for i := range 6 {
		pushing.Go(func() {
			if i%2 == 0 {
				again()
				return
			}
			other := &pack{}
			l.send(wantsAll, other, command(noID, other.change(fmt.Sprintf("other %d\n", i), []string{main}, other.file("a", "other")), "refs/heads/agent/x"))
		})
	}
	pushing.Wait()
	var of string
	for _, r := range l.desk.ledger.All() {
		if r.Push.Updates[0].New == head {
			if of != "" {
				t.Errorf("the same push is %s and %s", of, r.ID)
			}
			of = r.ID
		}
	}
	if n := len(l.desk.ledger.All()); n != 4 {
		t.Errorf("there are %d requests, want one for each of 4 pushes", n)
	}
	for range 3 {
		pushing.Go(func() { again() })
	}
	l.desk.decideOn(t, of, true)
	pushing.Wait()
	if got := l.theirs("refs/heads/agent/x"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	for _, r := range l.desk.ledger.All() {
		if r.Push.Updates[0].New != head && r.State == requests.Approved {
			t.Errorf("%s is %s", r.ID, r.State)
		}
	}
}
