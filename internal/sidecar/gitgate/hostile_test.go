package gitgate

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	bits "encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pack is one that no git would make: objects are put in as they are, whatever they hold
// (gitformat-pack(5)).
type pack struct {
	body  bytes.Buffer
	count uint32
	lie   uint32 // what the header says besides
	spoil bool   // the checksum
	has   map[string]bool
}

// Types of objects in a pack.
var packTypes = map[string]byte{"commit": 1, "tree": 2, "blob": 3, "tag": 4, "ofs": 6, "ref": 7}

func idOf(kind string, data []byte) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(data), data))
	return hex.EncodeToString(sum[:])
}

// add puts an object in, once, and returns its id.
func (p *pack) add(kind string, data []byte) string {
	id := idOf(kind, data)
	if !p.has[id] {
		p.entry(packTypes[kind], len(data), nil, data)
	}
	if p.has == nil {
		p.has = make(map[string]bool)
	}
	p.has[id] = true
	return id
}

// delta puts an object in that is base with all of it copied, and more behind.
func (p *pack) delta(kind, base string, was, more []byte) string {
	id, _ := hex.DecodeString(base)
	d := deltaOf(was, more)
	p.entry(packTypes["ref"], len(d), id, d)
	return idOf(kind, append(bytes.Clone(was), more...))
}

// offset is delta, with the base so many bytes before it.
func (p *pack) offset(kind string, back int, was, more []byte) string {
	encoded := []byte{byte(back & 0x7f)}
	for back >>= 7; back > 0; back >>= 7 {
		back--
		encoded = append([]byte{0x80 | byte(back&0x7f)}, encoded...)
	}
	d := deltaOf(was, more)
	p.entry(packTypes["ofs"], len(d), encoded, d)
	return idOf(kind, append(bytes.Clone(was), more...))
}

func deltaOf(was, more []byte) []byte {
	d := bits.AppendUvarint(nil, uint64(len(was)))
	d = bits.AppendUvarint(d, uint64(len(was)+len(more)))
	d = append(d, 0x80|0x01|0x02|0x04|0x10|0x20|0x40, 0, 0, 0, byte(len(was)), byte(len(was)>>8), byte(len(was)>>16))
	for len(more) > 0 {
		n := min(len(more), 127)
		d = append(append(d, byte(n)), more[:n]...)
		more = more[n:]
	}
	return d
}

func (p *pack) entry(kind byte, size int, head, data []byte) {
	c, n := kind<<4|byte(size&15), size>>4
	for n > 0 {
		p.body.WriteByte(c | 0x80)
		c, n = byte(n&0x7f), n>>7
	}
	p.body.WriteByte(c)
	p.body.Write(head)
	z := zlib.NewWriter(&p.body)
	_, _ = z.Write(data)
	_ = z.Close()
	p.count++
}

func (p *pack) bytes() []byte {
	out := bits.BigEndian.AppendUint32([]byte("PACK"), 2)
	out = append(bits.BigEndian.AppendUint32(out, p.count+p.lie), p.body.Bytes()...)
	sum := sha1.Sum(out)
	if p.spoil {
		sum[7] ^= 1
	}
	return append(out, sum[:]...)
}

// leaf is an entry of a tree.
type leaf struct{ mode, name, id string }

func treeOf(leaves ...leaf) []byte {
	var b bytes.Buffer
	for _, e := range leaves {
		id, _ := hex.DecodeString(e.id)
		fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, id)
	}
	return b.Bytes()
}

const agentLine = "Agent <agent@acme.example> 1700000000 +0000"

// commitOf is a commit of the agent's. A header comes as it is, behind the usual ones.
func commitOf(tree, message, header string, parents ...string) []byte {
	text := "tree " + tree + "\n"
	for _, parent := range parents {
		text += "parent " + parent + "\n"
	}
	return []byte(text + "author " + agentLine + "\ncommitter " + agentLine + "\n" + header + "\n" + message)
}

// change puts a commit with these files into the pack; it continues parents.
func (p *pack) change(message string, parents []string, files ...leaf) string {
	return p.add("commit", commitOf(p.add("tree", treeOf(files...)), message, "", parents...))
}

// file is an entry for a new blob.
func (p *pack) file(name, content string) leaf {
	return leaf{"100644", name, p.add("blob", []byte(content))}
}

const (
	noID     = "0000000000000000000000000000000000000000"
	wantsAll = " report-status side-band-64k delete-refs atomic ofs-delta agent=git/2.99"
)

// pktLine is a line of git's protocol (gitprotocol-common(5)).
func pktLine(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// command asks for an update of a ref.
func command(old, id, ref string) string { return old + " " + id + " " + ref }

// updates are the lines before a pack, the first with what the client can do.
func updates(can string, commands ...string) string {
	var b strings.Builder
	for i, c := range commands {
		if i == 0 {
			c += "\x00" + can
		}
		b.WriteString(pktLine(c))
	}
	return b.String() + "0000"
}

// post sends a request, and returns its status and what it says, free of side-bands.
func (l *lab) post(service, body string, header ...string) (int, string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.url+"/"+service, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-"+service+"-request")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error() // it hung up, which refuses as well
	}
	defer func() { _ = answer.Body.Close() }()
	data, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, spokenOf(data)
}

// spokenOf joins the lines of an answer, those of all side-bands.
func spokenOf(data []byte) string {
	var b strings.Builder
	for len(data) >= 4 {
		var n int
		if _, err := fmt.Sscanf(string(data[:4]), "%04x", &n); err != nil || n > len(data) {
			b.Write(data)
			break
		}
		if n < 4 {
			data = data[4:]
			continue
		}
		line := data[4:n]
		if len(line) > 0 && line[0] <= 3 {
			line = line[1:]
		}
		b.Write(line)
		data = data[n:]
	}
	return b.String()
}

// fresh makes the gate ask the upstream, as each client does first, and returns the id of
// its main branch.
func (l *lab) fresh() string {
	l.t.Helper()
	answer, err := http.Get(l.url + "/info/refs?service=git-receive-pack")
	if err != nil {
		l.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return l.theirs("refs/heads/main")
}

// send pushes by hand.
func (l *lab) send(can string, p *pack, commands ...string) string {
	l.t.Helper()
	body := updates(can, commands...)
	if p != nil {
		body += string(p.bytes())
	}
	_, said := l.post(receivePack, body)
	return said
}

// state is all that a push could change: the upstream's refs and objects, and the mirror's.
func (l *lab) state() string {
	l.t.Helper()
	var b strings.Builder
	for _, dir := range []string{l.upstream, filepath.Join(l.dir, "gate", "widget.git")} {
		b.WriteString(l.git(dir, "for-each-ref"))
		ids := strings.Split(l.git(dir, "cat-file", "--batch-all-objects", "--batch-check"), "\n")
		slices.Sort(ids)
		b.WriteString(strings.Join(ids, "\n"))
		left, err := filepath.Glob(filepath.Join(dir, "objects", "*tmp*"))
		if err != nil {
			l.t.Fatal(err)
		}
		b.WriteString(strings.Join(left, "\n"))
	}
	return b.String()
}

// mustRefuse pushes by hand what must not pass: it says why, and nothing has changed
// anywhere.
func (l *lab) mustRefuse(t *testing.T, why string, p *pack, commands ...string) string {
	t.Helper()
	before := l.state()
	said := l.send(wantsAll, p, commands...)
	if strings.Contains(said, "\nok ") || strings.Contains(said, "ok refs/") || !strings.Contains(said, why) {
		t.Errorf("it does not say %q: %s", why, said)
	}
	if after := l.state(); after != before {
		t.Errorf("something has changed: %s\nwas\n%s", after, before)
	}
	return said
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}
