package gitgate

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
)

// listsAs has an upstream list its refs as it likes (gitprotocol-v2(5), ls-refs).
func listsAs(server *githttp.Server, lines ...string) {
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, uploadPack) {
			return false
		}
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("command=ls-refs")) {
			r.Body = io.NopCloser(bytes.NewReader(body))
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		for _, line := range lines {
			_, _ = io.WriteString(w, pktLine(line+"\n"))
		}
		_, _ = io.WriteString(w, "0000")
		return true
	})
}

// ATTACK F6: a hostile upstream says that its HEAD is an option of git's. The mirror goes on without a default branch.
func TestAttackF6_AnUpstreamsHeadIsNoOption(t *testing.T) {
	l, server := newHTTPSLab(t)
	work := l.clone()
	main := l.theirs("refs/heads/main")
	for _, head := range []string{"--delete", "-d", "refs/../../x", "HEAD"} {
		listsAs(server, main+" HEAD symref-target:"+head, main+" refs/heads/main")
		l.git(work, "fetch", "-q")
	}
	listsAs(server, main+" HEAD symref-target:refs/heads/main", main+" refs/heads/main")
	l.clone()
}

// ATTACK H1: a hostile upstream has the agent's terminal be told what steers it.
func TestAttackH1_AnUpstreamsRefsSteerNoTerminal(t *testing.T) {
	l, server := newHTTPSLab(t)
	work := l.clone()
	l.git(work, "push", "-q", "origin", "HEAD:agent/x")
	l.git(work, "checkout", "-q", "-b", "agent/x")
	l.commit(work, "main.go", "package main\n")
	main := l.theirs("refs/heads/main")
	listsAs(server, main+" HEAD symref-target:refs/heads/main", main+" refs/heads/main", main+" refs/heads/agent/x symref-target:refs/heads/\x1b]0;owned\x07")
	out := l.refused(work, "upstream it stands for refs/heads/", "push", "origin", "agent/x")
	if strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("it is told %q", out)
	}
}

// Whether an upstream says what stands for what is asked once for a branch, however many others are where it is.
func TestAnUpstreamIsAskedOnceForASymbolicBranch(t *testing.T) {
	l, server := newHTTPSLab(t)
	for i := range 20 {
		l.git(l.upstream, "update-ref", fmt.Sprintf("refs/heads/release/%d", i), "main")
	}
	work := l.clone()
	l.git(work, "push", "-q", "origin", "HEAD:agent/x")
	l.git(work, "checkout", "-q", "-b", "agent/x")
	l.commit(work, "main.go", "package main\n")
	server.Requests()
	l.git(work, "push", "-q", "origin", "agent/x")
	if n := strings.Count(strings.Join(server.Requests(), "\n"), "service="+uploadPack); n != 1 {
		t.Errorf("it is asked %d times", n)
	}
}
