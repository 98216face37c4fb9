package gitgate

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// slowDesk is an operator's side that is slow to hear the gate out: what it is told is known to all at once, and the
// gate waits until it is let go.
type slowDesk struct {
	*desk
	told chan struct{} // a result
	on   chan struct{}
}

func (d *slowDesk) Done(ctx context.Context, id, result string) error {
	err := d.desk.Done(ctx, id, result)
	d.told <- struct{}{}
	<-d.on
	return err
}

// The upstream refuses an approved push, and the agent pushes it once more, when all know so but the gate has not
// cleared it away: it is another push, which waits, and what is cleared away then is not its.
func TestAPushThatIsParkedAnew(t *testing.T) {
	slow := &slowDesk{told: make(chan struct{}, 2), on: make(chan struct{})}
	l, work, head := holding(t, "main.go", "package main\n")
	l.stop()
	slow.desk = l.desk
	l.holder = slow
	l.start()
	letGo := sync.OnceFunc(func() { close(slow.on) })
	t.Cleanup(letGo)
	l.git(work, "remote", "set-url", "origin", l.url)
	l.hook("pre-receive", "#!/bin/sh\nexit 1\n")
	refused := make(chan string, 1)
	go func() { refused <- l.desk.decideOn(t, "t-1", true).Decided.Result }()
	<-slow.told
	l.refused(work, "the operator decides it as t-2", "push", "origin", "agent/fix")
	if got := <-refused; !strings.Contains(got, "declined") {
		t.Fatalf("the first became %q", got)
	}
	l.hook("pre-receive", "#!/bin/sh\nexit 0\n")
	letGo() // and it clears away
	if got := l.desk.decideOn(t, "t-2", true).Decided.Result; got != control.Forwarded || l.theirs("refs/heads/agent/fix") != head {
		t.Errorf("the second became %q", got)
	}
	l.noneHeld()
}

// hastyDesk is an operator's side that has taken a push down when whoever pushes goes away.
type hastyDesk struct {
	*desk
	away func()
}

func (d *hastyDesk) Hold(ctx context.Context, p control.HeldPush) (requests.Request, error) {
	r, err := d.desk.Hold(ctx, p)
	d.away()
	select { // as one that is asked over a connection: who has gone away hears no answer
	case <-ctx.Done():
		return requests.Request{}, ctx.Err()
	case <-time.After(time.Second):
	}
	return r, err
}

// Whoever pushes goes away in the instant in which the operator's side has taken the push down. It waits, as any
// other: what the operator approves then is sent, and does not stay on its way for ever.
func TestAPushWhoseClientGoesAwayIsHeld(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	l.stop()
	ctx, away := context.WithCancel(t.Context())
	l.holder = &hastyDesk{l.desk, away}
	l.start()
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "main.go", "package main\n")
	push := exec.CommandContext(ctx, "git", "push", "-q", "origin", "agent/fix")
	push.Dir, push.WaitDelay = work, time.Second
	push.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	push.Cancel = func() error { return syscall.Kill(-push.Process.Pid, syscall.SIGKILL) }
	if err := push.Run(); err == nil {
		t.Fatal("it did not wait")
	}
	if got := l.desk.decide(t, true); got.Decided == nil || got.Decided.Result != control.Forwarded || l.theirs("refs/heads/agent/fix") != head {
		t.Errorf("it became %+v; upstream has %q", got, l.theirs("refs/heads/agent/fix"))
	}
}

// A repository's name leads to another upstream while a push waits, and the same is pushed there: these are two.
func TestAHeldPushIsOfOneUpstream(t *testing.T) {
	l, work, head := holding(t, "main.go", "package main\n")
	other := filepath.Join(l.dir, "other.git")
	l.git("/", "clone", "-q", "--bare", l.upstream, other)
	next := l.config
	next.Repositories = slices.Clone(l.config.Repositories)
	next.Repositories[0].Upstream = strings.Replace(l.address(), l.upstream, other, 1)
	if err := l.server.Apply(next); err != nil {
		t.Fatal(err)
	}
	l.refused(work, "the operator decides it as t-2", "push", "origin", "agent/fix")
	if r := l.desk.decideOn(t, "t-1", true); r.Decided.Result != errUndeclared.Error() {
		t.Errorf("the first became %q", r.Decided.Result)
	}
	if r := l.desk.decideOn(t, "t-2", true); r.Decided.Result != control.Forwarded || strings.TrimSpace(l.git(other, "rev-parse", "agent/fix")) != head || l.theirs("refs/heads/agent/fix") != "" {
		t.Errorf("the second became %q", r.Decided.Result)
	}
}

// ATTACK G2: the machine loses power, and the end of the log with the request of a push that waits. The bottle is
// resumed, and its agent's next request, for something else, is called the same: the approval of that is none of the
// push.
func TestAttackG2_AnotherRequestOfTheSameName(t *testing.T) {
	route := requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}}
	other := requests.Ask{Kind: requests.Pushing, Push: &requests.Push{
		Repository: "widget", Upstream: "ssh://git@github.com/acme/widget", Updates: []policy.RefUpdate{{Ref: "refs/heads/agent/fix", New: strings.Repeat("1", 40)}},
	}}
	for name, ask := range map[string]requests.Ask{"a route": route, "another push": other} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := holding(t, "main.go", "package main\n")
			l.stop()
			l.desk.ledger = requests.New("t")
			r, err := l.desk.ledger.Ask(time.Now(), policy.Policy{}, ask)
			if err != nil || r.ID != "t-1" {
				t.Fatal(r.ID, err)
			}
			digest := l.desk.ledger.Show(r, policy.Policy{}).Digest
			if _, err := l.desk.ledger.Decide(time.Now(), r.ID, policy.Policy{}, requests.Decision{Digest: digest, Approve: true}); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.noneHeld()
			if got := l.theirs("refs/heads/agent/fix"); got != "" {
				t.Errorf("upstream has %s", got)
			}
		})
	}
}

// Many pushes wait, and the bottle is resumed: all of them are shown again, though so many at once would be too fast
// for an agent.
func TestAllThatWaitAreShownAgain(t *testing.T) {
	const many = 20
	d := newDesk()
	s := &Server{Options: Options{Holder: d, Log: slog.New(slog.DiscardHandler), Dir: t.TempDir()}, parked: make(chan *held), unattended: make(chan struct{}), waiting: make(map[string]*held)}
	var left []*held
	for i := range many {
		h := &held{dir: fmt.Sprint(i), Push: control.HeldPush{Text: "a diff", Push: requests.Push{
			Repository: "widget", Upstream: "https://git.example/widget.git", Updates: []policy.RefUpdate{{Ref: fmt.Sprintf("refs/heads/agent/%d", i), New: strings.Repeat("1", 40)}},
		}}}
		asked := time.Now().Add(time.Duration(i-many) * time.Minute)
		r, err := d.ledger.Ask(asked, policy.Policy{}, requests.Ask{Kind: requests.Pushing, Push: &h.Push.Push})
		if err != nil {
			t.Fatal(err)
		}
		h.ID, s.waiting[h.dir] = r.ID, h
		left = append(left, h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	attended := make(chan struct{})
	go func() { defer close(attended); s.attend(ctx, left) }()
	late := time.After(time.Minute)
	for {
		shown := 0
		d.mu.Lock()
		for _, h := range left {
			if d.diffs[h.ID] != "" {
				shown++
			}
		}
		changed := d.changed
		d.mu.Unlock()
		if shown == many {
			break
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%d of %d have a diff", shown, many)
		}
	}
	cancel()
	<-attended
}
