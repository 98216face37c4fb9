package gitgate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// Attack F8: what a push may bring is bounded where it is counted, also where to bring so much
// would take a test for ever.
func TestAttackF8_EveryBoundIsOne(t *testing.T) {
	id := func(i int) string { return fmt.Sprintf("%020d", i) }
	dir := func(name string, i int) []byte { return treeOf(leaf{"40000", name, fmt.Sprintf("%x", id(i))}) }
	for name, try := range map[string]func() error{
		"directories in all": func() error {
			s := newShape()
			s.links = maxLinks
			return s.add(object{}, id(0), dir("d", 1))
		},
		"names in all": func() error {
			s := newShape()
			s.bytes = maxNames
			return s.add(object{}, id(0), treeOf(leaf{"100644", "a", strings.Repeat("1", 40)}))
		},
		"deep, the deepest first": func() error {
			s := newShape()
			for i := range maxDepth + 2 {
				if err := s.add(object{}, id(i+1), dir("d", i)); err != nil {
					t.Fatal(err)
				}
			}
			return s.bounded()
		},
		"commits": func() error {
			c, in := &checker{}, &inspection{}
			data := commitOf(strings.Repeat("1", 40), "x\n", "")
			for i := range maxCommits + 1 {
				if err := c.commit(in, object{id: id(i)}, data); err != nil {
					return err
				}
			}
			return nil
		},
		"objects": func() error {
			_, err := listed(bufio.NewReader(strings.NewReader(strings.Repeat(id(1)+" a\n", maxObjects+1))))
			return err
		},
		"a directory": func() error { return declared("tree", maxTree+1) },
		"a file":      func() error { return declared("blob", maxBlob+1) },
		"a message":   func() error { return declared("commit", maxText+1) },
		"a tag":       func() error { return declared("tag", maxText+1) },
	} {
		if err := try(); !errors.As(err, new(*errTooMuch)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// declared is what becomes of an object that git says is so large. None of it is read.
func declared(kind string, size int64) error {
	id := strings.Repeat("1", 40)
	out := bufio.NewReader(strings.NewReader(fmt.Sprintf("%s %s %d\n", id, kind, size)))
	return next(out, object{id: id}, func(object, string, []byte) error { return nil }, func(object, io.Reader, int64) error { return nil })
}

// Attack F8: a request that is small, and unpacks to more than one may hold.
func TestAttackF8_ARequestThatUnpacks(t *testing.T) {
	r, err := http.NewRequest(http.MethodPost, "http://gate/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Encoding", "gzip")
	const most = 1 << 20
	for size, fits := range map[int]bool{most: true, most + 1: false, 100 * most: false} {
		body, err := unpacked(r, bytes.NewReader(gzipped(make([]byte, size))), most)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, body)
		if (err == nil) != fits || n > most {
			t.Errorf("%d bytes: got %d, %v", size, n, err)
		}
	}
}

// Attack F6: a hook that is not git's, or not of this push, says that the objects to look at are
// elsewhere.
func TestAttackF6_TheQuarantineIsTheMirrors(t *testing.T) {
	l := newLab(t)
	p := &push{server: l.server, mirror: l.server.find("widget")}
	objects := p.mirror.dir + "/objects"
	for _, dir := range []string{"/tmp/x", objects, objects + "/../../other.git/objects/tmp_objdir-x", objects + "/a/b", "objects/tmp_objdir-x"} {
		if g, err := p.quarantined(question{Quarantine: dir}); err == nil {
			t.Errorf("%s: it is looked at with %v", dir, g.extra)
		}
	}
	if _, err := p.quarantined(question{Quarantine: objects + "/tmp_objdir-incoming-x"}); err != nil {
		t.Error(err)
	}
}

// What only looks like a secret and is upstream already is nothing that the agent brings, in its
// file, beside a change, or moved to another one. The bottle's own values are not excused, nor is
// what upstream has elsewhere in history alone.
func TestWhatIsUpstreamAlreadyIsNotCounted(t *testing.T) {
	l := newLab(t)
	seed := filepath.Join(l.dir, "seed")
	l.commit(seed, "gone", "token "+strings.Replace(pat, "Zk3", "Qx7", 1)+"\n")
	l.git(seed, "rm", "-q", "gone")
	text := "[app]\ntoken = " + pat + "\nname = x\n"
	l.commit(seed, "conf/app.ini", text)
	l.commit(seed, "deploy", "deploy with "+deploy+"\n")
	l.git(seed, "push", "-q", l.upstream, "main")
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "conf/app.ini", text+"more = y\n")
	l.git(work, "mv", "conf/app.ini", "moved.ini")
	l.git(work, "commit", "-q", "-m", "move it")
	l.git(work, "push", "-q", "origin", "agent/fix")
	for name, content := range map[string]string{
		"deploy": "deploy now with " + deploy + "\n", "moved.ini": text + "second = " + strings.Replace(pat, "Zk3", "Jp4", 1) + "\n", "gone": "token " + strings.Replace(pat, "Zk3", "Qx7", 1) + "\n",
	} {
		l.git(work, "checkout", "-q", "-B", "agent/"+name, "origin/agent/fix")
		l.commit(work, name, content)
		l.refused(work, "REFUSED", "push", "-q", "origin", "agent/"+name)
	}
}

// Nothing can be taken out of a commit: what would be blacked out elsewhere is refused here.
func TestWhatWouldBeRedactedIsRefused(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Scan = map[string]dlp.Action{"gitlab-token": dlp.Redact} })
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "a", pat+"\n")
	l.refused(work, "REFUSED: a secret (gitlab-token)", "push", "-q", "origin", "agent/fix")
}

// Three upstreams do not answer, and as many as there may be at once wait for each. Another repository is fetched from and
// pushed to all the same, by as many as come.
func TestUpstreamsThatHangKeepNoOther(t *testing.T) {
	hung := []string{"one", "two", "three"}
	l, server := newHTTPSLab(t, func(c *control.GitConfig) {
		for _, name := range hung {
			other := c.Repositories[0]
			other.Name, other.Places, other.Upstream = name, []string{name}, strings.Replace(other.Upstream, "upstream.git", name+".git", 1)
			c.Repositories = append(c.Repositories, other)
		}
	})
	over := make(chan struct{})
	server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/upstream.git/") {
			return false
		}
		<-over
		return hangUp(w, r)
	})
	ctx, leave := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer close(over)
	defer leave()
	for _, name := range hung {
		for range 2 * maxOperations {
			clients.Go(func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.root+"/"+name+"/info/refs?service="+uploadPack, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if answer, err := (&http.Client{Transport: &http.Transport{}}).Do(r); err == nil {
					_ = answer.Body.Close()
				}
			})
		}
	}
	for places := l.server.places; ; time.Sleep(time.Millisecond) { // the test's own end bounds that
		places.mu.Lock()
		all, hanging := places.taken, len(places.of)
		places.mu.Unlock()
		if hanging == len(hung) && all >= maxCrowd {
			break
		}
	}
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var fetching sync.WaitGroup
	for range 2 * maxOperations {
		fetching.Go(func() {
			r, err := http.NewRequestWithContext(within, http.MethodGet, l.url+"/info/refs?service="+uploadPack, nil)
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
		})
	}
	if fetching.Wait(); t.Failed() {
		return
	}
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/fix")
	l.commit(work, "main.go", "package main\n")
	l.git(work, "push", "-q", "origin", "agent/fix")
}

// So many objects as may be are listed.
func TestObjectsUpToTheBound(t *testing.T) {
	all, err := listed(bufio.NewReader(strings.NewReader(strings.Repeat("1 a b\n", maxObjects))))
	if err != nil || len(all) != maxObjects || all[0] != (object{"1", "a b"}) {
		t.Errorf("got %d objects, %v", len(all), err)
	}
}

// Of many reasons, and of many findings, the first are told, and how many more there are.
func TestWhatIsToldIsBounded(t *testing.T) {
	log := &lines{}
	c, err := newChecker(control.GitConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Options: Options{Events: audit.NewWriter(log)}}
	s.checkWith(c)
	p := &push{server: s, mirror: &mirror{}, check: c}
	v := &verdict{seen: &inspection{}}
	for i := range maxReported + 3 {
		v.refuse("reason %d", i)
		v.seen.findings = append(v.seen.findings, finding{Finding: dlp.Finding{Rule: "r"}, kind: "blob", object: object{path: fmt.Sprint("file", i)}})
	}
	told := v.report()
	if len(told) != maxReported+1 || told[0] != "REFUSED: reason 0" || told[maxReported] != "… and 3 more" {
		t.Errorf("told %q", told)
	}
	if exact := (&verdict{refused: v.refused[:maxReported]}).report(); len(exact) != maxReported || exact[maxReported-1] != "REFUSED: reason 19" {
		t.Errorf("told %q", exact)
	}
	p.record(v, audit.Deny, "no")
	if n := strings.Count(log.String(), `"rule":"r"`); n != maxReported || !strings.Contains(log.String(), "file19") {
		t.Errorf("the log has %d findings: %s", n, log)
	}
}

// What git reads out is what was asked for, or nothing is taken for it: else something that was never looked at could
// pass in the place of something harmless.
func TestAnObjectIsTheOneThatWasAskedFor(t *testing.T) {
	id, other := strings.Repeat("1", 40), strings.Repeat("2", 40)
	for head, fine := range map[string]bool{id + " blob 1": true, other + " blob 1": false, id + " missing": false, id[:39] + " blob 1": false, id + " blob x": false} {
		taken := 0
		take := func(o object, kind string, data []byte) error { taken++; return nil }
		err := next(bufio.NewReader(strings.NewReader(head+"\nx\n")), object{id: id}, take, nil)
		if (err == nil) != fine || (taken == 1) != fine {
			t.Errorf("%q: taken %d times, %v", head, taken, err)
		}
	}
}

// ATTACK E8: a commit says twice who made it, or of what tree, and the gate looks at one and the upstream at the other.
func TestAttackE8_AHeaderThatComesTwice(t *testing.T) {
	tree, person := "tree "+strings.Repeat("1", 40)+"\n", agentLine+"\n"
	whole := tree + "author " + person + "committer " + person
	if _, err := parseCommit("id", []byte(whole+"\nx\n")); err != nil {
		t.Fatal(err)
	}
	for name, head := range map[string]string{
		"two trees": tree + whole, "two authors": tree + "author " + person + "author " + person + "committer " + person, "two committers": whole + "committer " + person,
		"no tree": "author " + person + "committer " + person, "no author": tree + "committer " + person, "no committer": tree + "author " + person,
	} {
		if _, err := parseCommit("id", []byte(head+"\nx\n")); !errors.As(err, new(*errTooMuch)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Nothing can be taken out of a commit: where egress would, a push is blocked, and the log says so.
func TestAPushIsNotRedacted(t *testing.T) {
	c, err := newChecker(control.GitConfig{Scan: map[string]dlp.Action{"private-key": dlp.Redact}})
	if err != nil {
		t.Fatal(err)
	}
	key := read(t, filepath.Join(modules(t)["github.com/moby/moby/client"], "testdata", "key.pem"))
	for what, scanner := range map[string]*dlp.Scanner{"a file": c.scanner, "an archive": c.inside} {
		found, err := scanner.Scan(t.Context(), dlp.Input{Kind: dlp.Body, Data: []byte(key)})
		if err != nil || len(found) == 0 || found[0].Rule != "private-key" || found[0].Action != dlp.Block {
			t.Errorf("%s: got %+v, %v", what, found, err)
		}
	}
}

// A file that only may hold a secret, by the name of what it assigns, is not worth a line in the log; what else is
// noted is, and so is the same in a message.
func TestWhatIsNotWorthALineIsDropped(t *testing.T) {
	c, err := newChecker(control.GitConfig{})
	if err != nil {
		t.Fatal(err)
	}
	note := func(rule, kind string, action dlp.Action) finding {
		return finding{Finding: dlp.Finding{Rule: rule, Action: action, Start: -1}, kind: kind}
	}
	in := &inspection{findings: []finding{
		note(dlp.RuleAssigned, "blob", dlp.Alert), note(dlp.RuleAssigned, "commit", dlp.Alert), note("github-pat", "tag", dlp.Alert), note(dlp.RuleAssigned, "ref", dlp.Block),
	}}
	want := slices.Clone(in.findings[1:])
	if err := c.settle(t.Context(), git{}, in, nil); err != nil || !reflect.DeepEqual(in.findings, want) {
		t.Errorf("kept %+v, %v", in.findings, err)
	}
}

// A file is remembered as clean if it was searched to its end and has nothing, and by that alone.
func TestOnlyACleanFileIsRemembered(t *testing.T) {
	c, err := newChecker(control.GitConfig{Known: []control.Secret{{Name: "T", Value: "s3cr3t-d3pl0y-t0k3n-42", Placeholder: "bb-placeholder-deploy-7731"}}})
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for i, test := range []struct {
		ctx  context.Context
		data string
		want bool
	}{{t.Context(), "nothing\n", true}, {t.Context(), "key s3cr3t-d3pl0y-t0k3n-42\n", false}, {over, "nothing else\n", false}} {
		id := objectID{byte(i + 1)}
		f, alone := c.searchAlone(test.ctx, id, []byte(test.data))
		_, known := c.known.get(id)
		if alone != test.want || known != test.want || alone && f.size != int64(len(test.data)) {
			t.Errorf("%q: clean %v, remembered %v, of %d bytes", test.data, alone, known, f.size)
		}
	}
}

// What cannot be searched to its end is the client's to mend; a search that was given up is not.
func TestWhatCannotBeSearchedIsRefused(t *testing.T) {
	o := object{id: strings.Repeat("1", 40), path: "a.zip"}
	if err := unsearched(o, "blob", errors.New("it is odd")); !errors.As(err, new(*errTooMuch)) || err.Error() != "a.zip cannot be searched for secrets: it is odd" {
		t.Errorf("got %v", err)
	}
	for _, gaveUp := range []error{context.Canceled, context.DeadlineExceeded} {
		if err := unsearched(o, "blob", fmt.Errorf("searching: %w", gaveUp)); errors.As(err, new(*errTooMuch)) || !errors.Is(err, gaveUp) {
			t.Errorf("got %v", err)
		}
	}
}
