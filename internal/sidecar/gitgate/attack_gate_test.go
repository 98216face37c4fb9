package gitgate

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack F7: what servers, reviewers and the next checkout act on is changed in a way that
// does not look like it. It waits for the operator; what the manifest refuses is refused.
func TestAttackF7_SensitivePaths(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push.Refs = []string{"refs/heads/**"}
		c.Repositories[0].Push.Paths = map[string]policy.PathAction{"locked/**": policy.RefusePath, "docs/hooks/**": policy.AllowPath}
	})
	main := l.fresh()
	dir := func(p *pack, name string, files ...leaf) leaf {
		return leaf{"40000", name, p.add("tree", treeOf(files...))}
	}
	base := &pack{} // with a workflow and owners, continued by a commit that tightens both
	readme := base.file("README.md", "x\n")
	loose := base.change("loose\n", []string{main}, dir(base, ".github", base.file("CODEOWNERS", "* @nobody\n")), readme)
	tight := base.change("tight\n", []string{loose}, dir(base, ".github", base.file("CODEOWNERS", "* @boss\n")), readme)
	seeded := &pack{body: base.body, count: base.count}
	write(t, filepath.Join(l.dir, "base.pack"), string(seeded.bytes()))
	run(t, l.upstream, open(t, filepath.Join(l.dir, "base.pack")), "git", "unpack-objects", "-q")
	l.git(l.upstream, "update-ref", "refs/heads/trunk2", tight)
	l.git(l.upstream, "update-ref", "refs/heads/stale", loose)
	l.git(l.upstream, "update-ref", "refs/heads/work", tight)
	l.fresh()
	for name, c := range map[string]struct {
		why   string
		build func(p *pack) string
	}{
		"a workflow": {".github/workflows/ci.yml", func(p *pack) string {
			return p.change("x", []string{main}, dir(p, ".github", dir(p, "workflows", p.file("ci.yml", "x"))))
		}},
		"in other letters": {".GitHub/Workflows/ci.yml", func(p *pack) string {
			return p.change("x", []string{main}, dir(p, ".GitHub", dir(p, "Workflows", p.file("ci.yml", "x"))))
		}},
		"taken back again": {".github/workflows/ci.yml", func(p *pack) string {
			first := p.change("x", []string{main}, dir(p, ".github", dir(p, "workflows", p.file("ci.yml", "x"))))
			return p.change("y", []string{first}, p.file("a", "x"))
		}},
		"a link": {".github", func(p *pack) string {
			return p.change("x", []string{main}, leaf{"120000", ".github", p.add("blob", []byte("docs"))})
		}},
		"a link of a part": {".github/workflows", func(p *pack) string {
			return p.change("x", []string{main}, dir(p, ".github", leaf{"120000", "workflows", p.add("blob", []byte("../docs"))}))
		}},
		"a submodule": {".github/workflows", func(p *pack) string {
			return p.change("x", []string{main}, dir(p, ".github", leaf{"160000", "workflows", main}))
		}},
		"in a merge": {".gitlab-ci.yml", func(p *pack) string {
			side := p.change("side", []string{main}, p.file("a", "x"))
			return p.change("merge", []string{main, side}, p.file(".gitlab-ci.yml", "x"), p.file("a", "x"))
		}},
		"deleted": {".github/CODEOWNERS", func(p *pack) string { return p.change("x", []string{tight}, readme) }},
		"attributes": {"sub/.gitattributes", func(p *pack) string {
			return p.change("x", []string{main}, dir(p, "sub", p.file(".gitattributes", "* -diff")))
		}},
		"a mode alone": {".github/CODEOWNERS", func(p *pack) string {
			owners := p.file("CODEOWNERS", "* @boss\n")
			owners.mode = "100755"
			return p.change("x", []string{tight}, dir(p, ".github", owners), readme)
		}},
		"by a merge with what was before": {".github/CODEOWNERS", func(p *pack) string {
			return p.change("merge", []string{loose, tight}, dir(p, ".github", p.file("CODEOWNERS", "* @nobody\n")), readme)
		}},
		"by a merge with the beginning": {".github/CODEOWNERS", func(p *pack) string {
			return p.change("merge", []string{main, tight}, readme)
		}},
		"by a merge of three with what was before": {".github/CODEOWNERS", func(p *pack) string {
			return p.change("merge", []string{main, loose, tight}, dir(p, ".github", p.file("CODEOWNERS", "* @nobody\n")), readme)
		}},
		"at a beginning of its own": {".gitlab-ci.yml", func(p *pack) string { return p.change("x", nil, p.file(".gitlab-ci.yml", "x")) }},
		"locked":                    {"locked/x may not be changed", func(p *pack) string { return p.change("x", []string{main}, dir(p, "locked", p.file("x", "x"))) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pack{}
			p.file("README.md", "x\n")
			head := c.build(p)
			l.t = t
			said := l.mustRefuse(t, c.why, p, command(noID, head, "refs/heads/x/"+head[:8]))
			if name != "locked" && !strings.Contains(said, "it waits for the operator: it changes "+c.why) {
				t.Errorf("it says %s", said)
			}
		})
	}
	l.t = t
	p := &pack{}
	p.file("README.md", "x\n")
	honest := p.change("merge\n", []string{loose, tight}, dir(p, ".github", p.file("CODEOWNERS", "* @boss\n")), readme)
	if said := l.send(wantsAll, p, command(noID, honest, "refs/heads/honest")); !strings.Contains(said, "ok refs/heads/honest") {
		t.Errorf("a merge that changes nothing of itself is told %s", said)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// Attack F8: little that unpacks to much: a large file of zeros, directories in directories,
// directories that hold each other many times over, a long chain of deltas.
func TestAttackF8_Bombs(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	for name, c := range map[string]struct {
		why   string
		build func(p *pack) string
	}{
		"zeros": {"larger than 100 MiB", func(p *pack) string {
			return p.change("x", []string{main}, leaf{"100644", "a", p.add("blob", make([]byte, 150<<20))})
		}},
		"deep": {"more than 128 deep", func(p *pack) string {
			inner := p.file("a", "x")
			for range 300 {
				inner = leaf{"40000", "d", p.add("tree", treeOf(inner))}
			}
			return p.change("x", []string{main}, inner)
		}},
		"wide": {"more than 1000000 files", func(p *pack) string {
			inner := p.file("a", "x")
			for range 8 {
				var all []leaf
				for i := range 10 {
					all = append(all, leaf{inner.mode, fmt.Sprint(i), inner.id})
				}
				inner = leaf{"40000", "d", p.add("tree", treeOf(all...))}
			}
			return p.change("x", []string{main}, inner)
		}},
		"a large message": {"larger than 1 MiB", func(p *pack) string {
			return p.add("commit", commitOf(p.add("tree", treeOf(p.file("a", "x"))), prose(2<<20), "", main))
		}},
		"a long path": {"a path of more than", func(p *pack) string {
			inner := p.file("a", "x")
			for range 100 {
				inner = leaf{"40000", strings.Repeat("d", 200), p.add("tree", treeOf(inner))}
			}
			return p.change("x", []string{main}, inner)
		}},
		"gzip of zeros": {"cannot be searched", func(p *pack) string {
			return p.change("x", []string{main}, p.file("a.gz", string(gzipped(make([]byte, 200<<20)))))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pack{}
			head := c.build(p)
			l.t = t
			l.mustRefuse(t, c.why, p, command(noID, head, "refs/heads/agent/x"))
		})
	}
	l.t = t
	l.empty("after the bombs")
}

// Attack F4, F11: other services of git, other paths, and objects that are not this
// repository's, by hand.
func TestAttackF11_OtherServicesAndRepositories(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		second := c.Repositories[0]
		second.Name, second.Places = "other", []string{"other", "git.example/acme/other"}
		second.Upstream = strings.Replace(second.Upstream, "upstream.git", "other.git", 1)
		c.Repositories = append(c.Repositories, second)
	})
	l.stop()
	other := filepath.Join(l.dir, "other.git")
	l.git("/", "init", "-q", "--bare", "-b", "main", other)
	foreign := strings.TrimSpace(l.git(other, "commit-tree", "-m", "foreign", l.emptyTree(other)))
	l.git(other, "update-ref", "refs/heads/main", foreign)
	l.start()
	main := l.fresh()
	l.git("/", "ls-remote", l.root+"/other.git")
	for path, why := range map[string]string{
		"/widget.git/info/refs?service=git-upload-archive":      "smart HTTP",
		"/widget.git/info/refs":                                 "smart HTTP",
		"/widget.git/info/refs?service=git-upload-pack%00x":     "smart HTTP",
		"/widget.git/HEAD":                                      "not one of this bottle's repositories",
		"/widget.git/objects/info/packs":                        "not one of",
		"/widget.git/config":                                    "not one of",
		"/widget.git/../../keys/widget/key":                     "not one of",
		"/widget.git/%2e%2e/%2e%2e/keys/widget/key":             "not one of",
		"/../gate/widget.git/info/refs?service=git-upload-pack": "not one of",
		"/widget.git/git-upload-archive":                        "not one of",
		"/hooks/pre-receive":                                    "not one of",
		"/held/info/refs?service=git-upload-pack":               "not one of",
		"/WIDGET.git.git/info/refs?service=git-upload-pack":     "not one of",
		"/widget%00.git/info/refs?service=git-upload-pack":      "not one of",
		"/" + pat + "/info/refs?service=git-upload-pack":        "not one of",
	} {
		r, err := http.NewRequest(http.MethodGet, l.root+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 4096)
		n, _ := answer.Body.Read(body)
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK || !strings.Contains(string(body[:n]), why) || strings.Contains(string(body[:n]), pat) {
			t.Errorf("%s: status %d: %s", path, answer.StatusCode, body[:n])
		}
	}
	if strings.Contains(l.events.String(), pat) {
		t.Error("the log has the secret")
	}
	for name, got := range map[string]string{
		"another repository's commit": l.want("", foreign),
		"an id of nothing":            l.want("", strings.Repeat("3", 40)),
		"no id":                       l.want("", "main"),
		"100,000 of them":             l.want("", each(100_000, func(i int) string { return fmt.Sprintf("%040x", i+1) })...),
		"a filter by file":            l.want(pktLine("filter sparse:oid="+main+"\n"), main),
		"a command that is none":      second(l.post(uploadPack, pktLine("command=object-info")+"0001"+pktLine("size\n")+pktLine("oid "+main+"\n")+"0000", "Git-Protocol", "version=2")),
		"the archive":                 second(l.post("git-upload-archive", pktLine("argument HEAD")+"0000")),
		"a bomb":                      second(l.post(uploadPack, string(gzipped(make([]byte, 200<<20))), "Content-Encoding", "gzip")),
	} {
		if strings.Contains(got, "PACK") || strings.Contains(got, "packfile") {
			t.Errorf("%s: it says %.300q", name, got)
		}
	}
	p := &pack{}
	head := p.change("on foreign ground\n", []string{foreign}, p.file("a", "x"))
	l.mustRefuse(t, "", p, command(noID, head, "refs/heads/agent/x"))
	l.mustRefuse(t, "", nil, command(noID, foreign, "refs/heads/agent/x"))
	l.clone() // all of this has left the gate as it was
}

func second(_ int, s string) string { return s }

func (l *lab) emptyTree(repository string) string {
	l.t.Helper()
	return strings.TrimSpace(l.git(repository, "hash-object", "-w", "-t", "tree", "/dev/null"))
}

// Attack F10: a credential in a URL, in what an upstream says, in the error of a key that
// is no longer let in.
func TestAttackF10_CredentialsAreNotRepeated(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	l.hook("pre-receive", "#!/bin/sh\necho 'your token "+deploy+" and "+pat+" has expired' >&2\nprintf '\\033]0;owned\\007' >&2\nexit 1\n")
	p := &pack{}
	head := p.change("x\n", []string{main}, p.file("a", "x"))
	said := l.mustRefuse(t, "has expired", p, command(noID, head, "refs/heads/agent/x"))
	if strings.Contains(said, deploy) || strings.Contains(said, pat) || strings.Contains(said, "\x1b") {
		t.Errorf("it says %q", said)
	}
	with := strings.Replace(l.url, "http://", "http://user:"+pat+"@", 1)
	l.git("/", "ls-remote", with)
	l.refused("/", "The operator declares repositories", "ls-remote", strings.Replace(with, "widget", "nothing", 1))
	if err := os.WriteFile(filepath.Join(l.dir, "keys", "widget", "key"), []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := l.server.all[0]
	m.mu.Lock()
	m.line.close() // which was let in before
	m.mu.Unlock()
	for _, args := range [][]string{{"ls-remote", l.url}, {"push", l.url, "HEAD:refs/heads/agent/y"}} {
		out := l.refused(filepath.Join(l.dir, "seed"), "does not take the gate's credential", args...)
		if strings.Contains(out, filepath.Join(l.dir, "keys")) {
			t.Errorf("it names the key: %s", out)
		}
	}
	said = l.send(wantsAll, p, command(noID, head, "refs/heads/agent/x"))
	if strings.Contains(said, "ok refs/") || !strings.Contains(said, "does not take the gate's credential") || strings.Contains(said, filepath.Join(l.dir, "keys")) {
		t.Errorf("it says %s", said)
	}
	for _, secret := range []string{deploy, pat} {
		if strings.Contains(l.events.String(), secret) {
			t.Errorf("the log has %s: %s", secret, l.events)
		}
	}
}

// Attack E8: commits and tags in the operator's name, and with headers of a signature of
// his.
func TestAttackE8_InAnothersName(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push.Refs = append(c.Repositories[0].Push.Refs, "refs/tags/**")
	})
	main := l.fresh()
	const boss = "Boss <boss@acme.example> 1700000000 +0000"
	for name, build := range map[string]func(p *pack) (head, ref string){
		"author":    func(p *pack) (string, string) { return p.by(main, boss, agentLine), "refs/heads/agent/a" },
		"committer": func(p *pack) (string, string) { return p.by(main, agentLine, boss), "refs/heads/agent/b" },
		"an earlier one": func(p *pack) (string, string) {
			return p.change("x", []string{p.by(main, boss, boss)}, p.file("a", "x")), "refs/heads/agent/c"
		},
		"name": func(p *pack) (string, string) {
			return p.by(main, "Boss <agent@acme.example> 1 +0000", agentLine), "refs/heads/agent/d"
		},
		"address": func(p *pack) (string, string) {
			return p.by(main, "Agent <boss@acme.example> 1 +0000", agentLine), "refs/heads/agent/e"
		},
		"tagger": func(p *pack) (string, string) {
			return p.add("tag", []byte("object "+main+"\ntype commit\ntag v1\ntagger "+boss+"\n\nx\n")), "refs/tags/v1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pack{}
			head, ref := build(p)
			l.t = t
			l.mustRefuse(t, "not by Agent <agent@acme.example>", p, command(noID, head, ref))
		})
	}
	l.t = t
}

// Attack F7: a protected branch that may be pushed to is moved to a commit which is upstream
// already, on a branch of somebody's, and changes a workflow.
func TestAttackF7_WhatAProtectedBranchGets(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Refs = []string{"refs/heads/main"} })
	main := l.fresh()
	seed := filepath.Join(l.dir, "seed")
	l.git(seed, "checkout", "-q", "-b", "proposal")
	head := l.commit(seed, ".github/workflows/ci.yml", "on: push\n")
	l.git(seed, "push", "-q", l.upstream, "proposal")
	l.fresh()
	l.mustRefuse(t, "it changes .github/workflows/ci.yml", &pack{}, command(main, head, "refs/heads/main"))
}

// ATTACK F7: a protected branch is not moved but made at such a commit.
func TestAttackF7_WhatANewProtectedBranchGets(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push = policy.Push{Refs: []string{"refs/heads/release/1"}}
	})
	main := l.fresh()
	seed := filepath.Join(l.dir, "seed")
	l.git(seed, "checkout", "-q", "-b", "proposal")
	head := l.commit(seed, ".github/workflows/ci.yml", "on: push\n")
	l.git(seed, "push", "-q", l.upstream, "proposal")
	l.fresh()
	l.mustRefuse(t, "it changes .github/workflows/ci.yml", &pack{}, command(noID, head, "refs/heads/release/1"))
	if said := l.send(wantsAll, &pack{}, command(noID, main, "refs/heads/release/1")); !strings.Contains(said, "ok refs/heads/release/1") {
		t.Errorf("where the default branch is: it says %s", said)
	}
}

// Attack F7: the same, with so many files which are only held before one that is refused that it is not told of.
func TestAttackF7_WhatIsRefusedIsNotHiddenByWhatIsHeld(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].Push = policy.Push{Refs: []string{"refs/heads/main"}, Paths: map[string]policy.PathAction{"zone/**": policy.RefusePath}}
	})
	main := l.fresh()
	seed := filepath.Join(l.dir, "seed")
	l.git(seed, "checkout", "-q", "-b", "proposal")
	for i := range maxReported + 1 {
		write(t, filepath.Join(seed, fmt.Sprintf(".github/workflows/%02d.yml", i)), "on: push\n")
	}
	head := l.commit(seed, "zone/file", "x\n")
	l.git(seed, "push", "-q", l.upstream, "proposal")
	l.fresh()
	l.mustRefuse(t, "zone/file may not be changed from here", &pack{}, command(main, head, "refs/heads/main"))
}

// by is a commit by somebody.
func (p *pack) by(parent, author, committer string) string {
	return p.add("commit", []byte("tree "+p.add("tree", treeOf(p.file("a", "x")))+"\nparent "+parent+"\nauthor "+author+"\ncommitter "+committer+"\n\nx\n"))
}

// Attack F6: a signed push makes the gate run a program on what it is sent.
func TestAttackF6_ASignedPushRunsNothing(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	p := &pack{}
	head := p.change("x\n", []string{main}, p.file("a", "x"))
	lines := []string{
		"push-cert\x00" + wantsAll, "certificate version 0.1\n", "pusher Boss <boss@acme.example> 1 +0000\n", "nonce none\n", "\n", command(noID, head, "refs/heads/agent/x") + "\n",
		"-----BEGIN PGP SIGNATURE-----\n", "AAAA\n", "-----END PGP SIGNATURE-----\n", "push-cert-end\n",
	}
	body := ""
	for _, line := range lines {
		body += pktLine(line)
	}
	before := l.state()
	_, said := l.post(receivePack, body+"0000"+string(p.bytes()))
	if strings.Contains(said, "ok refs/") || l.state() != before {
		t.Errorf("it says %s", said)
	}
}
