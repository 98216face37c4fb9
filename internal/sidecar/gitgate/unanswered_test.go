package gitgate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// What becomes of a push on whose answer the connection breaks.
const (
	arrives  = "the upstream has it"
	staysOut = "the upstream does not have it"
	nobodys  = "the upstream cannot be asked"
)

// granted is a lab whose ref fix may be pushed to once, and work that is to go there.
func granted(t *testing.T, l *lab) (work, head string) {
	t.Helper()
	l.grant(pushes("t-9", 1, "refs/heads/fix"))
	work = l.clone()
	l.git(work, "checkout", "-q", "-b", "fix")
	return work, l.commit(work, "main.go", "package main\n")
}

// The connection to an upstream breaks when all of a push was sent, and before it has said what it makes of it. It is
// asked once more: what it has is pushed, what it does not have is not, and where it cannot be asked nobody says that
// nothing was pushed. What was granted once is used up, but where the upstream has nothing of it.
func TestAPushWhoseAnswerIsLost(t *testing.T) {
	for _, became := range []string{arrives, staysOut, nobodys} {
		t.Run("https, "+became, func(t *testing.T) {
			l, server := newHTTPSLab(t)
			work, head := granted(t, l)
			cutsAnswers(server, became)
			out, err := l.try(work, "push", "origin", "fix")
			server.Intercept(nil)
			l.mustHaveBecome(became, work, head, out, err)
		})
		t.Run("ssh, "+became, func(t *testing.T) {
			l := newLab(t)
			work, head := granted(t, l)
			hook, more := "post-receive", ""
			if became == staysOut {
				hook, more = "pre-receive", "exit 1"
			}
			d := l.doorAt(hook, more)
			type result struct {
				out string
				err error
			}
			pushed := make(chan result, 1)
			go func() { out, err := l.try(work, "push", "origin", "fix"); pushed <- result{out, err} }()
			d.await()
			if became == nobodys {
				l.moveUpstream(l.upstream, l.upstream+".away")
			}
			l.ssh.drop()
			r := <-pushed
			if became == nobodys {
				l.moveUpstream(l.upstream+".away", l.upstream)
			}
			d.open()
			l.mustHaveBecome(became, work, head, r.out, r.err)
		})
	}
}

func (l *lab) moveUpstream(from, to string) {
	l.t.Helper()
	if err := os.Rename(from, to); err != nil {
		l.t.Fatal(err)
	}
}

// cutsAnswers makes an upstream hang up on the next push instead of answering.
func cutsAnswers(server *githttp.Server, became string) {
	var gone atomic.Bool
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case gone.Load():
			return hangUp(w, r)
		case r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, receivePack) || r.Header.Get("X-Ours") != "":
			return false
		}
		if became != staysOut {
			r.Header.Set("X-Ours", "yes")
			server.ServeHTTP(httptest.NewRecorder(), r)
		}
		gone.Store(became == nobodys)
		return hangUp(w, r)
	})
}

// mustHaveBecome checks what everybody is told of a push, and what is left of its grant.
func (l *lab) mustHaveBecome(became, work, head, out string, err error) {
	l.t.Helper()
	want := map[string]struct {
		says, decision, upstream string
		left                     bool
	}{
		arrives:  {"and has it", audit.Allow, head, false},
		staysOut: {"did not take it", audit.Deny, "", true},
		nobodys:  {"whether it was pushed is not known", audit.Unknown, head, false},
	}[became]
	if (err == nil) != (became == arrives) || !strings.Contains(out, want.says) || strings.Contains(out, "nothing was pushed") != (became == staysOut) {
		l.t.Errorf("git: %v, which does not say %q alone:\n%s", err, want.says, out)
	}
	if got := l.theirs("refs/heads/fix"); got != want.upstream {
		l.t.Errorf("upstream has %q", got)
	}
	all := l.pushes()
	if last := all[len(all)-1]; last.Decision != want.decision || last.Grant != "t-9" {
		l.t.Errorf("the log has %+v", last)
	}
	if left := l.usesLeft(); left != want.left || l.used("t-9") == 1 == left {
		l.t.Errorf("the grant has a use left: %v, want %v; by the log it was used %d times", left, want.left, l.used("t-9"))
	}
}

// Somebody else moves a ref right after a push whose answer is lost: whether that had arrived before cannot be told from
// what the ref is now, and is not said.
func TestAPushWhoseAnswerIsLostAndWhoseRefMoves(t *testing.T) {
	l, server := newHTTPSLab(t, func(c *control.GitConfig) {
		c.Repositories[0].More = []requests.PushGrant{pushes("t-9", 1, "refs/heads/fix")}
	})
	work, _ := granted(t, l)
	other := l.child("main")
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, receivePack) {
			return false
		}
		l.update("fix", other)
		return hangUp(w, r)
	})
	l.refused(work, "whether it was pushed is not known", "push", "origin", "fix")
	all := l.pushes()
	if last := all[len(all)-1]; last.Decision != audit.Unknown || last.Grant != "t-9" {
		t.Errorf("the log has %+v", last)
	}
}

// An upstream that was given up while it was at a push may take it yet: that it does not have it now is no word on that.
// One whose connection has broken is believed.
func TestAnUpstreamThatIsGivenUpMayTakeAPushYet(t *testing.T) {
	l := newLab(t)
	l.fresh()
	m := l.server.find("widget")
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &push{server: l.server, mirror: m, ctx: t.Context()}
	updates := []policy.RefUpdate{{Ref: "refs/heads/agent/fix", New: strings.Repeat("1", 40)}}
	for err, want := range map[error]fate{errNoAnswer: unclear, errors.New("the remote end hung up unexpectedly"): nothing, &rejected{"no"}: nothing} {
		if got := p.fate(m.local, updates, err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}
