package requests

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// declared is a ledger of a bottle with a repository.
func declared() *Ledger {
	l := New("k")
	l.Declared = []Repository{{
		Name: "widget", Upstream: "ssh://git@git.example/acme/widget.git", Credential: "widget", Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
	}, {Name: "open", Upstream: "https://code.example/acme/open"}}
	return l
}

func repo(repository string, refs ...string) Ask {
	return Ask{Kind: Repo, Git: &Git{Repository: repository, Push: policy.Push{Refs: refs}}, Why: "to work"}
}

// may reports whether something granted allows an update of a ref.
func may(l *Ledger, repository string, u policy.RefUpdate) bool {
	for _, r := range l.Repositories() {
		for _, g := range r.More {
			if r.Name == repository && g.Push.CheckUpdate(u, policy.Refs{Default: "refs/heads/main"}) == nil {
				return true
			}
		}
	}
	return false
}

func TestRefsAreGranted(t *testing.T) {
	l := declared()
	r := mustAsk(t, l, t0, repo("widget", "fix", "refs/heads/main"))
	s := l.Show(r, base())
	for _, want := range []string{"+ widget: push to refs/heads/fix", "+ widget: push to refs/heads/main"} {
		if !strings.Contains(strings.Join(s.Delta, "\n"), want) {
			t.Errorf("%v does not say %q", s.Delta, want)
		}
	}
	if !strings.Contains(strings.Join(s.Risks, "\n"), "main is a protected branch") || !strings.Contains(s.SoFar[0], "push to refs/heads/agent/**") || len(s.Credentials) != 0 {
		t.Errorf("got %+v", s)
	}
	fix := policy.RefUpdate{Ref: "refs/heads/fix", New: "1"}
	if may(l, "widget", fix) {
		t.Fatal("it is allowed before it was approved")
	}
	approve(t, l, t0, r.ID, Scope{For: policy.Span(time.Hour)})
	if !may(l, "widget", fix) || !may(l, "widget", policy.RefUpdate{Ref: "refs/heads/main", Old: "1", New: "2"}) || may(l, "widget", policy.RefUpdate{Ref: "refs/heads/other", New: "1"}) {
		t.Error("what is allowed is not what was shown")
	}
	if may(l, "widget", policy.RefUpdate{Ref: "refs/heads/fix", Old: "1", New: "2", Forced: true}) || may(l, "widget", policy.RefUpdate{Ref: "refs/heads/fix", Old: "1"}) {
		t.Error("force or delete came along")
	}
	if l.Expire(t0.Add(time.Hour)); may(l, "widget", fix) {
		t.Error("it is allowed past its time")
	}
}

func TestANewRepository(t *testing.T) {
	l := declared()
	r := mustAsk(t, l, t0, repo("ssh://git@git.example/acme/tools.git", "agent/**"))
	s := l.Show(r, base())
	shown := strings.Join(append(s.Delta, s.Risks...), "\n")
	for _, want := range []string{
		"+ repository ssh://git@git.example/acme/tools.git, to clone and fetch, with the credential of widget", "push to refs/heads/agent/**",
		"the credential of widget would be used at another repository", "leaves the bottle for where it could not go before",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%s\ndoes not say %q", shown, want)
		}
	}
	if len(s.Credentials) != 1 || s.Credentials[0] != "the credential of widget" {
		t.Errorf("credentials: %v", s.Credentials)
	}
	approve(t, l, t0, r.ID, Scope{Uses: 1})
	given := l.Repositories()
	if len(given) != 3 || given[2].Grant != r.ID || given[2].Credential != "widget" || given[2].Name != "git.example/acme/tools" {
		t.Fatalf("got %+v", given)
	}
	more := mustAsk(t, l, t0, repo("git@git.example:acme/tools", "release/1"))
	if more.Git.Of != r.ID {
		t.Fatalf("it is not of the granted repository: %+v", more.Git)
	}
	approve(t, l, t0, more.ID, Scope{})
	if !may(l, "git.example/acme/tools", policy.RefUpdate{Ref: "refs/heads/release/1", New: "1"}) {
		t.Error("what was granted besides is not allowed")
	}
	if ended := l.Use(t0, r.ID, 1); ended == nil || len(l.Repositories()) != 2 {
		t.Error("the repository outlives its grant")
	}
	if ended := l.Expire(t0); len(ended) != 1 || ended[0].ID != more.ID {
		t.Errorf("what was of it has not ended: %+v", ended)
	}
}

// The agent never chooses a credential: it is that of the same server, shown as a risk, or
// what the operator supplies.
func TestAttackG6_ARepositoryNamesNoCredential(t *testing.T) {
	l := declared()
	elsewhere := mustAsk(t, l, t0, repo("ssh://git@other.example/acme/tools.git"))
	if elsewhere.Git.Credential != "" {
		t.Fatalf("the credential of %s goes to another server", elsewhere.Git.Credential)
	}
	digest := l.Show(elsewhere, base()).Digest
	for name, c := range map[string]*Credential{"none": nil, "no key": {KnownHosts: "x"}, "no host key": {Key: "x"}, "a password": {Password: "x"}} {
		if _, err := l.Decide(t0, elsewhere.ID, base(), Decision{Approve: true, Digest: digest, Credential: c}); err == nil {
			t.Errorf("%s: approved", name)
		}
	}
	done, err := l.Decide(t0, elsewhere.ID, base(), Decision{Approve: true, Digest: digest, Credential: &Credential{Key: "k", HostKey: "h"}, Scope: Scope{For: policy.Span(time.Hour)}})
	if err != nil || done.Git.Credential != Supplied {
		t.Fatalf("got %+v, %v", done, err)
	}
	again := declared()
	if ended := again.Load(t0, l.All()); len(ended) != 1 {
		t.Error("a grant whose credential nobody kept outlives the bottle")
	}
	for name, url := range map[string]string{"another user": "ssh://root@git.example/acme/tools", "another port": "ssh://git@git.example:2222/acme/tools", "another way": "https://git.example/acme/tools"} {
		if r := mustAsk(t, l, t0.Add(time.Second), repo(url)); r.Git.Credential != "" {
			t.Errorf("%s: it comes with the credential of %s", name, r.Git.Credential)
		}
	}
}

func TestAttackG6_AbsurdRepositories(t *testing.T) {
	now := t0
	for _, test := range []struct{ why, repository, ref string }{
		{"metadata", "https://169.254.169.254/latest/meta-data", ""},
		{"this machine", "ssh://git@localhost/x/y", ""},
		{"an address", "https://10.0.0.7/x/y", ""},
		{"a wildcard", "https://*.example.com/x/y", ""},
		{"a program", "ext::sh -c id", ""},
		{"a file", "file:///etc/passwd", ""},
		{"a path", "/etc", ""},
		{"an option", "ssh://-oProxyCommand=id/x", ""},
		{"an option as user", "-oProxyCommand=id@git.example:x/y", ""},
		{"a password", "https://user:secret@git.example/x/y", ""},
		{"in clear", "http://git.example/x/y", ""},
		{"not authenticated", "git://git.example/x/y", ""},
		{"up", "https://git.example/x/../../y", ""},
		{"an escape", "https://git.example/x%0a/y", ""},
		{"a control", "https://git.example/x\x1b[2J/y", ""},
		{"a quote", `https://git.example/x"/y`, ""},
		{"denied", "https://gist.github.com/x/y", ""},
		{"all refs", "widget", "refs/**"},
		{"all branches", "widget", "refs/heads/**"},
		{"all branches, short", "widget", "**"},
		{"any branch", "widget", "*"},
		{"reviews", "widget", "refs/for/main"},
		{"a ref to be cut", "widget", "refs/heads/" + strings.Repeat("a", 300)},
		{"a control in a ref", "widget", "refs/heads/a\x1b[2J"},
		{"bidi in a ref", "widget", "refs/heads/a\u202e"},
	} {
		l := declared()
		p := base()
		p.Deny = append(p.Deny, policy.Deny{Host: "gist.github.com"})
		now = now.Add(time.Second)
		a := repo(test.repository)
		if test.ref != "" {
			a.Git.Push.Refs = []string{test.ref}
		}
		if r, err := l.Ask(now, p, a); err == nil {
			t.Errorf("%s: taken down as %+v", test.why, r.Git)
		}
	}
}

// What is there already is nobody's to decide; asks for the same repository are one.
func TestRepositoriesAreNotAskedForTwice(t *testing.T) {
	l := declared()
	for _, a := range []Ask{repo("widget"), repo("widget", "agent/x"), repo("https://git.example/acme/widget.git", "agent/**")} {
		wantRefusal(t, l, t0, a, "already_allowed")
	}
	now := t0.Add(time.Second)
	first := mustAsk(t, l, now, repo("widget", "fix"))
	if again := mustAsk(t, l, now, repo("ssh://git@git.example/acme/widget", "other")); again.ID != first.ID || len(again.Git.Push.Refs) != 2 {
		t.Errorf("got %+v", again.Git)
	}
	force := repo("widget", "fix")
	force.Git.Push.Force = true
	if r := mustAsk(t, l, now, force); r.ID == first.ID {
		t.Error("force was added to what was shown without")
	}
}

func TestAttackG9_EditedRefs(t *testing.T) {
	l := declared()
	r := mustAsk(t, l, t0, repo("widget", "fix"))
	digest := l.Show(r, base()).Digest
	for _, refs := range [][]string{nil, {"refs/heads/**"}, {"refs/meta/config"}, {"**"}} {
		if _, err := l.Edit(r.ID, digest, base(), Change{Push: &policy.Push{Refs: refs}}); err == nil {
			t.Errorf("%v was taken", refs)
		}
	}
	edited, err := l.Edit(r.ID, digest, base(), Change{Push: &policy.Push{Refs: []string{"agent2/fix"}, Others: true, Hold: false}})
	if err != nil || !edited.Edited || edited.Git.Push.Others || edited.Git.Push.Refs[0] != "refs/heads/agent2/fix" {
		t.Fatalf("got %+v, %v", edited.Git, err)
	}
	if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: digest}); err == nil {
		t.Error("the edit was granted unseen")
	}
}

// An ask for refs is added to one with the same rights only, and no right is asked for without refs.
func TestAttackG2_RightsOfRefsAreNotMixed(t *testing.T) {
	l := declared()
	first := mustAsk(t, l, t0, repo("widget", "fix"))
	gone := repo("widget", "old")
	gone.Git.Push.Delete = true
	if r := mustAsk(t, l, t0, gone); r.ID == first.ID {
		t.Errorf("delete was added: %+v", r.Git)
	}
	for _, push := range []policy.Push{{Force: true}, {Delete: true}} {
		if _, err := l.Ask(t0.Add(time.Second), base(), Ask{Kind: Repo, Git: &Git{Repository: "widget", Push: push}}); err == nil || !strings.Contains(err.Error(), "say which refs") {
			t.Errorf("%+v: got %v", push, err)
		}
	}
	risks := strings.Join(l.Show(mustAsk(t, l, t0.Add(time.Second), Ask{Kind: Repo, Git: &Git{Repository: "widget", Push: policy.Push{Refs: []string{"refs/tags/v1"}, Force: true, Delete: true}}}), base()).Risks, "\n")
	for _, want := range []string{"history may be rewritten", "refs may be deleted", "releases are made of tags"} {
		if !strings.Contains(risks, want) {
			t.Errorf("no risk says %q: %s", want, risks)
		}
	}
}

// What the manifest says of a repository's pushes, that they are held and what is refused, holds for
// refs that are granted besides.
func TestGrantedRefsKeepTheManifestsRules(t *testing.T) {
	l := declared()
	l.Declared[0].Push.Hold = true
	l.Declared[0].Push.Paths = map[string]policy.PathAction{"docs/**": policy.RefusePath}
	l.Declared[0].More = []PushGrant{{Grant: "k-0", Push: policy.Push{Refs: []string{"refs/heads/*"}}}} // not the manifest's to give
	r := mustAsk(t, l, t0, repo("widget", "fix"))
	approve(t, l, t0, r.ID, Scope{Uses: 1})
	more := l.Repositories()[0].More
	if len(more) != 1 || more[0].Grant != r.ID || !more[0].Push.Hold || len(more[0].Push.Paths) != 1 {
		t.Errorf("got %+v", more)
	}
	if again := mustAsk(t, l, t0, repo("widget", "fix")); again.ID == r.ID || again.State != Pending { // it may run out
		t.Errorf("what is granted for uses cannot be asked for again: %+v", again)
	}
}

// The credential of another way to the same server is not offered.
func TestAttackG6_ACredentialIsOfOneWay(t *testing.T) {
	for name, upstream := range map[string]string{"https for ssh": "https://git@git.example/acme/tools", "another port": "ssh://git@git.example:2222/acme/tools", "another user": "ssh://me@git.example/acme/tools"} {
		l := declared()
		r, err := l.Ask(t0, base(), repo(upstream))
		if err == nil && r.Git.Credential != "" {
			t.Errorf("%s: it would go with that of %s", name, r.Git.Credential)
		}
	}
	l := declared()
	l.Declared[0].Upstream = "ssh://git.example/acme/widget" // ssh's own user, as https has none
	if r := mustAsk(t, l, t0, repo("https://git.example/acme/tools")); r.Git.Credential != "" {
		t.Errorf("a key of ssh would go to https: %+v", r.Git)
	}
}

// A name that is many hosts' is no repository's.
func TestAttackG9_ARepositoryIsOnOneHost(t *testing.T) {
	for _, url := range []string{"https://*.example.com/acme/widget", "https://**.example.com/acme/widget", "ssh://git@*.example.com/acme/widget", "git@*.example.com:acme/widget"} {
		if r, err := declared().Ask(t0, base(), repo(url)); err == nil {
			t.Errorf("%s: got %+v", url, r.Git)
		}
	}
}

// A repository is granted once, whole: what was asked for before is not a second one, and what is
// only read is not counted.
func TestARepositoryIsGrantedOnce(t *testing.T) {
	l := declared()
	const url = "https://code.example/acme/tools"
	read := mustAsk(t, l, t0, repo(url))
	later := repo(url, "fix")
	later.For = policy.Span(time.Hour)
	push := mustAsk(t, l, t0, later)
	if push.ID == read.ID {
		t.Fatal("they are one")
	}
	if _, err := decide(l, read, Decision{Approve: true, Scope: Scope{Uses: 1}}); err == nil || !strings.Contains(err.Error(), "a repository to read") {
		t.Errorf("got %v", err)
	}
	approve(t, l, t0, read.ID, Scope{For: policy.Span(time.Hour)})
	if _, err := decide(l, push, Decision{Approve: true}); err == nil || !strings.Contains(err.Error(), "was given the repository meanwhile") {
		t.Errorf("got %v", err)
	}
	part := mustAsk(t, l, t0, repo(url, "part"))
	if part.Git.Of != read.ID {
		t.Fatalf("got %+v", part.Git)
	}
	approve(t, l, t0, part.ID, Scope{})
	fix := policy.RefUpdate{Ref: "refs/heads/part", New: "1"}
	if !may(l, read.Git.Repository, fix) {
		t.Error("what was granted is not allowed")
	}
	if _, err := l.Revoke(t0, read.ID); err != nil {
		t.Fatal(err)
	}
	if approve(t, l, t0, push.ID, Scope{}); may(l, read.Git.Repository, fix) { // before anything has expired
		t.Error("what was a part of the first is one of the second")
	}
}

// A bottle is started again with another manifest: grants of what that does not have, or has under
// another address, or that went with a credential it has no more, have ended.
func TestGrantsOfWhatIsNotThereEnd(t *testing.T) {
	l := declared()
	refs := mustAsk(t, l, t0, repo("widget", "fix"))
	other := mustAsk(t, l, t0, repo("ssh://git@git.example/acme/tools", "fix"))
	for _, r := range []Request{refs, other} {
		approve(t, l, t0, r.ID, Scope{For: policy.Span(time.Hour)})
	}
	moved := declared().Declared
	moved[0].Upstream = "ssh://git@git.example/acme/another"
	for name, test := range map[string]struct {
		now  []Repository
		ends []string
	}{
		"as it was": {declared().Declared, nil},
		"moved":     {moved, []string{refs.ID}},
		"gone":      {declared().Declared[1:], []string{refs.ID, other.ID}},
	} {
		again := New("k")
		again.Declared = test.now
		var ended []string
		for _, r := range again.Load(t0, l.All()) {
			ended = append(ended, r.ID)
		}
		if !slices.Equal(ended, test.ends) {
			t.Errorf("%s: ended %v, want %v", name, ended, test.ends)
		}
	}
}
