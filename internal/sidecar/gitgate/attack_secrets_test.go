package gitgate

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

const (
	random = "Zk3vQ8mT1xWc7LbN5rHd"
	pat    = "glpat-" + random        // of a known shape, and nobody's
	deploy = "s3cr3t-d3pl0y-t0k3n-42" // of the lab's bottle
	canary = "bb-placeholder-deploy-7731"
)

// hiding is a way to hide a secret in what is pushed.
type hiding struct {
	name  string
	where []string // what the refusal says besides the rule
	known bool     // only the bottle's own values are found in this way
	put   func(p *pack, secret, main string) []string
}

// at is a push of one branch.
func at(head string) []string { return []string{command(noID, head, "refs/heads/agent/"+head[:10])} }

// asFile hides a secret in a file of one commit.
func asFile(name string, content func(secret string) string) func(p *pack, secret, main string) []string {
	return func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file(name, content(secret))))
	}
}

func asCommit(text string) func(p *pack, secret, main string) []string {
	return func(p *pack, secret, main string) []string {
		tree := p.add("tree", treeOf(p.file("a", "x\n")))
		return at(p.add("commit", []byte(strings.NewReplacer("TREE", tree, "PARENT", main, "WHO", agentLine, "SECRET", secret).Replace(text))))
	}
}

func tarOf(name, content string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644})
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	return b.Bytes()
}

func zipOf(name, content string, method uint16) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, _ := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	_, _ = f.Write([]byte(content))
	_ = w.Close()
	return b.Bytes()
}

func utf16Of(s string) string {
	var b bytes.Buffer
	b.WriteString("\xff\xfe")
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

// noise is bytes without a meaning, and lines text that has one.
func noise(n int, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 5))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b)
}

// bulk is as much text that does not pack well as makes a file a large one, made once.
var bulk = sync.OnceValue(func() string { return words(12<<20, 3) })

// words is text that does not pack well.
func words(n int, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 6))
	var b strings.Builder
	for b.Len() < n {
		for range 2 + random.IntN(7) {
			b.WriteByte(byte('a' + random.IntN(26)))
		}
		b.WriteByte(" \n"[random.IntN(10)/9])
	}
	return b.String() + "\n"
}

func prose(n int) string {
	return strings.Repeat("the quick brown fox jumps over the lazy dog\n", n/44+1)[:n]
}

var hidings = []hiding{
	{name: "a file", where: []string{"conf/app.ini:2", "add it"}, put: func(p *pack, secret, main string) []string {
		inner := p.add("tree", treeOf(p.file("app.ini", "[app]\ntoken = "+secret+"\n")))
		return at(p.change("add it\n", []string{main}, leaf{"40000", "conf", inner}))
	}},
	{name: "an earlier commit", where: []string{"a:1", "the first"}, put: func(p *pack, secret, main string) []string {
		first := p.change("the first\n", []string{main}, p.file("a", secret+"\n"))
		second := p.change("the second\n", []string{first}, p.file("a", "clean\n"))
		return at(p.change("the third\n", []string{second}, p.file("b", "clean\n")))
	}},
	{name: "deleted later", where: []string{"a:1", "the first"}, put: func(p *pack, secret, main string) []string {
		first := p.change("the first\n", []string{main}, p.file("a", secret+"\n"))
		return at(p.change("the second\n", []string{first}))
	}},
	{name: "an evil merge", where: []string{"evil:1", "merge it"}, put: func(p *pack, secret, main string) []string {
		left := p.change("left\n", []string{main}, p.file("l", "x\n"))
		right := p.change("right\n", []string{main}, p.file("r", "x\n"))
		return at(p.change("merge it\n", []string{left, right}, p.file("evil", secret+"\n"), p.file("l", "x\n")))
	}},
	{name: "the second parent", where: []string{"a:1", "aside"}, put: func(p *pack, secret, main string) []string {
		aside := p.change("aside\n", nil, p.file("a", secret+"\n"))
		return at(p.change("merge it\n", []string{main, aside}, p.file("b", "clean\n")))
	}},
	{name: "the eleventh parent", where: []string{"a:1", "aside 9"}, put: func(p *pack, secret, main string) []string {
		parents := []string{main}
		for i := range 10 {
			content := "clean\n"
			if i == 9 {
				content = secret + "\n"
			}
			parents = append(parents, p.change(fmt.Sprintf("aside %d\n", i), nil, p.file("a", content)))
		}
		return at(p.change("merge all\n", parents, p.file("b", "clean\n")))
	}},
	{name: "a commit's first line", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\n\nuse SECRET now\n")},
	{name: "a commit's message", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\n\nharmless\n\nIt is SECRET, keep it.\n")},
	{name: "a trailer", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\n\nharmless\n\nToken: SECRET\nSigned-off-by: Agent <agent@acme.example>\n")},
	{name: "the encoding header", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\nencoding SECRET\n\nharmless\n")},
	{name: "a signature", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n SECRET\n -----END PGP SIGNATURE-----\n\nharmless\n")},
	{name: "a merged tag", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\nmergetag object PARENT\n type commit\n tag v1\n tagger WHO\n \n SECRET\n\nharmless\n")},
	{name: "a header of its own", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter WHO\nHG:extra SECRET\n\nharmless\n")},
	{name: "an author's name", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor SECRET <agent@acme.example> 1700000000 +0000\ncommitter WHO\n\nharmless\n")},
	{name: "a committer's address", where: []string{"message or names"}, put: asCommit("tree TREE\nparent PARENT\nauthor WHO\ncommitter Agent <SECRET@acme.example> 1700000000 +0000\n\nharmless\n")},
	{name: "a tag's annotation", where: []string{"tag "}, put: func(p *pack, secret, main string) []string {
		tag := p.add("tag", []byte("object "+main+"\ntype commit\ntag v1\ntagger "+agentLine+"\n\nsee "+secret+"\n"))
		return []string{command(noID, tag, "refs/tags/v1")}
	}},
	{name: "a tag of a tag", where: []string{"tag "}, put: func(p *pack, secret, main string) []string {
		tag := p.add("tag", []byte("object "+main+"\ntype commit\ntag in\ntagger "+agentLine+"\n\nsee "+secret+"\n"))
		outer := p.add("tag", []byte("object "+tag+"\ntype tag\ntag v1\ntagger "+agentLine+"\n\nclean\n"))
		return []string{command(noID, outer, "refs/tags/v1")}
	}},
	{name: "the name in a tag", where: []string{"tag "}, put: func(p *pack, secret, main string) []string {
		tag := p.add("tag", []byte("object "+main+"\ntype commit\ntag "+secret+"\ntagger "+agentLine+"\n\nclean\n"))
		return []string{command(noID, tag, "refs/tags/v1")}
	}},
	{name: "a tag's name", where: []string{"name of a ref"}, put: func(_ *pack, secret, main string) []string {
		return []string{command(noID, main, "refs/tags/"+secret)}
	}},
	{name: "a branch's name", where: []string{"name of a ref"}, put: func(_ *pack, secret, main string) []string {
		return []string{command(noID, main, "refs/heads/agent/"+secret)}
	}},
	{name: "a branch's name, in parts", known: true, where: []string{"name of a ref"}, put: func(_ *pack, secret, main string) []string {
		return []string{command(noID, main, "refs/heads/agent/"+secret[:9]+"/"+secret[9:])}
	}},
	{name: "the names of two branches", known: true, where: []string{"name of a ref"}, put: func(_ *pack, secret, main string) []string {
		return []string{command(noID, main, "refs/heads/agent/a-"+secret[:12]), command(noID, main, "refs/heads/agent/b-"+secret[12:])}
	}},
	{name: "a file's name", where: []string{"name of a file"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file(secret+".txt", "clean\n")))
	}},
	{name: "a directory's name", where: []string{"name of a file"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, leaf{"40000", secret, p.add("tree", treeOf(p.file("a", "x\n")))}))
	}},
	{name: "a directory's name and a file's", where: []string{"name of a file"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, leaf{"40000", secret[:13], p.add("tree", treeOf(p.file(secret[13:], "x\n")))}))
	}},
	{name: "a link's target", where: []string{"l:1"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, leaf{"120000", "l", p.add("blob", []byte("/tmp/"+secret))}))
	}},
	{name: "base64", where: []string{"a:1", "base64"}, put: asFile("a", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("token="+s)) + "\n" })},
	{name: "hex", where: []string{"a:1", "hex"}, put: asFile("a", func(s string) string { return hex.EncodeToString([]byte(s)) + "\n" })},
	{name: "gzip", where: []string{"a.gz", "gzip"}, put: asFile("a.gz", func(s string) string { return string(gzipped([]byte(prose(1000) + "\n" + s + "\n" + prose(1000)))) })},
	{name: "zip", where: []string{"a.zip", "zip"}, put: asFile("a.zip", func(s string) string { return string(zipOf("in", prose(1000)+"\n"+s, zip.Deflate)) })},
	{name: "zip, stored", where: []string{"a.zip"}, put: asFile("a.zip", func(s string) string { return string(zipOf("in", s, zip.Store)) })},
	{name: "tar.gz", where: []string{"a.tgz", "gzip"}, put: asFile("a.tgz", func(s string) string { return string(gzipped(tarOf("in", s))) })},
	{name: "bzip2", where: []string{"a.bz2", "bzip2"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file("a.bz2", string(compressed("bzip2", secret)))))
	}},
	{name: "gzip in zip", where: []string{"a.zip"}, put: asFile("a.zip", func(s string) string { return string(zipOf("in", string(gzipped([]byte(s))), zip.Deflate)) })},
	{name: "UTF-16", where: []string{"a:1"}, put: asFile("a", func(s string) string { return utf16Of("token " + s + "\r\n") })},
	{name: "two lines of a text", where: []string{"a:"}, put: asFile("a", func(s string) string { return "token = \"" + s[:12] + "\" \\\n  \"" + s[12:] + "\"\n" })},
	{name: "two lines", known: true, where: []string{"a"}, put: asFile("a", func(s string) string { return s[:12] + "\n" + s[12:] + "\n" })},
	{name: "two files", known: true, where: []string{}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file("a", "one="+secret[:12]+"\n"), p.file("b", "two="+secret[12:]+"\n")))
	}},
	{name: "two commits", known: true, where: []string{}, put: func(p *pack, secret, main string) []string {
		first := p.change("one\n", []string{main}, p.file("a", "one="+secret[:12]+"\n"))
		return at(p.change("two\n", []string{first}, p.file("a", "two="+secret[12:]+"\n")))
	}},
	{name: "a file and a message", known: true, where: []string{}, put: func(p *pack, secret, main string) []string {
		return at(p.change("it ends in "+secret[12:]+"\n", []string{main}, p.file("a", "one="+secret[:12]+"\n")))
	}},
	{name: "a large file", where: []string{"big"}, put: asFile("big", func(s string) string { return prose(5<<20) + s + "\n" + prose(100) })},
	{name: "a large binary file", where: []string{"big"}, put: asFile("big", func(s string) string { return noise(5<<20, 1) + "\x00" + s + "\x00" + noise(1000, 2) })},
	{name: "a large archive", where: []string{"big.gz"}, put: asFile("big.gz", func(s string) string {
		return string(gzipped([]byte(bulk() + s + "\n" + words(1<<20, 4))))
	})},
	{name: "a large archive behind noise", where: []string{"big.bin"}, put: asFile("big.bin", func(s string) string {
		return noise(100_000, 9) + string(gzipped([]byte(bulk()+s+"\n"+words(1<<20, 4))))
	})},
	{name: "a large zip", where: []string{"big.zip"}, put: asFile("big.zip", func(s string) string {
		return string(zipOf("in", bulk()+s+"\n"+words(1<<20, 4), zip.Deflate))
	})},
	{name: "a file that attributes call binary", where: []string{"a.secret:1"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file(".gitattributes", "*.secret binary -diff -text\n"), p.file(".gitignore", "*.secret\n"), p.file("a.secret", secret+"\n")))
	}},
	{name: "an LFS pointer", known: true, where: []string{"a:2"}, put: asFile("a", func(s string) string {
		return "version https://git-lfs.github.com/spec/v1\noid sha256:" + hex.EncodeToString([]byte((s + strings.Repeat("\n", 32))[:32])) + "\nsize 12\n"
	})},
	{name: "a submodule's URL", where: []string{".gitmodules:3"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, p.file(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = https://u:"+secret+"@git.example/x\n"), leaf{"160000", "x", main}))
	}},
	{name: "a binary file", where: []string{"a"}, put: asFile("a", func(s string) string {
		return "\x7fELF\x02\x01" + noise(2000, 6) + "\x00" + s + "\x00" + noise(2000, 7)
	})},
	{name: "a delta", where: []string{"a:101"}, put: func(p *pack, secret, main string) []string {
		base := []byte(strings.Repeat("line of text\n", 100))
		id := p.add("blob", base)
		return at(p.change("add it\n", []string{main}, leaf{"100644", "a", p.delta("blob", id, base, []byte(secret+"\n"))}, leaf{"100644", "b", id}))
	}},
	{name: "a chain of deltas", where: []string{"a:"}, put: func(p *pack, secret, main string) []string {
		text := []byte(strings.Repeat("line of text\n", 10))
		id := p.add("blob", text)
		for i := range 100 {
			more := fmt.Appendf(nil, "line %d\n", i)
			if i == 50 {
				more = []byte(secret + "\n")
			}
			id = p.delta("blob", id, text, more)
			text = append(text, more...)
		}
		return at(p.change("add it\n", []string{main}, leaf{"100644", "a", id}))
	}},
	{name: "a gitlink's name", where: []string{"name of a file"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, leaf{"160000", secret, main}))
	}},
	{name: "a link's name", where: []string{"name of a file"}, put: func(p *pack, secret, main string) []string {
		return at(p.change("add it\n", []string{main}, leaf{"120000", secret, p.add("blob", []byte("x"))}))
	}},
	{name: "percent signs", where: []string{"a:1"}, put: asFile("a", func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
		return b.String()
	})},
}

// Attack F5: a secret somewhere in what is pushed. It is refused with its rule and its
// place, and never repeated: not to the agent, not in the log.
func TestAttackF5_HiddenSecrets(t *testing.T) {
	for _, secret := range []struct{ what, text, rule string }{
		{"token", pat, "a secret (gitlab-token)"}, {"value", deploy, "this bottle's credential DEPLOY_TOKEN"}, {"placeholder", canary, "the placeholder of this bottle's credential DEPLOY_TOKEN"},
	} {
		t.Run(secret.what, func(t *testing.T) {
			l := newLab(t, func(c *control.GitConfig) {
				c.Repositories[0].Push = policy.Push{Refs: []string{"refs/heads/agent/**", "refs/tags/**"}}
			})
			main := l.fresh()
			before := l.state()
			for _, h := range hidings {
				if h.known && secret.what == "token" {
					continue
				}
				t.Run(h.name, func(t *testing.T) {
					l.t = t
					l.hide(t, h, secret.text, secret.rule, main)
				})
			}
			l.t = t
			if after := l.state(); after != before {
				t.Errorf("something has changed: %s\nwas\n%s", after, before)
			}
		})
	}
}

// hide pushes a hidden secret, which must be refused by its rule.
func (l *lab) hide(t *testing.T, h hiding, secret, rule, main string) {
	t.Helper()
	p := &pack{}
	commands := h.put(p, secret, main)
	logged := len(l.events.String())
	said := l.send(wantsAll, p, commands...)
	for _, want := range append([]string{"REFUSED: " + rule, "Rewrite"}, h.where...) {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q: %.1000s", want, said)
		}
	}
	// git's own last line names the ref, which is the client's.
	if told, _, _ := strings.Cut(said, "unpack ok"); strings.Contains(told, secret) {
		t.Errorf("it repeats the secret: %.1000s", told)
	}
	if log := l.events.String()[logged:]; strings.Contains(log, secret) {
		t.Errorf("the log has the secret: %s", log)
	}
}

// compressed is what a program of this machine makes of text.
func compressed(program, text string) []byte {
	c := exec.Command(program, "-c")
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	if err != nil {
		panic(err)
	}
	return out
}
