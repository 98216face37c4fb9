package gitgate

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// door is a place in the upstream's hook at which a push waits.
type door struct {
	t           *testing.T
	came, leave string // pipes
}

// doorAt makes the upstream wait in one of its hooks until the door is opened, and then do
// what more says.
func (l *lab) doorAt(hook, more string) door {
	l.t.Helper()
	d := l.door()
	l.hook(hook, d.script(more))
	return d
}

func (l *lab) door() door {
	l.t.Helper()
	d := door{l.t, filepath.Join(l.dir, "came"), filepath.Join(l.dir, "leave")}
	if err := errors.Join(syscall.Mkfifo(d.came, 0o600), syscall.Mkfifo(d.leave, 0o600)); err != nil {
		l.t.Fatal(err)
	}
	return d
}

// script is one that waits at the door.
func (d door) script(more string) string {
	return fmt.Sprintf("#!/bin/sh\necho here > '%s'\nread word < '%s'\n%s\n", d.came, d.leave, more)
}

// await returns when a push waits.
func (d door) await() { _ = read(d.t, d.came) }

// open lets it go on.
func (d door) open() {
	d.t.Helper()
	if err := os.WriteFile(d.leave, []byte("go\n"), 0); err != nil {
		d.t.Error(err)
	}
}

// want asks for an object by its id (gitprotocol-v2(5)).
func (l *lab) want(more string, ids ...string) string {
	l.t.Helper()
	var body strings.Builder
	body.WriteString(pktLine("command=fetch") + "0001" + more)
	for _, id := range ids {
		body.WriteString(pktLine("want " + id + "\n"))
	}
	_, said := l.post(uploadPack, body.String()+pktLine("done\n")+"0000", "Git-Protocol", "version=2")
	return said
}

// gone reports whether an object is in a repository.
func (l *lab) has(repository, id string) bool {
	l.t.Helper()
	_, err := l.try(repository, "cat-file", "-e", id)
	return err == nil
}

// Attack F6: what is pushed is looked at by others before it is accepted: through the gate,
// by object id, while the upstream still thinks about it. Nothing of it can be had.
func TestAttackF6_NothingIsVisibleBeforeItIsAccepted(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	d := l.doorAt("pre-receive", "exit 1")
	p := &pack{}
	file := p.file("a", "not yet\n")
	head := p.change("not yet\n", []string{main}, file)
	said := make(chan string, 1)
	go func() { said <- l.send(wantsAll, p, command(noID, head, "refs/heads/agent/x")) }()
	d.await()
	for _, id := range []string{head, file.id} {
		if got := l.want("", id); !strings.Contains(got, "not our ref") && !strings.Contains(got, "bad object") && !strings.Contains(got, "unable to") {
			t.Errorf("object %s can be had: %.200q", id, got)
		}
		if l.has(l.upstream, id) {
			t.Errorf("object %s is in the upstream's store", id)
		}
	}
	d.open()
	if got := <-said; strings.Contains(got, "ok refs/") {
		t.Errorf("it says %s", got)
	}
	for _, id := range []string{head, file.id} {
		if l.has(filepath.Join(l.dir, "gate", "widget.git"), id) || l.has(l.upstream, id) {
			t.Errorf("object %s of a refused push is still there", id)
		}
	}
}

// Attack F6: objects ride along in the pack that no ref leads to, with a secret in them, and
// a later push refers to them without sending them again. They never go upstream, and the
// later push is searched.
func TestAttackF6_StowawaysStayBehind(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	p := &pack{}
	secret := p.file("secret", "token "+pat+"\n")
	stowaway := p.change("not for you\n", []string{main}, secret)
	clean := p.file("a", "x\n")
	head := p.change("clean\n", []string{main}, clean)
	if said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/x")); !strings.Contains(said, "ok refs/heads/agent/x") {
		t.Fatalf("it says %s", said)
	}
	for _, id := range []string{secret.id, stowaway} {
		if l.has(l.upstream, id) {
			t.Errorf("object %s went upstream", id)
		}
	}
	for name, build := range map[string]func(p *pack) string{
		"the commit":        func(*pack) string { return stowaway },
		"a commit after it": func(p *pack) string { return p.change("next\n", []string{stowaway}, clean) },
		"its file":          func(p *pack) string { return p.change("next\n", []string{head}, clean, secret) },
		"its file as a delta": func(p *pack) string {
			was := []byte("token " + pat + "\n")
			return p.change("next\n", []string{head}, leaf{"100644", "b", p.delta("blob", secret.id, was, []byte("more\n"))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pack{}
			next := build(p)
			l.t = t
			l.mustRefuse(t, "a secret (gitlab-token)", p, command(noID, next, "refs/heads/agent/y"))
		})
	}
	l.t = t
}

// Attack F6: an object is pushed again with the id that another one has, or twice. Ids are
// of content, and git looks.
func TestAttackF6_ObjectsThatAreThere(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	p := &pack{}
	p.add("blob", []byte("# widget\n")) // the upstream's own
	file := p.file("a", "x\n")
	p.entry(packTypes["blob"], 2, nil, []byte("x\n")) // twice
	head := p.change("again\n", []string{main}, file)
	said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/x"))
	if got := l.theirs("refs/heads/agent/x"); got != "" && got != head {
		t.Errorf("it says %s, and upstream has %s", said, got)
	}
	l.git(l.upstream, "fsck", "--strict")
	l.git(filepath.Join(l.dir, "gate", "widget.git"), "fsck", "--strict")
}

// Attack F12: somebody else moves the ref after the client has seen it, after the gate has,
// and in the moment in which the upstream is about to take the push. It is refused, and what
// the other one did stays.
func TestAttackF12_TheUpstreamMoves(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	first := &pack{}
	old := first.change("first\n", []string{main}, first.file("a", "1"))
	l.send(wantsAll, first, command(noID, old, "refs/heads/agent/x"))
	theirs := func(message string) string {
		return strings.TrimSpace(l.git(l.upstream, "commit-tree", "-p", old, "-m", message, old+"^{tree}"))
	}
	mine := func() (*pack, string) {
		p := &pack{}
		return p, p.change("mine\n", []string{old}, p.file("a", "2"))
	}

	l.fresh()
	other := theirs("after the gate has looked")
	l.git(l.upstream, "update-ref", "refs/heads/agent/x", other)
	p, head := mine()
	if said := l.send(wantsAll, p, command(old, head, "refs/heads/agent/x")); !strings.Contains(said, "moved meanwhile") || l.theirs("refs/heads/agent/x") != other {
		t.Errorf("it says %s; upstream has %s", said, l.theirs("refs/heads/agent/x"))
	}
	l.git(l.upstream, "update-ref", "-d", "refs/heads/agent/x")
	l.fresh()
	l.git(l.upstream, "update-ref", "refs/heads/agent/new", other)
	p, head = mine()
	if said := l.send(wantsAll, p, command(noID, head, "refs/heads/agent/new")); !strings.Contains(said, "moved meanwhile") || l.theirs("refs/heads/agent/new") != other {
		t.Errorf("it says %s; upstream has %s", said, l.theirs("refs/heads/agent/new"))
	}
	l.git(l.upstream, "update-ref", "refs/heads/agent/x", old)
	l.fresh()
	d := l.doorAt("pre-receive", "unset GIT_QUARANTINE_PATH; git update-ref refs/heads/agent/x "+other)
	p, head = mine()
	said := make(chan string, 1)
	go func() { said <- l.send(wantsAll, p, command(old, head, "refs/heads/agent/x")) }()
	d.await()
	d.open()
	if got := <-said; strings.Contains(got, "ok refs/") || l.theirs("refs/heads/agent/x") != other {
		t.Errorf("it says %s; upstream has %s", got, l.theirs("refs/heads/agent/x"))
	}
	if got := strings.TrimSpace(l.git(filepath.Join(l.dir, "gate", "widget.git"), "rev-parse", "refs/heads/agent/x")); got == head {
		t.Error("the gate shows what the upstream does not have")
	}
}

// Attack F12: a held push is approved after the upstream has moved.
func TestAttackF12_ApprovedTooLate(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	main := l.fresh()
	p := &pack{}
	head := p.change("held\n", []string{main}, p.file("a", "1"))
	l.mustHold(p, command(noID, head, "refs/heads/agent/x"))
	other := strings.TrimSpace(l.git(l.upstream, "commit-tree", "-p", main, "-m", "other", main+"^{tree}"))
	l.git(l.upstream, "update-ref", "refs/heads/agent/x", other)
	if r := l.desk.decide(t, true); !strings.Contains(r.Decided.Result, "has moved upstream meanwhile") || l.theirs("refs/heads/agent/x") != other {
		t.Errorf("it became %q; upstream has %s", r.Decided.Result, l.theirs("refs/heads/agent/x"))
	}
	if l.has(l.upstream, head) {
		t.Error("its objects are upstream")
	}
}

// mustHold pushes by hand what is to wait for the operator.
func (l *lab) mustHold(p *pack, commands ...string) string {
	l.t.Helper()
	said := l.send(wantsAll, p, commands...)
	if !strings.Contains(said, "NOT PUSHED YET") {
		l.t.Errorf("it is not held: %s", said)
	}
	return said
}

// Attack F6: the objects of a held push are asked for through the gate, or built upon by a
// push that does not send them.
func TestAttackF6_HeldObjectsAreNobodys(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	main := l.fresh()
	p := &pack{}
	file := p.file("a", "held")
	head := p.change("held\n", []string{main}, file)
	l.mustHold(p, command(noID, head, "refs/heads/agent/x"))
	for _, id := range []string{head, file.id} {
		if got := l.want("", id); !strings.Contains(got, "not our ref") {
			t.Errorf("object %s can be had: %.200q", id, got)
		}
	}
	next := &pack{}
	after := next.change("next\n", []string{head}, file)
	l.mustRefuse(t, "", next, command(noID, after, "refs/heads/agent/y"))
}

// Attack F6: two pushes of one ref at the same moment. One gets through whole, the other is
// told that the ref has moved.
func TestAttackF6_TwoAtOnce(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	var heads, said [4]string
	var pushing sync.WaitGroup
	for i := range heads {
		p := &pack{}
		heads[i] = p.change(fmt.Sprintf("racer %d\n", i), []string{main}, p.file("a", fmt.Sprint(i)))
		pushing.Go(func() { said[i] = l.send(wantsAll, p, command(noID, heads[i], "refs/heads/agent/x")) })
	}
	pushing.Wait()
	won := 0
	for i := range heads {
		ok := strings.Contains(said[i], "ok refs/heads/agent/x")
		if ok {
			won++
		}
		if ok != (l.theirs("refs/heads/agent/x") == heads[i]) || ok != l.has(l.upstream, heads[i]) || !ok && !strings.Contains(said[i], "moved") {
			t.Errorf("racer %d is told %s", i, said[i])
		}
	}
	if won != 1 {
		t.Errorf("%d of them won", won)
	}
}

// working are the processes that work in the gate's mirrors, by what they were started as.
func (l *lab) working() []string {
	l.t.Helper()
	var all []string
	dir := filepath.Join(l.dir, "gate")
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		environment, _ := os.ReadFile(filepath.Join(process, "environ"))
		at, _ := os.Readlink(filepath.Join(process, "cwd"))
		if !strings.Contains(string(environment), "GIT_DIR="+dir) && !strings.HasPrefix(at, dir+"/") {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		if len(line) > 0 { // or it has ended
			all = append(all, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return all
}

// leftovers are what a push could leave behind: processes that work in the mirror, and
// files of unfinished work.
func (l *lab) leftovers() []string {
	l.t.Helper()
	left := l.working()
	dir := filepath.Join(l.dir, "gate")
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), "tmp") {
			left = append(left, path)
		}
		return nil
	})
	return left
}

// Attack F6, F8: the client hangs up at every stage of a push. Nothing is left behind, no
// process and no file, and the next push passes.
func TestAttackF6_HangingUpAtEveryStage(t *testing.T) {
	l := newLab(t)
	main := l.fresh()
	p := &pack{}
	head := p.change("large\n", []string{main}, p.file("a", noise(3<<20, 8)))
	body := updates(wantsAll, command(noID, head, "refs/heads/agent/x")) + string(p.bytes())
	request := fmt.Sprintf("POST /widget.git/git-receive-pack HTTP/1.1\r\nHost: gate\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: %d\r\n\r\n", len(body))
	before := l.state()
	for _, n := range []int{10, len(request), len(request) + 2, len(request) + 100, len(request) + 200, len(request) + 1<<20, len(request) + len(body) - 10} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.root, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte((request + body)[:n])); err != nil {
			t.Fatal(err)
		}
		if n > len(request)+100 { // it works by now
			for len(l.leftovers()) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		_ = conn.Close()
		l.empty(fmt.Sprintf("after %d bytes", n))
	}
	if after := l.state(); after != before {
		t.Errorf("something has changed: %s\nwas\n%s", after, before)
	}
	d := l.doorAt("pre-receive", "exit 0")
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.root, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request + body)); err != nil {
		t.Fatal(err)
	}
	d.await()
	_ = conn.Close() // the upstream has it by now, and may take it
	d.open()
	l.empty("while it was forwarded")
	l.fresh()
	mirror := strings.TrimSpace(l.git(filepath.Join(l.dir, "gate", "widget.git"), "for-each-ref", "--format=%(objectname)", "refs/heads/agent/x"))
	if got := l.theirs("refs/heads/agent/x"); got != mirror {
		t.Errorf("upstream has %q, the gate shows %q", got, mirror)
	}
	_ = os.Remove(filepath.Join(l.upstream, "hooks", "pre-receive"))
	next := &pack{}
	after := next.change("next\n", []string{main}, next.file("a", "x"))
	if said := l.send(wantsAll, next, command(noID, after, "refs/heads/agent/y")); !strings.Contains(said, "ok refs/heads/agent/y") {
		t.Errorf("the next push is told %s", said)
	}
}

// empty waits until nothing is left over; the test's own end bounds that.
func (l *lab) empty(when string) {
	l.t.Helper()
	var left []string
	for range 3000 {
		if left = l.leftovers(); len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.t.Errorf("%s: left over: %v", when, left)
}

// Attack F8: a client that begins to send and stops, in every place that the gate has. Each
// is given up, and what worked for it ends.
func TestAttackF8_SlowClients(t *testing.T) {
	l := impatient(t)
	var conns []net.Conn
	for _, path := range []string{receivePack, uploadPack} {
		for range maxOperations {
			conns = append(conns, l.begin(path, 1000, "00"))
		}
	}
	for _, conn := range conns { // each is answered or cut off
		_, _ = bufio.NewReader(conn).ReadString(0)
	}
	l.empty("after slow clients")
	l.clone()
}

// Attack F8: clients that send a byte now and then, so that something always moves, and hold
// every place that the gate has. They are given up long before they are done, and others are
// served.
func TestAttackF8_AByteAtATime(t *testing.T) {
	l := impatient(t)
	const whole = 2_000 // bytes, of which none may come to send all
	var dripping sync.WaitGroup
	for i := range maxOperations {
		path := []string{receivePack, uploadPack}[i%2]
		conn := l.begin(path, whole, "")
		dripping.Go(func() {
			line := pktLine(strings.Repeat("x", 1000))
			for sent := range whole {
				if _, err := conn.Write([]byte{line[sent%len(line)]}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond) // now and then
			}
			t.Error("a client sent all of it, a byte at a time")
		})
	}
	l.clone()
	dripping.Wait()
	l.empty("after a byte at a time")
}

// Attack F8: a client takes an answer a byte at a time, and what makes it waits for that. It is
// given up.
func TestAttackF8_AnAnswerTakenAByteAtATime(t *testing.T) {
	l := impatient(t)
	seed := filepath.Join(l.dir, "seed")
	l.commit(seed, "noise", noise(12<<20, 3)) // more than the kernel keeps for a connection
	l.git(seed, "push", "-q", l.upstream, "main")
	head := l.fresh()
	body := pktLine("command=fetch") + "0001" + pktLine("want "+head+"\n") + pktLine("done\n") + "0000"
	conn := l.begin(uploadPack, len(body), body, "Git-Protocol: version=2\r\n")
	var taking sync.WaitGroup
	taking.Go(func() {
		for b := make([]byte, 1); ; time.Sleep(10 * time.Millisecond) { // now and then
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	})
	for len(l.leftovers()) == 0 { // until it is being answered
		time.Sleep(time.Millisecond)
	}
	l.empty("while an answer is taken a byte at a time")
	_ = conn.Close()
	taking.Wait()
	l.clone()
}

// A client that waits for its answer is not one that does not move, however long the gate and
// the upstream take.
func TestWhoWaitsIsNotGivenUp(t *testing.T) {
	l := impatient(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "a", "x\n")
	l.hook("pre-receive", "#!/bin/sh\nsleep 2\n") // several times as long as the gate is patient
	l.git(work, "push", "-q", "origin", "agent/fix")
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
}

// impatient is a lab whose gate gives clients up soon.
func impatient(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.fresh()
	l.stop()
	l.patience = 300 * time.Millisecond
	l.start()
	l.fresh()
	return l
}

// begin sends the beginning of a request that is to have so many bytes.
func (l *lab) begin(path string, size int, body string, header ...string) net.Conn {
	l.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.root, "http://"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /widget.git/%s HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nContent-Type: application/x-%s-request\r\n%sContent-Length: %d\r\n\r\n%s",
		path, path, strings.Join(header, ""), size, body)
	if err != nil {
		l.t.Fatal(err)
	}
	return conn
}
