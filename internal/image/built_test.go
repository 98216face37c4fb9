package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/image"
)

// What is listed says what may go: an image of an older version, or of a Dockerfile that
// nothing runs, and never one that this version takes.
func TestBuilt(t *testing.T) {
	b := builder(t, nil)
	dir := tree(t, map[string]string{"Dockerfile": "USER root\nRUN echo " + unique() + " >/mine\n"})
	mine, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile")}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := b.Ref("custom")
	if err != nil {
		t.Fatal(err)
	}
	kept := Kept{}
	find := func(ref string) (Built, bool) {
		all, err := b.Built(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(b Built) bool { return b.Ref == ref })
		if i < 0 {
			return Built{}, false
		}
		return all[i], true
	}
	if got, ok := find(ours); !ok || !got.Current || got.Unused() || got.Size == 0 {
		t.Errorf("got %+v", got)
	}
	got, ok := find(mine.Ref)
	if !ok || got.Current || !got.Unused() {
		t.Fatalf("got %+v", got)
	}
	for name, id := range map[string]string{"by name": mine.Ref, "by id": mine.ID, "as all of its kind": Anything} {
		kept = Kept{id: "by somebody"}
		if got, _ := find(mine.Ref); !got.Kept || got.Unused() || got.For != "by somebody" {
			t.Errorf("one that a bottle keeps, %s: got %+v", name, got)
		}
	}
	kept = nil
	owner := b.Owner
	b.Owner = func() (string, error) { return "another", nil }
	if got, _ := find(mine.Ref); !got.Kept || got.Unused() {
		t.Errorf("one that another has built: got %+v", got)
	}
	b.Owner = owner
	if err := b.Remove(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if _, ok := find(mine.Ref); ok {
		t.Error("it is still there")
	}
}

// What build --no-cache leaves without its name is listed by its ID, and may go; another's may not.
func TestBuiltWithoutAName(t *testing.T) {
	b := builder(t, nil)
	ref, file := "bot-bottle-test/again:"+unique(), []byte("FROM "+Base+"\nRUN cat /proc/sys/kernel/random/uuid >/word # "+unique()+"\n")
	b.Again, b.NoCache = true, true
	var old Image
	for _, which := range []*Image{&old, {}} {
		made, err := b.ensure(t.Context(), ref, func(string) {}, func() (job, error) { return b.job(file) })
		if err != nil {
			t.Fatal(err)
		}
		*which = made
	}
	remove(t, b.Client, ref)
	find := func(b Builder) (found Built) {
		all, err := b.Built(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(all, func(b Built) bool { return b.Ref == old.ID }); i >= 0 {
			return all[i]
		}
		return found
	}
	got := find(b)
	if got.Ref == "" || !got.Unused() {
		t.Errorf("got %+v", got)
	}
	anothers := b
	anothers.Owner = func() (string, error) { return "another", nil }
	if got := find(anothers); !got.Kept {
		t.Errorf("another's: got %+v", got)
	}
	if err := b.Remove(t.Context(), got); err != nil || find(b).Ref != "" {
		t.Errorf("it is still there: %v", err)
	}
}

// Whose an image is, and what it is, decides whether somebody else may need it.
func TestWhoKeepsAnImage(t *testing.T) {
	labelled := func(owner string) image.Summary {
		s := image.Summary{ID: "sha256:1", Labels: map[string]string{}}
		if owner != "" {
			s.Labels[LabelOwner] = owner
		}
		return s
	}
	for name, c := range map[string]struct {
		ref, owner string
		kept       Kept
		want       string // part of it; "" may go
	}{
		"an older version of ours":           {"bot-bottle/claude:1", "me", Kept{Anything: "x"}, ""},
		"one from before there were owners":  {"bot-bottle/claude:1", "", nil, ""},
		"another's older version":            {"bot-bottle/claude:1", "you", nil, "another"},
		"a Dockerfile's":                     {"bot-bottle/custom:1", "me", nil, ""},
		"another's Dockerfile's":             {"bot-bottle/custom:1", "you", nil, "another"},
		"a Dockerfile's of nobody's":         {"bot-bottle/custom:1", "", nil, "another"},
		"a change's":                         {"bot-bottle/layer:1", "me", Kept{"bot-bottle/layer:1": "by a bottle"}, "by a bottle"},
		"a pipelock":                         {"bot-bottle/pipelock:1", "me", nil, ""},
		"a pipelock of the manifest's":       {"bot-bottle/pipelock:1", "me", Kept{"bot-bottle/pipelock:1": "by a bottle"}, "by a bottle"},
		"a pipelock, with a broken manifest": {"bot-bottle/pipelock:1", "me", Kept{Anything: "perhaps"}, "perhaps"},
		"another's pipelock":                 {"bot-bottle/pipelock:1", "you", nil, "another"},
		"one without a name":                 {"sha256:1", "me", nil, ""},
		"one without a name, of a bottle's":  {"sha256:1", "me", Kept{"sha256:1": "by a bottle"}, "by a bottle"},
		"another's without a name":           {"sha256:1", "you", nil, "another"},
	} {
		if got := c.kept.by(c.ref, labelled(c.owner), "me"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// Who asks without the bottle's secrets finds the image all the same in which a file was left out for
// one: the latest of the Dockerfile's, not one of another's, and the one with every file where there is that.
func TestCustomRefWithoutSecrets(t *testing.T) {
	b := builder(t, nil)
	me := unique()
	b.Owner = func() (string, error) { return me, nil }
	dir := tree(t, map[string]string{"Dockerfile": "USER root\nRUN echo " + me + " >/mine\n", "token": "a-secret-value"})
	c := Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile"), Secret: func(data []byte) bool { return strings.Contains(string(data), "a-secret") }}
	asking := c
	asking.Secret = nil
	want := func(when, want string) {
		t.Helper()
		if got, err := b.CustomRef(t.Context(), asking); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", when, got, err, want)
		}
	}
	var last Image
	for _, line := range []string{"", "RUN true\n"} {
		if err := os.WriteFile(c.Dockerfile, []byte("USER root\nRUN echo "+me+" >/mine\n"+line), 0o600); err != nil {
			t.Fatal(err)
		}
		made, err := b.EnsureCustom(t.Context(), c, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		remove(t, b.Client, made.Ref)
		want("with a file left out", made.Ref)
		last = made
		time.Sleep(1100 * time.Millisecond) // the engine tells ages in seconds
	}
	own := b.Owner
	b.Owner = func() (string, error) { return "another", nil }
	if got, err := b.CustomRef(t.Context(), asking); err != nil || got == last.Ref {
		t.Errorf("another's: got %s, %v", got, err)
	}
	b.Owner = own
	whole, err := b.EnsureCustom(t.Context(), asking, func(string) {})
	if err != nil || whole.Ref == last.Ref {
		t.Fatal(whole, err)
	}
	remove(t, b.Client, whole.Ref)
	want("with every file", whole.Ref)
}
