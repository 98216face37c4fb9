package gitgate

import (
	"strings"
	"testing"
)

// The hand-made client is no straw man: what is in order passes.
func TestAHandMadePushPasses(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	p := &pack{}
	base := []byte(strings.Repeat("line of text\n", 50))
	first := p.add("blob", base)
	second := p.delta("blob", first, base, []byte("and more\n"))
	head := p.change("by hand\n", []string{main}, leaf{"100644", "a", first}, leaf{"100755", "b", second})
	if said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/hand")); !strings.Contains(said, "ok refs/heads/agent/hand") || l.theirs("refs/heads/agent/hand") != head {
		t.Errorf("it says %s", said)
	}
	if got := l.git(l.upstream, "cat-file", "blob", head+":b"); got != string(base)+"and more\n" {
		t.Errorf("upstream has %q", got)
	}
}

// Attack F6, F8: packs that are broken, lie about themselves, lack what they need, or hold
// objects that git would not write: each is refused, and leaves nothing anywhere.
func TestAttackF6_HandMadePacks(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	const missing = "1111111111111111111111111111111111111111"
	odd := func(change func(p *pack) []leaf) func(p *pack) string {
		return func(p *pack) string { return p.change("odd\n", []string{main}, change(p)...) }
	}
	commit := func(text string) func(p *pack) string {
		return func(p *pack) string {
			tree := p.add("tree", treeOf(p.file("a", "x\n")))
			return p.add("commit", []byte(strings.NewReplacer("TREE", tree, "PARENT", main, "WHO", agentLine).Replace(text)))
		}
	}
	for name, build := range map[string]func(p *pack) string{
		"bad checksum":       func(p *pack) string { p.spoil = true; return p.change("x", []string{main}, p.file("a", "x")) },
		"fewer than it says": func(p *pack) string { p.lie = 1; return p.change("x", []string{main}, p.file("a", "x")) },
		"more than it says":  func(p *pack) string { p.lie = ^uint32(0); return p.change("x", []string{main}, p.file("a", "x")) },
		"four billion":       func(p *pack) string { p.lie = 1<<32 - 100; return p.change("x", []string{main}, p.file("a", "x")) },
		"no blob":            odd(func(*pack) []leaf { return []leaf{{"100644", "a", missing}} }),
		"no tree":            func(p *pack) string { return p.add("commit", commitOf(missing, "x", "", main)) },
		"no parent":          func(p *pack) string { return p.change("x", []string{missing}, p.file("a", "x")) },
		"no base of a delta": func(p *pack) string {
			p.delta("blob", missing, []byte("x"), []byte("y"))
			return p.change("x", []string{main}, p.file("a", "x"))
		},
		"a delta to before the pack": func(p *pack) string {
			p.offset("blob", 1<<20, []byte("x"), []byte("y"))
			return p.change("x", []string{main}, p.file("a", "x"))
		},
		"a delta of nothing": func(p *pack) string {
			p.entry(packTypes["ofs"], 1, []byte{0}, []byte{0})
			return p.change("x", []string{main}, p.file("a", "x"))
		},
		"a type that is none": func(p *pack) string {
			p.entry(5, 1, nil, []byte("x"))
			return p.change("x", []string{main}, p.file("a", "x"))
		},
		"a size that lies": func(p *pack) string {
			p.entry(3, 1<<30, nil, []byte("x"))
			return p.change("x", []string{main}, p.file("a", "x"))
		},
		"not packed":            func(p *pack) string { p.body.WriteString("GARBAGE"); p.count++; return missing },
		"a tree as a blob":      odd(func(p *pack) []leaf { return []leaf{{"100644", "a", p.add("tree", treeOf(p.file("b", "x")))}} }),
		"a blob as a tree":      odd(func(p *pack) []leaf { return []leaf{{"40000", "a", p.add("blob", []byte("x"))}} }),
		".git":                  odd(func(p *pack) []leaf { return []leaf{p.file(".git", "x")} }),
		".GIT":                  odd(func(p *pack) []leaf { return []leaf{p.file(".GIT", "x")} }),
		".git for HFS+":         odd(func(p *pack) []leaf { return []leaf{p.file(".g\u200cit", "x")} }),
		".git for NTFS":         odd(func(p *pack) []leaf { return []leaf{p.file("GIT~1", "x")} }),
		"..":                    odd(func(p *pack) []leaf { return []leaf{p.file("..", "x")} }),
		".":                     odd(func(p *pack) []leaf { return []leaf{p.file(".", "x")} }),
		"a path as a name":      odd(func(p *pack) []leaf { return []leaf{p.file("a/../../b", "x")} }),
		"no name":               odd(func(p *pack) []leaf { return []leaf{p.file("", "x")} }),
		"one name twice":        odd(func(p *pack) []leaf { return []leaf{p.file("a", "x"), p.file("a", "y")} }),
		"out of order":          odd(func(p *pack) []leaf { return []leaf{p.file("b", "x"), p.file("a", "y")} }),
		"a mode of zeros":       odd(func(p *pack) []leaf { f := p.file("a", "x"); f.mode = "0100644"; return []leaf{f} }),
		"setuid":                odd(func(p *pack) []leaf { f := p.file("a", "x"); f.mode = "104755"; return []leaf{f} }),
		"a device":              odd(func(p *pack) []leaf { f := p.file("a", "x"); f.mode = "20644"; return []leaf{f} }),
		"no mode":               odd(func(p *pack) []leaf { f := p.file("a", "x"); f.mode = ""; return []leaf{f} }),
		"a directory with bits": odd(func(p *pack) []leaf { return []leaf{{"40755", "a", p.add("tree", treeOf(p.file("b", "x")))}} }),
		"a link as .gitmodules": odd(func(p *pack) []leaf { f := p.file(".gitmodules", "/etc/passwd"); f.mode = "120000"; return []leaf{f} }),
		"a URL that is a program": odd(func(p *pack) []leaf {
			return []leaf{p.file(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = -u./evil\n")}
		}),
		"half a tree":          odd(func(p *pack) []leaf { return []leaf{{"40000", "a", p.add("tree", []byte("100644 x\x00abc"))}} }),
		"two authors":          commit("tree TREE\nparent PARENT\nauthor WHO\nauthor WHO\ncommitter WHO\n\nx\n"),
		"no author":            commit("tree TREE\nparent PARENT\ncommitter WHO\n\nx\n"),
		"two committers":       commit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\ncommitter Evil <evil@x.example> 1 +0000\n\nx\n"),
		"two trees":            commit("tree TREE\ntree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\n\nx\n"),
		"NUL in a header":      commit("tree TREE\nparent PARENT\nauthor Agent\x00 <agent@acme.example> 1 +0000\ncommitter WHO\n\nx\n"),
		"NUL in a message":     commit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\n\nx\x00ghp_hidden\n"),
		"a date past all time": commit("tree TREE\nparent PARENT\nauthor Agent <agent@acme.example> 99999999999999999999999 +0000\ncommitter WHO\n\nx\n"),
		"no headers":           commit("\n\nx"),
		"nothing in it":        commit(""),
	} {
		t.Run(name, func(t *testing.T) {
			p := &pack{}
			head := build(p)
			l.t = t
			l.mustRefuse(t, "", p, command(noID, head, "refs/heads/agent/"+strings.Trim(head[:12], "\n")))
		})
	}
	l.t = t
}
