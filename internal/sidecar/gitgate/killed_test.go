package gitgate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
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

// A push with a secret is cut short at some instant, in the hope that it slips through.
func TestAttackF6_AKilledGateForwardsNothingUnchecked(t *testing.T) {
	l := newLab(t)
	v := newVictim(l)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/leak")
	head := l.commit(work, "config.txt", "key "+l.config.Known[0].Value+"\n")
	began := time.Now()
	l.refused(work, "REFUSED", "push", "-q", "origin", "agent/leak")
	whole := time.Since(began)
	random := rand.New(rand.NewPCG(6, 6))
	for range 4 {
		killedAt := time.Duration(random.Int64N(int64(whole)))
		ended := make(chan error, 1)
		go func() { _, err := l.try(work, "push", "-q", "origin", "agent/leak"); ended <- err }()
		time.Sleep(killedAt) // the instant
		v.kill()
		v.begin()
		err := <-ended
		l.git(work, "fetch", "-q")
		if l.theirs("refs/heads/agent/leak") != "" || err == nil {
			t.Fatalf("killed at %v: it is upstream (%v)", killedAt, err)
		}
		for _, repository := range []string{l.upstream, filepath.Join(l.dir, "gate", "widget.git")} {
			if _, err := l.try(repository, "cat-file", "-e", head); err == nil {
				t.Fatalf("killed at %v: its objects are in %s", killedAt, filepath.Base(repository))
			}
		}
	}
	v.sound()
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
