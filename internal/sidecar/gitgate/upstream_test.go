package gitgate

import (
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Many who ask at the same time cost the upstream two questions: that of the first, and one
// more for all who came while it was under way.
func TestFetchesAtOnceAreOneQuestion(t *testing.T) {
	l, server := newHTTPSLab(t)
	l.clone()
	server.Requests()
	const clients = 30
	var asked, answered sync.WaitGroup
	var once sync.Once
	server.Intercept(func(http.ResponseWriter, *http.Request) bool {
		once.Do(asked.Wait) // until all are there
		return false
	})
	asked.Add(clients)
	for range clients {
		answered.Go(func() {
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { asked.Done() }})
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/info/refs?service=git-upload-pack", nil)
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("%v, %v", answer, err)
				return
			}
			_ = answer.Body.Close()
		})
	}
	answered.Wait()
	if got := len(server.Requests()); got < 2 || got > 4 { // a few may be late to say that they are there
		t.Errorf("the upstream was asked %d times by %d clients", got, clients)
	}
}

// What is wrong with an upstream is told by git itself, in a line of its own.
func TestWhatIsWrongWithAnUpstreamIsTold(t *testing.T) {
	l := newLab(t)
	stranger := filepath.Join(l.dir, "stranger")
	run(t, l.dir, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	other := strings.Fields(read(t, stranger+".pub"))
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(read(t, stranger+".pub")))
	if err != nil {
		t.Fatal(err)
	}
	host := strings.Fields(l.ssh.knownHosts)[0]
	good := l.config.Repositories[0]
	for name, test := range map[string]struct {
		change func(*control.GitRepository)
		want   string
	}{
		"nobody there":               {func(r *control.GitRepository) { r.Upstream = "ssh://git@" + closed.Addr().String() + "/x.git" }, "the upstream of widget does not answer: ssh: connect to host 127.0.0.1 port "},
		"a key that is not let in":   {func(r *control.GitRepository) { r.Key = read(t, stranger) }, "the upstream of widget does not take the gate's credential"},
		"no such repository":         {func(r *control.GitRepository) { r.Upstream += "x" }, "the upstream of widget has no such repository"},
		"another key in known_hosts": {func(r *control.GitRepository) { r.KnownHosts = host + " " + other[0] + " " + other[1] + "\n" }, "the upstream of widget shows another host key"},
		"no key in known_hosts":      {func(r *control.GitRepository) { r.KnownHosts = "" }, "the upstream of widget shows another host key"},
		"another fingerprint":        {func(r *control.GitRepository) { r.KnownHosts, r.HostKey = "", ssh.FingerprintSHA256(public) }, "the upstream of widget shows another host key"},
	} {
		l.stop()
		l.config.Repositories[0] = good
		test.change(&l.config.Repositories[0])
		l.start()
		out, err := l.try("/", "ls-remote", l.url)
		if err == nil || !strings.Contains(out, "remote: bot-bottle: "+test.want) {
			t.Errorf("%s: %v: got %s, want %s", name, err, out, test.want)
		}
	}
	l.stop()
	l.config.Repositories[0] = good
	l.config.Repositories[0].KnownHosts, l.config.Repositories[0].HostKey = "", l.ssh.print
	l.start()
	l.git("/", "ls-remote", l.url)
}

// A host key that changes after it was found by its fingerprint is refused, with a gate that
// runs as with one that is started again.
func TestAHostKeyThatChangesIsRefused(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].KnownHosts, c.Repositories[0].HostKey = "", "" })
	l.stop()
	l.config.Repositories[0].HostKey = l.ssh.print
	l.start()
	work := l.clone()
	l.ssh.stop()
	l.ssh.restart(t)
	l.refused(work, "shows another host key", "fetch")
	l.stop()
	l.start()
	l.git(work, "remote", "set-url", "origin", l.url)
	l.refused(work, "shows another host key", "fetch")
}

// Two bottles on one upstream get on as two people do.
func TestTwoBottlesPushToOneUpstream(t *testing.T) {
	one := newLab(t)
	two := &lab{t: t, dir: t.TempDir(), upstream: one.upstream, ssh: one.ssh, events: &lines{}, desk: newDesk(), config: one.config}
	two.start()
	first, second := one.clone(), two.clone()
	for _, work := range []string{first, second} {
		one.git(work, "checkout", "-q", "-b", "agent/both")
	}
	one.commit(first, "first", "1\n")
	one.git(first, "push", "-q", "-u", "origin", "agent/both")
	two.commit(second, "second", "2\n")
	two.refused(second, "fetch first", "push", "origin", "agent/both") // git's own words
	two.git(second, "pull", "-q", "--rebase", "origin", "agent/both")
	head := strings.TrimSpace(two.git(second, "rev-parse", "HEAD"))
	two.git(second, "push", "-q", "origin", "agent/both")
	if got := one.theirs("refs/heads/agent/both"); got != head {
		t.Errorf("upstream has %s, want %s", got, head)
	}
	one.git(first, "pull", "-q")
	if got := strings.TrimSpace(one.git(first, "rev-parse", "HEAD")); got != head {
		t.Errorf("got %s, want %s", got, head)
	}
	// One is faster while the other's push is under way.
	one.commit(first, "third", "3\n")
	two.commit(second, "fourth", "4\n")
	marker := filepath.Join(one.dir, "once")
	one.hook("pre-receive", "#!/bin/sh\ntest -e "+marker+" && exit 0\ntouch "+marker+"\nunset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_DIR\n"+
		"git -C "+first+" push -q "+one.url+" agent/both\n")
	out := two.refused(second, "has moved meanwhile", "push", "origin", "agent/both")
	if strings.Contains(out, "REFUSED") {
		t.Error(out)
	}
	two.git(second, "pull", "-q", "--rebase", "origin", "agent/both")
	two.git(second, "push", "-q", "origin", "agent/both")
}
