package gitgate

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// A push that comes again is refused with the same findings, whatever of it is remembered as
// clean, and taken once they are away.
func TestAPushThatComesAgainIsJudgedTheSame(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/again")
	value := l.config.Known[0].Value
	for i := range 20 {
		write(t, filepath.Join(work, fmt.Sprint("file", i)), fmt.Sprintf("number %d of %s\n", i, value[:8]))
	}
	l.commit(work, "leak", "the token is "+value+"\n")
	for range 3 {
		l.refused(work, "credential DEPLOY_TOKEN", "push", "-q", "origin", "agent/again")
	}
	all := l.pushes()
	for _, e := range all[1:] {
		if !reflect.DeepEqual(e.Findings, all[0].Findings) || e.Objects != all[0].Objects || e.BytesOut != all[0].BytesOut || e.Reason != all[0].Reason {
			t.Errorf("first %+v, then %+v", all[0], e)
		}
	}
	if got := len(l.server.checks.Load().known.files); got != 20 {
		t.Errorf("%d files are remembered, want 20", got)
	}
	if err := os.Remove(filepath.Join(work, "leak")); err != nil {
		t.Fatal(err)
	}
	l.git(work, "add", "-A")
	l.git(work, "commit", "-q", "--amend", "-m", "without")
	l.git(work, "push", "-q", "origin", "agent/again")
}

// ATTACK: half of a credential is pushed in a file that is found clean, in a push that is
// refused for something else. Once the gate does not search that file any more, the other half
// comes with it.
func TestAttackF5_ASecretInPartsOfWhichOneIsKnown(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.git(work, "checkout", "-q", "-b", "agent/parts")
	value := l.config.Known[0].Value
	l.commit(work, "first", "it begins with "+value[:len(value)/2]+"\n")
	l.refused(work, "REFUSED", "push", "-q", "origin", "HEAD:refs/heads/elsewhere") // not looked at
	l.commit(work, "leak", value+"\n")
	l.refused(work, "credential DEPLOY_TOKEN", "push", "-q", "origin", "agent/parts")
	if len(l.server.checks.Load().known.files) != 1 {
		t.Fatalf("%d files are remembered, want the first", len(l.server.checks.Load().known.files))
	}
	if err := os.Remove(filepath.Join(work, "leak")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(work, "second"), "and it ends with "+value[len(value)/2:]+"\n")
	l.git(work, "add", "-A")
	l.git(work, "commit", "-q", "--amend", "-m", "the rest")
	l.refused(work, "credential DEPLOY_TOKEN", "push", "-q", "origin", "agent/parts")
}

// What is remembered has a bound, and the oldest goes first.
func TestCleanForgetsTheOldest(t *testing.T) {
	t.Parallel()
	c := newClean(3)
	var objects []object
	for i := range byte(5) {
		c.add(objectID{i}, cleanFile{size: int64(i)})
		c.add(objectID{i}, cleanFile{size: 99})
		objects = append(objects, object{id: fmt.Sprintf("%02x%038d", i, 0)})
	}
	objects = append(objects, object{id: "02"}, object{id: fmt.Sprintf("02%062d", 0)}, object{id: "zz"}) // no ids of ours
	var sizes []int64
	left, err := c.without(objects, func(_ object, f cleanFile) error { sizes = append(sizes, f.size); return nil })
	if err != nil || !slices.Equal(sizes, []int64{2, 3, 4}) || !slices.Equal(left, slices.Concat(objects[:2], objects[5:])) {
		t.Errorf("%v, left %v: %v", sizes, left, err)
	}
	if len(c.files) != 3 {
		t.Errorf("%d are remembered, want 3", len(c.files))
	}
}

// A file with so many parts of known values that remembering them costs is searched each time.
func TestCleanTakesFewParts(t *testing.T) {
	t.Parallel()
	var known []dlp.Value
	for i := range 2 * maxParts {
		known = append(known, dlp.Value{Name: fmt.Sprint(i), Secret: fmt.Appendf(nil, "common-%032d", i)})
	}
	s, err := dlp.New(dlp.Options{Known: known})
	if err != nil {
		t.Fatal(err)
	}
	check := &checker{scanner: s, known: newClean(10)}
	if _, ok := check.searchAlone(t.Context(), objectID{1}, []byte("nothing of the kind")); !ok || len(check.known.files) != 1 {
		t.Error("a clean file is not remembered")
	}
	if f, ok := check.searchAlone(t.Context(), objectID{2}, []byte("what is common-to all")); !ok || f.parts.Len() != 2*maxParts || len(check.known.files) != 1 {
		t.Errorf("%d parts, %d remembered", f.parts.Len(), len(check.known.files))
	}
}
