package gitgate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// waiting is a lab over https where a push waits, to a ref that is granted for one push.
func waiting(t *testing.T) (l *lab, server *githttp.Server, work, head string) {
	t.Helper()
	l, server = newHTTPSLab(t, func(c *control.GitConfig) {
		c.Repositories[0].More = []requests.PushGrant{pushes("t-9", 1, "refs/heads/fix")}
	})
	work = l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	head = l.commit(work, ".github/workflows/ci.yml", "on: push\n")
	l.refused(work, "NOT PUSHED YET", "push", "origin", "fix")
	return l, server, work, head
}

// hangUp ends a connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// mustWaitAgain approves the push that waits, of which nothing goes upstream: the approval is not used up.
func (l *lab) mustWaitAgain(why string) {
	l.t.Helper()
	r := l.desk.decide(l.t, true)
	if r.State != requests.Pending || !strings.Contains(r.Again, why) {
		l.t.Fatalf("it is %s, and waits since %q, which does not say %q", r.State, r.Again, why)
	}
	all := l.pushes()
	if last := all[len(all)-1]; last.Decision != audit.Deny || last.Request != r.ID || !strings.Contains(last.Reason, why) {
		l.t.Errorf("the log has %+v", last)
	}
	if got := l.theirs("refs/heads/fix"); got != "" {
		l.t.Errorf("upstream has %s", got)
	}
}

// mustGo approves the push that waits, which goes upstream, by its grant.
func (l *lab) mustGo(head, says string) {
	l.t.Helper()
	if r := l.desk.decide(l.t, true); r.Decided == nil || r.Decided.Result != control.Forwarded || l.theirs("refs/heads/fix") != head {
		l.t.Fatalf("it became %+v, %s; upstream has %q", r.Decided, r.Again, l.theirs("refs/heads/fix"))
	}
	all := l.pushes()
	if last := all[len(all)-1]; last.Decision != audit.Allow || last.Reason != "approved as t-1: "+says {
		l.t.Errorf("the log has %+v", last)
	}
	if n := l.used("t-9"); n != 1 {
		l.t.Errorf("the log has %d uses of the grant, want 1:\n%s", n, l.events)
	}
	l.noneHeld()
}

// An upstream that cannot be reached when a push is approved, or does not let it be sent, has nothing of it. The
// push waits again, also for the next gate, and what was approved is not used up: it can be approved another time, and
// an agent that pushes the same is told where it stands.
func TestAnApprovalIsNotUsedUpByAnUpstreamThatIsAway(t *testing.T) {
	pushing := func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, receivePack) || r.URL.Query().Get("service") == receivePack
	}
	for name, c := range map[string]struct {
		upstream func(http.ResponseWriter, *http.Request) bool
		why      string
	}{
		"it does not answer": {hangUp, "the upstream does not answer"},
		"it goes away before it is asked to take it": {func(w http.ResponseWriter, r *http.Request) bool {
			return pushing(r) && hangUp(w, r)
		}, "the upstream did not take it"},
		"it does not take the credential for that": {func(w http.ResponseWriter, r *http.Request) bool {
			if pushing(r) {
				http.Error(w, "read only", http.StatusForbidden)
			}
			return pushing(r)
		}, "the upstream does not take the gate's credential"},
		"it goes away before it has the objects": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && pushing(r) && hangUp(w, r)
		}, "the upstream did not take it"},
	} {
		t.Run(name, func(t *testing.T) {
			l, server, work, head := waiting(t)
			for range 2 {
				server.Intercept(c.upstream)
				l.mustWaitAgain(c.why)
				server.Intercept(nil)
				said := l.refused(work, "the operator decides it as t-1", "push", "origin", "fix")
				if !strings.Contains(said, "it was approved, and waits again: ") {
					t.Errorf("the agent is told %s", said)
				}
				l.stop()
				l.start()
				l.git(work, "remote", "set-url", "origin", l.url)
			}
			if n := len(l.desk.ledger.All()); n != 1 {
				t.Errorf("there are %d requests, want 1", n)
			}
			l.mustGo(head, "forwarded")
		})
	}
}

// The upstream takes an approved push, and the connection breaks before it has said so. It is not told that nothing
// was pushed, nor is it sent a second time.
func TestAnApprovedPushThatArrivedUnanswered(t *testing.T) {
	l, server, _, head := waiting(t)
	var sent atomic.Int32
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, receivePack) || r.Header.Get("X-Ours") != "" {
			return false
		}
		sent.Add(1)
		r.Header.Set("X-Ours", "yes")
		server.ServeHTTP(httptest.NewRecorder(), r)
		return hangUp(w, r)
	})
	l.mustGo(head, "the upstream has it already")
	if n := sent.Load(); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
}

// The same over ssh, where git says of each ref that nothing was heard of it.
func TestAnApprovedPushThatArrivedUnansweredOverSSH(t *testing.T) {
	l, _, head := holding(t, "main.go", "package main\n")
	d := l.doorAt("post-receive", "") // the upstream has it, and has not said so
	became := make(chan requests.Request, 1)
	go func() { became <- l.desk.decide(t, true) }()
	d.await()
	l.ssh.drop()
	r := <-became
	d.open()
	if r.State != requests.Approved || r.Decided.Result != control.Forwarded || l.theirs("refs/heads/agent/fix") != head {
		t.Errorf("it is %s: %+v %s", r.State, r.Decided, r.Again)
	}
}

// The upstream goes away while it takes an approved push, and cannot be asked what became of that. Once it can, it
// is: what it has is not sent again.
func TestAnApprovedPushWhoseUpstreamGoesAway(t *testing.T) {
	for name, taken := range map[string]bool{"with the push": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			l, server, _, head := waiting(t)
			var sent, gone atomic.Int32
			server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case gone.Load() > 0:
					return hangUp(w, r)
				case r.Header.Get("X-Ours") != "" || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, receivePack):
					return false
				}
				if sent.Add(1); taken {
					r.Header.Set("X-Ours", "yes")
					server.ServeHTTP(httptest.NewRecorder(), r)
				}
				gone.Add(1)
				return hangUp(w, r)
			})
			r := l.desk.decide(t, true)
			if r.State != requests.Pending || !strings.Contains(r.Again, "whether it was upstream before is not known") {
				t.Fatalf("it is %s: %+v %s", r.State, r.Decided, r.Again)
			}
			all := l.pushes()
			if last := all[len(all)-1]; last.Decision != audit.Unknown || last.Request != r.ID || l.used("t-9") != 1 || l.usesLeft() {
				t.Errorf("the log has %+v; its grant was used %d times, and has uses left: %v", last, l.used("t-9"), l.usesLeft())
			}
			l.stop()
			l.config.Repositories[0].More[0].Used = 1 // as the parent has heard
			server.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, receivePack) {
					sent.Add(1)
				}
				return false
			})
			l.start()
			if taken {
				l.mustGo(head, "the upstream has it already")
			} else {
				l.mustGo(head, "forwarded")
			}
			if n, want := sent.Load(), map[bool]int32{true: 1, false: 2}[taken]; n != want {
				t.Errorf("it was sent %d times, want %d", n, want)
			}
		})
	}
}

// ATTACK G2: a push that waits again is approved, or not, as any other: by what is known and allowed at the second
// time.
func TestAttackG2_APushThatWaitsAgainIsJudgedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*lab, *control.GitConfig)
		why    string
	}{
		"a secret": {func(_ *lab, c *control.GitConfig) {
			c.Known = append(c.Known[:len(c.Known):len(c.Known)], control.Secret{Name: "FRESH", Value: "on: push", Placeholder: "bb-placeholder-fresh-5512"})
		}, "credential FRESH"},
		"the ref has moved": {func(l *lab, _ *control.GitConfig) { l.update("fix", l.child("main")) }, "has moved upstream meanwhile"},
		"the repository":    {func(_ *lab, c *control.GitConfig) { c.Repositories = nil }, "the repository is not declared any more"},
	} {
		t.Run(name, func(t *testing.T) {
			l, server, _, head := waiting(t)
			server.Intercept(hangUp)
			l.mustWaitAgain("does not answer")
			server.Intercept(nil)
			next := l.config
			c.change(l, &next)
			if err := l.server.Apply(next); err != nil {
				t.Fatal(err)
			}
			if r := l.desk.decide(t, true); r.Decided == nil || !strings.Contains(r.Decided.Result, c.why) || l.theirs("refs/heads/fix") == head {
				t.Errorf("it became %+v", r.Decided)
			}
			l.noneHeld()
		})
	}
}

// What the upstream has refused is refused: its word is final, and the agent's to mend.
func TestWhatTheUpstreamRefusesDoesNotWaitAgain(t *testing.T) {
	for _, hook := range []string{"pre-receive", "update"} {
		t.Run(hook, func(t *testing.T) {
			l, _, _, _ := waiting(t)
			l.hook(hook, "#!/bin/sh\necho not like this >&2\nexit 1\n")
			if r := l.desk.decide(t, true); r.State != requests.Approved || !strings.Contains(r.Decided.Result, "not like this") {
				t.Errorf("it is %s: %+v", r.State, r.Decided)
			}
			l.noneHeld()
		})
	}
}

// A gate that cannot write down that it sends a push does not send it, and what was approved is not used up.
func TestAnApprovedPushIsNotSentUnwritten(t *testing.T) {
	l, _, _, head := waiting(t)
	files, _ := filepath.Glob(filepath.Join(l.dir, "gate", "held", "*", heldFile))
	if len(files) != 1 {
		t.Fatal(files)
	}
	if err := errors.Join(os.Rename(files[0], files[0]+".aside"), os.Mkdir(files[0], 0o700)); err != nil {
		t.Fatal(err)
	}
	l.mustWaitAgain("the gate cannot write down that it sends it")
	if err := errors.Join(os.Remove(files[0]), os.Rename(files[0]+".aside", files[0])); err != nil {
		t.Fatal(err)
	}
	l.mustGo(head, "forwarded")
}

// Only what the upstream, or git for it, has refused is known not to be there: git also names refs of which it has
// heard nothing.
func TestOnlyARefusalIsAnAnswer(t *testing.T) {
	const ref = "!\trefs/heads/fix:refs/heads/fix\t"
	for _, test := range []struct {
		porcelain string
		refused   bool
	}{
		{ref + "[rejected] (stale info)\n", true},
		{ref + "[remote rejected] (hook declined)\n" + ref + "[rejected] (atomic push failed)\n", true},
		{ref + "[remote failure] (remote failed to report status)\n", false},
		{ref + "[remote rejected] (hook declined)\n" + ref + "[remote failure] (remote failed to report status)\n", false},
		{"To ssh://git@git.example/widget.git\nDone\n", false},
	} {
		err := answer(test.porcelain, nil, errNoAnswer)
		if got := errors.As(err, new(*rejected)); got != test.refused {
			t.Errorf("%q: %v is taken for an answer: %v", test.porcelain, err, got)
		}
	}
}
