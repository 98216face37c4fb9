package gitgate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// The gate is killed at some instant of a push, again and again, and started again. Nothing
// that was not checked is ever upstream, nothing is lost, and the next push works.
func TestKilledInTheMiddleOfAPush(t *testing.T) {
	l := newLab(t)
	l.hook("pre-receive", "#!/bin/sh\nsleep 0.1\n") // so that some instants are in the middle of forwarding
	v := newVictim(l)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "start", "start\n")
	began := time.Now()
	l.git(work, "push", "-q", "origin", "agent/fix")
	whole := time.Since(began)
	random := rand.New(rand.NewPCG(4, 2))
	var before, arrived int
	for i := range 5 {
		old := l.theirs("refs/heads/agent/fix")
		head := l.commit(work, "main.go", fmt.Sprintf("package main // %d\n%s", i, strings.Repeat("// and so on\n", 1000)))
		killedAt := time.Duration(random.Int64N(int64(whole)))
		ended := make(chan error, 1)
		go func() { _, err := l.try(work, "push", "-q", "origin", "agent/fix"); ended <- err }()
		time.Sleep(killedAt) // the instant
		v.kill()
		v.begin() // or a connection that nobody has taken would wait for ever
		if err := <-ended; err == nil && l.theirs("refs/heads/agent/fix") != head {
			t.Fatalf("killed at %v: git was told that it is pushed, and it is not", killedAt)
		}
		l.git(work, "fetch", "-q")
		switch got := l.theirs("refs/heads/agent/fix"); got {
		case old:
			before++
		case head:
			arrived++
		default:
			t.Fatalf("killed at %v: upstream has %s", killedAt, got)
		}
		l.git(work, "push", "-q", "origin", "agent/fix")
		if got := l.theirs("refs/heads/agent/fix"); got != head {
			t.Fatalf("killed at %v: after the next push upstream has %s, want %s", killedAt, got, head)
		}
		v.sound()
	}
	t.Logf("of a push of %v: killed %d times before it was upstream, %d times after", whole, before, arrived)
}

// Attack F6: the gate is killed while it takes a push with a secret in, before git asks it, and
// while it looks at it, in the hope that git goes on by itself, or that the next gate takes it
// for checked. Nothing of it gets anywhere.
func TestAttackF6_AKilledGateForwardsNothingUnchecked(t *testing.T) {
	running := func(what string) func(*victim, door) {
		return func(v *victim, _ door) {
			for !slices.ContainsFunc(v.working(), func(line string) bool { return strings.Contains(line, what) }) {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for name, c := range map[string]struct {
		asks  bool // the hook waits at a door before it asks
		await func(*victim, door)
	}{
		"while git takes it in": {await: running(" index-pack ")},
		"before git asks":       {asks: true, await: func(_ *victim, d door) { d.await() }},
		"while it is looked at": {await: running("git cat-file ")},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			v := newVictim(l)
			v.kill()
			d := l.door()
			if c.asks {
				v.self = filepath.Join(l.dir, "waits")
				write(t, v.self, d.script("exec '"+binary+"' \"$@\""))
				if err := os.Chmod(v.self, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			v.begin()
			work := l.clone()
			l.git(work, "checkout", "-q", "-b", "agent/leak")
			head := l.commit(work, "config.txt", noise(8<<20, 1)+"\nkey "+l.config.Known[0].Value+"\n")
			ended := make(chan error, 1)
			go func() { _, err := l.try(work, "push", "-q", "origin", "agent/leak"); ended <- err }()
			c.await(v, d)
			v.kill()
			if c.asks {
				d.open()
			}
			for len(l.working()) > 0 { // what it has started may go on for a while
				time.Sleep(time.Millisecond)
			}
			nowhere := func(when string) {
				t.Helper()
				for _, repository := range []string{l.upstream, filepath.Join(l.dir, "gate", "widget.git")} {
					if l.has(repository, head) {
						t.Errorf("%s: its objects are in %s", when, filepath.Base(repository))
					}
					if out := l.git(repository, "for-each-ref"); strings.Contains(out, "leak") {
						t.Errorf("%s: %s has %s", when, filepath.Base(repository), out)
					}
				}
			}
			nowhere("once all has ended")
			v.self = binary
			v.begin()
			if err := <-ended; err == nil {
				t.Error("git was told that it is pushed")
			}
			l.git(work, "fetch", "-q")
			nowhere("with the next gate")
			v.sound()
			l.refused(work, "REFUSED", "push", "-q", "origin", "agent/leak")
		})
	}
}

// ATTACK G3: the gate is killed when the upstream has a push that did not wait, and it has not told of it. That it was sent
// is in the log all the same, and is a use of the grant by which it was.
func TestAttackG3_AKilledGatesPlainPushIsAUse(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) {
		c.Repositories[0].More = []requests.PushGrant{pushes("t-9", 1, "refs/heads/fix")}
	})
	v := newVictim(l)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head := l.commit(work, "main.go", "package main\n")
	d := l.doorAt("post-receive", "")
	ended := make(chan error, 1)
	go func() { _, err := l.try(work, "push", "-q", "origin", "fix"); ended <- err }()
	d.await()
	v.kill()
	d.open()
	v.begin()
	<-ended
	v.kill() // which waits for all that it has said
	if got := l.theirs("refs/heads/fix"); got != head {
		t.Fatalf("upstream has %q", got)
	}
	all := l.sent()
	if len(all) != 1 || all[0].Decision != audit.Allow || all[0].Repository != "widget" || len(all[0].Updates) != 1 || all[0].Updates[0].New != head || all[0].Commits != 1 {
		t.Errorf("the log has %+v", all)
	}
	if got := l.used("t-9"); got != 1 {
		t.Errorf("by the log it was used %d times", got)
	}
}

// A push that waits for the operator survives the gate, also when that is killed while it
// carries the decision out.
func TestHeldPushSurvivesTheGate(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	v := newVictim(l)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "main.go", "package main\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "agent/fix")
	v.kill()
	marker := filepath.Join(l.dir, "arrived")
	l.hook("pre-receive", "#!/bin/sh\ntest -e "+marker+" && exit 0\ntouch "+marker+"\nsleep 2\nexit 1\n")
	v.begin()
	decided := make(chan string, 1)
	go func() { decided <- l.desk.decide(t, true).Decided.Result }()
	for { // until the upstream has been asked to take it
		if _, err := os.Stat(marker); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	v.kill()
	if l.theirs("refs/heads/agent/fix") != "" {
		t.Fatal("it is upstream already")
	}
	v.begin()
	if result := <-decided; result != control.Forwarded {
		t.Errorf("it became %q", result)
	}
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s", got, head)
	}
	l.git(work, "fetch", "-q")
	v.sound()
	if left, _ := filepath.Glob(filepath.Join(l.dir, "gate", "held", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What a killed git leaves behind does not stop the next gate.
func TestLocksOfADeadGateAreClearedAway(t *testing.T) {
	l := newLab(t)
	l.clone()
	l.stop()
	mirror := filepath.Join(l.dir, "gate", "widget.git")
	for _, name := range []string{
		"config.lock", "HEAD.lock", "packed-refs.lock", "shallow.lock", "refs/heads/main.lock", "refs/heads/agent/x.lock",
		"objects/tmp_objdir-incoming-AbCdEf/pack/tmp_pack_1", "objects/pack/tmp_pack_2", "objects/pack/tmp_idx_3", "objects/17/tmp_obj_4",
	} {
		write(t, filepath.Join(mirror, name), "")
	}
	seed := filepath.Join(l.dir, "seed")
	want := l.commit(seed, "news.txt", "news\n")
	l.git(seed, "push", "-q", l.upstream, "main")
	l.start()
	work := l.clone()
	if got := strings.TrimSpace(l.git(work, "rev-parse", "HEAD")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	(&victim{lab: l}).sound()
}

// kill9 kills the gate's processes of which the command line has a word.
func (l *lab) kill9(word string) (killed int) {
	l.t.Helper()
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environments {
		environment, _ := os.ReadFile(file)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		at, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if dir := filepath.Join(l.dir, "gate"); (strings.Contains(string(environment), "GIT_DIR="+dir) || strings.HasPrefix(at, dir+"/")) && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), word) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// A git of the gate's is killed while it takes a push in (the kernel was out of memory): whoever pushes is told
// so, and does not wait for ever.
func TestAGitOfAPushIsKilled(t *testing.T) {
	for _, word := range []string{"git receive-pack", "git http-backend", "git-hook"} {
		t.Run(word, func(t *testing.T) {
			l := newLab(t)
			d := l.doorAt("pre-receive", "")
			work := l.clone()
			l.git(work, "checkout", "-q", "-b", "agent/fix")
			head := l.commit(work, "main.go", noise(1<<20, 1))
			ended := make(chan error, 1)
			go func() { _, err := l.try(work, "push", "origin", "agent/fix"); ended <- err }()
			d.await()
			working := l.working()
			killed := l.kill9(word)
			time.Sleep(100 * time.Millisecond) // an instant at which the upstream has not answered
			d.open()
			if killed == 0 {
				t.Fatalf("no %s runs: %v", word, working)
			}
			select {
			case err := <-ended:
				if err == nil && l.theirs("refs/heads/agent/fix") != head {
					t.Error("git was told that it is pushed, and it is not")
				}
			case <-time.After(time.Minute):
				t.Errorf("git waits for ever: %v", l.working())
			}
		})
	}
}
