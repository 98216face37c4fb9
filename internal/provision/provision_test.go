package provision

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// unpack returns an archive's entries by name.
func unpack(t *testing.T, a *Archive) (map[string]tar.Header, map[string]string) {
	t.Helper()
	var data bytes.Buffer
	if err := a.Tar(&data); err != nil {
		t.Fatal(err)
	}
	headers, contents := map[string]tar.Header{}, map[string]string{}
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name], contents[h.Name] = *h, string(content)
	}
}

func TestArchive(t *testing.T) {
	a := &Archive{}
	a.Add(provider.File{Path: "/home/node/.config/x/file", Mode: 0o600, UID: provider.UID, Data: []byte("first")})
	a.Add(provider.File{Path: "/home/node/.config/x/file", Mode: 0o600, UID: provider.UID, Data: []byte("last")})
	Prompt(a, "prompt")
	Prompt(a, "")
	headers, contents := unpack(t, a)
	for name, want := range map[string]struct {
		mode int64
		uid  int
	}{
		"home/node/.config/": {0o755, 1000}, "home/node/.config/x/": {0o755, 1000}, "home/node/.config/x/file": {0o600, 1000},
		"etc/bot-bottle/": {0o755, 0}, "etc/bot-bottle/prompt.md": {0o644, 0},
	} {
		if h, ok := headers[name]; !ok || h.Mode != want.mode || h.Uid != want.uid || h.Gid != want.uid {
			t.Errorf("%s: got %+v", name, h)
		}
	}
	if len(headers) != 5 || contents["home/node/.config/x/file"] != "last" || contents["etc/bot-bottle/prompt.md"] != "prompt" {
		t.Errorf("got %v", contents)
	}
}

func TestCA(t *testing.T) {
	ca, err := pki.NewCA("dev-aaaaaa", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &Archive{}
	if err := CA(a, ca.CertPEM, []byte("-----IMAGE'S OWN-----\n")); err != nil {
		t.Fatal(err)
	}
	_, contents := unpack(t, a)
	system := contents[strings.TrimPrefix(SystemBundle, "/")]
	if !strings.HasPrefix(system, "-----IMAGE'S OWN-----\n") || !strings.HasSuffix(system, ca.CertPEM) || contents["etc/bot-bottle/ca.pem"] != ca.CertPEM {
		t.Errorf("got %q", system)
	}
	trusted, err := pkcs12.DecodeTrustStore([]byte(contents["etc/bot-bottle/ca.p12"]), "changeit")
	if err != nil || len(trusted) != 1 || trusted[0].Subject.CommonName != "bot-bottle dev-aaaaaa" {
		t.Errorf("trust store: got %v, %v", trusted, err)
	}
	for _, name := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "DENO_CERT", "JAVA_TOOL_OPTIONS"} {
		if !slices.ContainsFunc(a.Env(), func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			t.Errorf("%s is not set", name)
		}
	}
	for name, content := range contents {
		if strings.Contains(content, "PRIVATE KEY") {
			t.Errorf("%s holds a private key", name)
		}
	}
	if err := CA(&Archive{}, "not PEM", nil); err == nil {
		t.Error("a CA that is none was taken")
	}
}

func TestSkills(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "tdd/scripts"), 0o755),
		os.WriteFile(filepath.Join(dir, "tdd/SKILL.md"), []byte("skill"), 0o644),
		os.WriteFile(filepath.Join(dir, "tdd/scripts/run.sh"), []byte("#!/bin/sh"), 0o755),
		os.WriteFile(filepath.Join(dir, "tdd/scripts/shared.md"), []byte("shared"), 0o644),
		os.Symlink("scripts/shared.md", filepath.Join(dir, "tdd/linked.md")),
	); err != nil {
		t.Fatal(err)
	}
	a := &Archive{}
	if err := Skills(a, []bottle.Skill{{Name: "tdd", Dir: filepath.Join(dir, "tdd"), Target: "/home/node/.claude/skills/tdd"}}); err != nil {
		t.Fatal(err)
	}
	headers, contents := unpack(t, a)
	const base = "home/node/.claude/skills/tdd/"
	if contents[base+"SKILL.md"] != "skill" || contents[base+"linked.md"] != "shared" || headers[base+"scripts/run.sh"].Mode != 0o755 || headers[base+"linked.md"].Typeflag != tar.TypeReg {
		t.Errorf("got %v", contents)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "tdd/etc")); err != nil {
		t.Fatal(err)
	}
	if err := Skills(&Archive{}, []bottle.Skill{{Name: "tdd", Dir: filepath.Join(dir, "tdd")}}); err == nil {
		t.Error("a link to a directory was followed")
	}
}

func TestGitAndNetwork(t *testing.T) {
	a := &Archive{}
	Git(a, manifest.GitIdentity{Name: "Implementer", Email: "i@acme.example"}, nil)
	Network(a)
	want := []string{
		"GIT_AUTHOR_EMAIL=i@acme.example", "GIT_AUTHOR_NAME=Implementer", "GIT_COMMITTER_EMAIL=i@acme.example", "GIT_COMMITTER_NAME=Implementer",
		"HTTPS_PROXY=http://127.0.0.1:3128", "HTTP_PROXY=http://127.0.0.1:3128", "NO_PROXY=localhost,127.0.0.1",
		"http_proxy=http://127.0.0.1:3128", "https_proxy=http://127.0.0.1:3128", "no_proxy=localhost,127.0.0.1",
	}
	if got := a.Env(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
