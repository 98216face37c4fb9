package gitgate

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// What the gate asks itself is what git would be told, symbolic refs and all; of an upstream
// that speaks only the first version of the protocol, git is asked.
func TestRefsAreListedAsGitListsThem(t *testing.T) {
	l, server := newHTTPSLab(t)
	l.stop() // it asks, too
	l.git(l.upstream, "symbolic-ref", "refs/heads/latest", "refs/heads/main")
	l.git(l.upstream, "update-ref", "refs/pull/1/head", "main")
	l.git(l.upstream, "tag", "-a", "v1", "-m", "one", "main")
	m, err := newMirror(l.config.Repositories[0], l.config, Options{Dir: t.TempDir(), Keys: t.TempDir()}, &volume{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := m.upstream.run(t.Context(), nil, "ls-remote", "--symref", "--", m.Upstream)
	if err != nil {
		t.Fatal(err)
	}
	want := parseRefs(out)
	if len(want.IDs) != 3 || want.Symbolic["refs/heads/latest"] != "refs/heads/main" {
		t.Fatalf("git lists %v", want)
	}
	server.Requests()
	got, err := m.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if seen := server.Requests(); len(seen) != 1 {
		t.Errorf("it was asked %v", seen)
	}
	server.Intercept(func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Git-Protocol"); return false })
	want.Symbolic = map[string]string{} // the first version tells of HEAD alone
	if got, err = m.ask(t.Context()); err != nil || !m.lister.unspoken {
		t.Fatalf("%v, unspoken %v", err, m.lister.unspoken)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An answer that is cut or is none never passes for a shorter list.
func FuzzReadRefs(f *testing.F) {
	id := strings.Repeat("a1", 20)
	whole := packet(id+" HEAD symref-target:refs/heads/main\n") + packet(id+" refs/heads/main\n") + packet(id+" refs/heads/x symref-target:refs/heads/main\n") + "0000"
	for _, seed := range []string{whole, whole[:60], "0000", "0001", "0004", "zzzz", "ffff", packet("ERR no\n"), packet(id) + "0000"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := readRefs(bufio.NewReader(strings.NewReader(string(data))))
		if err != nil {
			if diff := cmp.Diff(policy.Refs{}, refs); diff != "" {
				t.Errorf("with %v it has %s", err, diff)
			}
			return
		}
		for name, id := range refs.IDs {
			if !objectName(id) || !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/") {
				t.Errorf("%q is %q", name, id)
			}
		}
		if !strings.Contains(string(data), "0000") {
			t.Error("it took a list without an end")
		}
	})
}
