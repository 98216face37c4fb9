package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"
)

// tree writes files, and links for those that begin with "-> ".
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// entries reads a build context.
func entries(t *testing.T, sent []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for archive := tar.NewReader(bytes.NewReader(sent)); ; {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name] = string(content)
	}
}

func TestCustomContext(t *testing.T) {
	dir := tree(t, map[string]string{
		"agent.Dockerfile": "RUN true\n", "Dockerfile": "FROM elsewhere\n", "bin/tool": "#!/bin/sh\n", ".git/config": "[core]\n",
	})
	built, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1")
	sent, left := built.sent, built.left
	if err != nil || len(left.private)+len(left.secret) > 0 {
		t.Fatal(left, err)
	}
	want := map[string]string{"Dockerfile": "FROM base:1\nRUN true\n\n" + contract(""), "agent.Dockerfile": "RUN true\n", "bin/tool": "#!/bin/sh\n"}
	if diff := cmp.Diff(want, entries(t, sent)); diff != "" {
		t.Error(diff)
	}
	againBuilt, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1")
	again := againBuilt.sent
	if err != nil || !bytes.Equal(sent, again) {
		t.Errorf("the same directory makes another context, %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/tool"), []byte("#!/bin/bash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1"); err != nil || bytes.Equal(sent, changed.sent) {
		t.Errorf("a changed file makes the same context, %v", err)
	}
}

// Attack D8: the Dockerfile stands in a repository, whose .env and keys are the
// developer's. "COPY . /" would bring them into an image, and an ignore file of the
// repository's may ask for them.
func TestAttackD8_CredentialsAreNotSentToTheBuild(t *testing.T) {
	dir := tree(t, map[string]string{
		"Dockerfile": "COPY . /all\n", ".dockerignore": "!.env\n!**/*.pem\n", "main.go": "package main",
		".env": "KEY=s3cret", "api/.ENV.local": "KEY=s3cret", "tls/server.PEM": "s3cret", "server.key": "s3cret", ".ssh/config": "s3cret",
		"deploy/id_ed25519": "s3cret", ".npmrc": "s3cret", ".aws/credentials": "s3cret", ".git/config": "url = https://s3cret@host",
	})
	built, err := customContext(Custom{Dockerfile: filepath.Join(dir, "Dockerfile")}, "base:1")
	sent, left := built.sent, built.left
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sent, []byte("s3cret")) {
		t.Errorf("a credential is sent: %v", entries(t, sent))
	}
	if _, ok := entries(t, sent)["main.go"]; !ok {
		t.Error("main.go is missing")
	}
	want := []string{".aws", ".env", ".npmrc", ".ssh", "api/.ENV.local", "deploy/id_ed25519", "server.key", "tls/server.PEM"}
	slices.Sort(left.private)
	if diff := cmp.Diff(want, left.private); diff != "" || len(left.secret) > 0 {
		t.Error(diff)
	}
}

// Attack D3: a link in the repository, or the Dockerfile itself, leads to a file of the
// host's, which the build would bring into the image.
func TestAttackD3_LinksLeadNowhere(t *testing.T) {
	outside := tree(t, map[string]string{"passwd": "s3cret"})
	dir := tree(t, map[string]string{
		"agent.Dockerfile": "COPY . /all\n", "file": "-> " + filepath.Join(outside, "passwd"), "dir": "-> " + outside, "up": "-> ../../..",
		"Dockerfile.evil": "-> " + filepath.Join(outside, "passwd"),
	})
	sentBuilt, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1")
	sent := sentBuilt.sent
	if err != nil || bytes.Contains(sent, []byte("s3cret")) || len(entries(t, sent)) != 2 {
		t.Errorf("got %v, %v", entries(t, sent), err)
	}
	if _, err := customContext(Custom{Dockerfile: filepath.Join(dir, "Dockerfile.evil")}, "base:1"); err == nil {
		t.Error("a Dockerfile that is a link out of its directory is read")
	}
}

func TestCustomContextHasALimit(t *testing.T) {
	dir := tree(t, map[string]string{"Dockerfile": "RUN true\n", "huge": ""})
	if err := os.Truncate(filepath.Join(dir, "huge"), maxContext+1); err != nil {
		t.Fatal(err)
	}
	_, err := customContext(Custom{Dockerfile: filepath.Join(dir, "Dockerfile")}, "base:1")
	if err == nil || !strings.Contains(err.Error(), "larger than 256 MiB; give the Dockerfile a directory of its own") {
		t.Errorf("got %v", err)
	}
}

func TestHasFrom(t *testing.T) {
	for content, want := range map[string]bool{
		"FROM debian": true, "# syntax=x\n\nfrom debian": true, "ARG A=1\nARG B \\\n  C\nFROM ${A}": true,
		"": false, "RUN true": false, "# FROM x\nRUN true": false, "ARG A": false,
		"RUN python3 -c '\\\nfrom os import path'": false,
	} {
		if got := hasFrom(content); got != want {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

func TestEnsureCustom(t *testing.T) {
	b := builder(t, nil)
	for name, dockerfile := range map[string]string{
		"without FROM":               "USER root\nCOPY tool /usr/local/bin/tool\nRUN chmod 755 /usr/local/bin/tool\n",
		"with FROM":                  "FROM ${BOT_BOTTLE_BASE}\nUSER root\nCOPY tool /usr/local/bin/tool\nRUN chmod 755 /usr/local/bin/tool\n",
		"with FROM and the argument": "ARG BOT_BOTTLE_BASE\nFROM ${BOT_BOTTLE_BASE}\nUSER root\nCOPY tool /usr/local/bin/tool\nRUN chmod 755 /usr/local/bin/tool\n",
		"with a default of its own":  "ARG BOT_BOTTLE_BASE=nothing.invalid/x\nFROM ${BOT_BOTTLE_BASE}\nUSER root\nCOPY tool /usr/local/bin/tool\nRUN chmod 755 /usr/local/bin/tool\n",
	} {
		t.Run(name, func(t *testing.T) {
			word := unique()
			dir := tree(t, map[string]string{"agent.Dockerfile": dockerfile, "tool": "#!/bin/sh\necho " + word + "\n"})
			file := filepath.Join(dir, "agent.Dockerfile")
			got, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: file}, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			remove(t, b.Client, got.Ref)
			if out := runIn(t, b.Client, got.ID, "sh /usr/local/bin/tool; git --version"); !strings.HasPrefix(out, word+"\ngit version") {
				t.Errorf("got %q", out)
			}
			if again, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: file}, func(s string) { t.Error(s) }); err != nil || again != got {
				t.Errorf("got %v, %v", again, err)
			}
		})
	}
}

// A step of the operator's Dockerfile fails: the error has its last lines, without the
// engine's paint, and says that it is the Dockerfile's fault.
func TestEnsureCustomFails(t *testing.T) {
	b := builder(t, nil)
	dir := tree(t, map[string]string{"Dockerfile": "RUN echo out; echo the cause >&2; exit 7\n"})
	_, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile")}, func(string) {})
	var failed *BuildError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "a step exited with 7: RUN echo out") || !strings.Contains(text, "\nthe cause") || strings.Contains(text, "\x1b") {
		t.Errorf("got %q", text)
	}
	if !strings.Contains(failed.Hint(), "the bottle's own Dockerfile") {
		t.Errorf("got %s", failed.Hint())
	}
}

// What BuildKit knows and the classic builder does not is said to be just that, with the line as it
// is in the operator's file.
func TestEnsureCustomWithWhatNeedsBuildKit(t *testing.T) {
	b := builder(t, nil)
	for content, want := range map[string]string{
		"USER root\nRUN <<EOF\necho hi\nEOF\n":                           "line 3",
		"FROM ${BOT_BOTTLE_BASE}\nRUN true\nCOPY --link Dockerfile /x\n": "line 3",
		"USER root\nRUN --mount=type=cache,target=/var/cache/apt true\n": "requires BuildKit",
	} {
		dir := tree(t, map[string]string{"Dockerfile": content})
		_, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile")}, func(string) {})
		var failed *BuildError
		if !errors.As(err, &failed) || !strings.Contains(failed.Reason, want) || !strings.Contains(failed.Hint(), "knows no RUN --mount") {
			t.Errorf("%q: got %v", content, err)
		}
	}
}

// An image of the operator's is used as a stage, or a hostile Dockerfile prints its ID as
// the engine prints that of a stage: tidying up after the build must not remove it.
func TestAttackJ5_TidyingUpSparesTheOperatorsImages(t *testing.T) {
	b := builder(t, nil)
	mine := "bot-bottle-test/mine:" + unique()
	err := b.build(t.Context(), mine, func(string) {}, func() (job, error) {
		return b.job([]byte("FROM " + Base + "\nRUN echo " + unique() + " >/mine\n"))
	})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, b.Client, mine)
	found, err := b.Client.ImageInspect(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(found.ID, "sha256:")[:12]
	dir := tree(t, map[string]string{"Dockerfile": fmt.Sprintf(
		"FROM %s AS mine\nFROM ${BOT_BOTTLE_BASE}\nUSER root\nCOPY --from=mine /mine /mine\nRUN echo ' ---> %s'; echo 'Step 9/9 : FROM x'; echo %s\n", mine, id, unique())})
	got, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile")}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, b.Client, got.Ref)
	if _, err := b.Client.ImageInspect(t.Context(), mine); err != nil {
		t.Errorf("the operator's image is gone: %v", err)
	}
	left, err := b.Client.ImageList(t.Context(), client.ImageListOptions{Filters: client.Filters{}.Add("reference", "bot-bottle-test/mine")})
	if err != nil || len(left.Items) == 0 {
		t.Errorf("got %v, %v", left, err)
	}
}

// What a directory's .dockerignore names is not sent, as with docker's own command: people keep there
// what must not be in an image, and what is too large for one. The engine itself does not look at it.
func TestAnIgnoreFileIsHeeded(t *testing.T) {
	dir := tree(t, map[string]string{
		"agent.Dockerfile": "COPY . /all\n", "Dockerfile": "FROM elsewhere\n", "main.go": "package main", "secrets/prod.yaml": "s3cret", "secrets/example.yaml": "an example",
		"web/node_modules/x/index.js": "s3cret", "notes.md": "s3cret", "web/README.md": "read me", "build/out": "s3cret",
		".dockerignore": "\ufeff# a comment\n\nsecrets\n!secrets/example.yaml\n**/node_modules\n*.md\n /build/ \nagent.Dockerfile\n",
	})
	if err := os.Truncate(filepath.Join(dir, "web/node_modules/x/index.js"), maxContext+1); err != nil {
		t.Fatal(err)
	}
	build := func() []byte {
		t.Helper()
		built, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1")
		if err != nil || len(built.left.private)+len(built.left.secret) > 0 {
			t.Fatal(built.left, err)
		}
		return built.sent
	}
	sent := build()
	want := []string{".dockerignore", "Dockerfile", "main.go", "secrets/example.yaml", "web/README.md"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(entries(t, sent)))); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.md"), []byte("others"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent, build()) {
		t.Error("a file that is ignored makes another image")
	}
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("[\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := customContext(Custom{Dockerfile: filepath.Join(dir, "agent.Dockerfile")}, "base:1"); err == nil || !strings.Contains(err.Error(), ".dockerignore") {
		t.Errorf("one that cannot be read: got %v", err)
	}
}
