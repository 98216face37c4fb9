package gitgate

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
)

const token = "site-Qm7rT2vX9kLpW4"

// newHTTPSLab is a lab whose upstream is served over https, to whoever has the token.
func newHTTPSLab(t *testing.T, change ...func(*control.GitConfig)) (*lab, *githttp.Server) {
	t.Helper()
	var server *githttp.Server
	l := newLab(t, append([]func(*control.GitConfig){func(c *control.GitConfig) {
		dir := upstreamDir(c)
		var err error
		if server, err = githttp.Start(githttp.Options{Listen: "127.0.0.1:0", Root: dir, User: "x-access-token", Password: token}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		c.Known = append(c.Known, control.Secret{Name: "SITE_TOKEN", Value: token, Placeholder: "bb-placeholder-site-1142"})
		c.Repositories[0] = control.GitRepository{
			Name: "widget", Upstream: server.URL("localhost", "upstream.git"), Places: []string{"widget"},
			User: "x-access-token", Password: token, CA: server.CA, Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
		}
	}}, change...)...)
	return l, server
}

// upstreamDir is where the lab's bare repository is.
func upstreamDir(c *control.GitConfig) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(c.Repositories[0].Upstream, "ssh://"), "/")
	return filepath.Dir("/" + path)
}

// Over https, git works as over ssh, and nothing on this machine that others may see has the token.
func TestHTTPSUpstream(t *testing.T) {
	l, _ := newHTTPSLab(t)
	spy := filepath.Join(l.dir, "spy")
	l.hook("pre-receive", "#!/bin/sh\nfor p in /proc/[0-9]*; do grep -aqs "+l.dir+" $p/cmdline $p/environ && cat $p/cmdline $p/environ; done > "+spy+" 2>/dev/null\nexit 0\n")
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	head := l.commit(work, "main.go", "package main\n")
	out := l.git(work, "push", "origin", "agent/fix")
	if got := l.theirs("refs/heads/agent/fix"); got != head {
		t.Errorf("upstream has %q, want %s\n%s", got, head, out)
	}
	seen := read(t, spy)
	if !strings.Contains(seen, "--force-with-lease=refs/heads/agent/fix:") {
		t.Fatal("the spy did not see the gate's push")
	}
	if holdsToken(seen) {
		t.Error("a process shows the token to the whole machine")
	}
	seed := filepath.Join(l.dir, "seed")
	want := l.commit(seed, "news.txt", "news\n")
	l.git(seed, "push", "-q", l.upstream, "main")
	l.git(work, "fetch", "-q")
	if got := strings.TrimSpace(l.git(work, "rev-parse", "origin/main")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// holdsToken reports whether a text has the token, as it is or as HTTP sends it.
func holdsToken(text string) bool {
	return strings.Contains(text, token) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token)))
}

// F10: the token of an https upstream expires between the fetch and the push, or was wrong
// from the start; or the upstream echoes what it was sent. The agent and the log learn that
// the credential was not taken, and never what it is.
func TestAttackF10_TheTokenIsInNoMessage(t *testing.T) {
	l, server := newHTTPSLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	server.SetPassword("another")
	for _, args := range [][]string{{"push", "origin", "agent/fix"}, {"fetch"}} {
		out := l.refused(work, "does not take the gate's credential", args...)
		if holdsToken(out) {
			t.Errorf("git %v: %s", args, out)
		}
	}
	server.SetPassword(token)

	// Good for reading, and gone when the objects are to be sent.
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.RequestURI(), receivePack) || strings.Contains(r.URL.RawQuery, uploadPack) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("you sent " + r.Header.Get("Authorization")))
		return true
	})
	out := l.refused(work, "does not take the gate's credential", "push", "origin", "agent/fix")
	server.Intercept(nil)
	l.hook("pre-receive", "#!/bin/sh\necho 'you sent "+token+" and "+base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token))+"'\nexit 1\n")
	out += l.refused(work, "you sent [masked] and [masked]", "push", "origin", "agent/fix")
	if l.theirs("refs/heads/agent/fix") != "" {
		t.Error("it is upstream")
	}
	for what, text := range map[string]string{"a message": out, "the log": l.events.String()} {
		if holdsToken(text) {
			t.Errorf("%s has the token: %s", what, text)
		}
	}
	if err := os.Remove(filepath.Join(l.upstream, "hooks", "pre-receive")); err != nil {
		t.Fatal(err)
	}
	l.git(work, "push", "-q", "origin", "agent/fix")
}

// F10: whoever answers for the upstream sends the gate elsewhere, to have the credential or a
// push sent there.
func TestAttackF10_RedirectsAreNotFollowed(t *testing.T) {
	l, server := newHTTPSLab(t)
	work := l.clone()
	elsewhere, err := githttp.Start(githttp.Options{Listen: "127.0.0.1:0", Root: l.dir, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL("127.0.0.1", r.URL.RequestURI()), http.StatusFound)
		return true
	})
	l.refused(work, "answers with a redirect", "fetch")
	if seen := elsewhere.Requests(); len(seen) > 0 {
		t.Errorf("it was followed: %v", seen)
	}
}

// A certificate of an authority that the manifest does not name is not taken.
func TestHTTPSUpstreamMustBeTheOneThatIsTrusted(t *testing.T) {
	other, err := githttp.Start(githttp.Options{Listen: "127.0.0.1:0", Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	l, server := newHTTPSLab(t, func(c *control.GitConfig) { c.Repositories[0].CA = other.CA })
	l.refused("/", "certificate", "clone", l.url, filepath.Join(t.TempDir(), "x"))
	if seen := server.Requests(); len(seen) > 0 {
		t.Errorf("it was asked for %v", seen)
	}
}
