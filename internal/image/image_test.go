package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
)

func TestRef(t *testing.T) {
	b := Builder{Getenv: func(string) string { return "" }}
	for _, name := range []string{"claude", "codex", "gemini", "opencode", "sidecar"} {
		ref, err := b.Ref(name)
		if err != nil || !regexp.MustCompile(`^bot-bottle/`+name+`:[0-9a-f]{12}$`).MatchString(ref) {
			t.Errorf("got %s, %v", ref, err)
		}
		behindProxy := Builder{Getenv: func(name string) string { return "http://proxy.example" }}
		if other, _ := behindProxy.Ref(name); other != ref {
			t.Errorf("the host's environment changes the tag to %s", other)
		}
	}
	for _, name := range []string{"", "nothing", "../image", "claude.Dockerfile", "tools"} {
		if ref, err := b.Ref(name); err == nil {
			t.Errorf("%q: got %s", name, ref)
		}
	}
}

// Both values of one input make another hash than one value of two.
func TestHashKeepsItsInputsApart(t *testing.T) {
	if hash([]byte("ab"), []byte("c")) == hash([]byte("a"), []byte("bc")) {
		t.Error("the same")
	}
}

// messages are a build's output as the engine sends it.
func messages(t *testing.T, lines ...map[string]string) string {
	t.Helper()
	var all strings.Builder
	for _, line := range lines {
		if err := json.NewEncoder(&all).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

func out(s string) map[string]string { return map[string]string{"stream": s} }

func TestWatch(t *testing.T) {
	var said []string
	stages, err := watch(strings.NewReader(messages(t,
		out("Step 1/5 : FROM debian AS one"), out("\n"), out(" ---> 111111111111\n"),
		out("Step 2/5 : RUN   a   b"), out(" ---> Running in 999999999999\n"), out("noise\n"), out(" ---> 222222222222\n"),
		out("Step 3/5 : FROM debian"), out(" ---> 111111111111\n"), out("Step 4/5 : USER node"), out("Step 5/5 : COPY --from=one /a /a"),
		out("Successfully built 333333333333\n"))), "x:1", func(s string) { said = append(said, s) })
	if err != nil || !slices.Equal(stages, []string{"222222222222"}) {
		t.Errorf("got %v, %v", stages, err)
	}
	want := []string{"  1/5  FROM debian AS one", "  2/5  RUN a b", "  3/5  FROM debian", "  5/5  COPY --from=one /a /a"}
	if !slices.Equal(said, want) {
		t.Errorf("got %q", said)
	}
}

func TestBuildErrors(t *testing.T) {
	for name, c := range map[string]struct{ ref, step, line, failure, reason, hint string }{
		"no base":     {"x:1", "FROM debian:bookworm-slim", "", "pull access denied for debian", "pull access denied", "run scripts/setup"},
		"no registry": {customName + ":1", "FROM corp.example/x", "", `Get "https://registry.of.the.corporation.example/v2/": dial tcp: lookup registry.of.the.corporation.example on 192.0.2.53:53: no such host`, "no such host", "docker login"},
		"no space":    {"x:1", "RUN apt-get update", "E: No space left on device", "The command '/bin/sh -c apt-get update' returned a non-zero code: 100", "a step exited with 100: RUN apt-get update", "disk is full"},
		"a proxy":     {"x:1", "RUN curl", "curl: (60) SSL certificate problem: self-signed certificate in certificate chain", "The command 'x' returned a non-zero code: 60", "exited with 60", "NODE_EXTRA_CA_CERTS"},
		"wrong bytes": {"x:1", "RUN sum", "sha512sum: WARNING: 1 computed checksum did NOT match", "The command 'x' returned a non-zero code: 1", "exited with 1", "not what is pinned"},
		"no network":  {"x:1", "RUN curl", "\x1b[91mcurl: (6) Could not resolve host\x1b[0m", "The command 'x' returned a non-zero code: 6", "exited with 6", "HTTP_PROXY"},
		"their own":   {"bot-bottle/custom:1", "RUN make", "make: nothing", "The command 'x' returned a non-zero code: 2", "exited with 2", "own Dockerfile"},
	} {
		t.Run(name, func(t *testing.T) {
			body := messages(t, out("Step 1/1 : "+c.step), out(c.line+"\n"), map[string]string{"error": c.failure})
			_, err := watch(strings.NewReader(body), c.ref, func(string) {})
			var failed *BuildError
			if !errors.As(err, &failed) || !strings.Contains(failed.Reason, c.reason) || !strings.Contains(failed.Hint(), c.hint) {
				t.Fatalf("got %v, %v", err, failed)
			}
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %q", err)
			}
		})
	}
}

// An engine that stops in the middle has not built anything.
func TestWatchOfHalfABuild(t *testing.T) {
	if _, err := watch(strings.NewReader(`{"stream":"Step 1/2 : FROM x"}{"stre`), "x:1", func(string) {}); err == nil {
		t.Error("want an error")
	}
}

func TestExtraCertificates(t *testing.T) {
	ca, err := pki.NewCA("corp", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "corp.pem")
	if err := os.WriteFile(file, []byte("a comment\n"+ca.CertPEM+ca.KeyPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	b := Builder{Getenv: func(name string) string {
		return map[string]string{"SSL_CERT_FILE": file, "NODE_EXTRA_CA_CERTS": file}[name]
	}}
	got := string(b.extraCertificates())
	if strings.Count(got, ca.CertPEM) != 1 || strings.Contains(got, "PRIVATE") {
		t.Errorf("got %s", got)
	}
	if none := (Builder{Getenv: func(string) string { return "/nowhere" }}).extraCertificates(); len(none) == 0 {
		t.Error("the file is empty")
	}
}

func TestArguments(t *testing.T) {
	home := t.TempDir()
	config := "; registry=https://commented.example\n//npm.corp.example/:_authToken=s3cret\n@acme:registry=https://scoped.example\nregistry = \"https://npm.corp.example/\"\n"
	if err := os.WriteFile(filepath.Join(home, ".npmrc"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want map[string]string
	}{
		"nothing":     {nil, map[string]string{}},
		"proxies":     {map[string]string{"HTTPS_PROXY": "http://p:1", "no_proxy": "x"}, map[string]string{"HTTPS_PROXY": "http://p:1", "no_proxy": "x"}},
		".npmrc":      {map[string]string{"HOME": home}, map[string]string{"NPM_REGISTRY": "https://npm.corp.example/"}},
		"environment": {map[string]string{"HOME": home, "NPM_CONFIG_REGISTRY": "https://e.example"}, map[string]string{"NPM_REGISTRY": "https://e.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := (Builder{Getenv: func(name string) string { return c.env[name] }}).arguments(nil)
			if len(got) != len(c.want) {
				t.Errorf("got %v", got)
			}
			for name, want := range c.want {
				if got[name] == nil || *got[name] != want {
					t.Errorf("%s: got %v, want %s", name, got[name], want)
				}
			}
		})
	}
}

// What a step prints bit by bit is told in whole lines, also one without an end, and nothing of the
// engine's housekeeping with it; one that never ends is not held for ever.
func TestLinesThatComeInBits(t *testing.T) {
	_, err := watch(strings.NewReader(messages(t,
		out("Step 1/1 : RUN ls /nowhere"), out("\n"), out("\x1b[91mls: \x1b[0m"), out("\x1b[91mcannot access '/nowhere'\x1b[0m"), out("\x1b[91m: no such file\n\x1b[0m"),
		out("Removing intermediate container 617da505cb8b\n"), out(strings.Repeat("endless ", 2000)), out("the "), out("end"), map[string]string{"error": "failed"})), "x:1", func(string) {})
	var failed *BuildError
	if !errors.As(err, &failed) || len(failed.Output) != 3 || failed.Output[0] != "ls: cannot access '/nowhere': no such file" || !strings.HasPrefix(failed.Output[1], "endless ") || failed.Output[2] != "the end" {
		t.Errorf("got %q, %v", failed.Output, err)
	}
}

// Whoever is told of a full disk, or of a base that cannot be fetched, is told what to do about just that.
func TestHintsOfABuild(t *testing.T) {
	for want, e := range map[string]BuildError{
		"docker system df":                      {Ref: customName + ":1", Step: "RUN x", Reason: "write /x: no space left on device"},
		"could not fetch the base":              {Ref: "bot-bottle/claude:1", Step: "FROM " + Base, Reason: "timeout"},
		"SSL_CERT_FILE":                         {Ref: "bot-bottle/claude:1", Step: "RUN x", Reason: "x509: certificate signed by unknown authority"},
		"what is pinned":                        {Ref: "bot-bottle/claude:1", Step: "RUN x", Reason: "x did NOT match"},
		"reject it":                             {Ref: LayerName + ":1", Step: "RUN x", Reason: "x"},
		"docs/providers.md":                     {Ref: customName + ":1", Step: "RUN : " + contractMark, Reason: "x"},
		"a step of the bottle's own Dockerfile": {Ref: customName + ":1", Step: "RUN x", Reason: "x"},
		"knows no RUN --mount":                  {Ref: customName + ":1", Step: "RUN --mount=type=cache,target=/x true", Reason: "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/"},
		"could not fetch what it is built on":   {Ref: customName + ":1", Step: "FROM corp.example/x@sha256:1", Reason: "no such host"},
		"HTTP_PROXY and HTTPS_PROXY":            {Ref: "bot-bottle/claude:1", Step: "RUN x", Reason: "x"},
	} {
		if got := e.Hint(); !strings.Contains(got, want) {
			t.Errorf("%v: got %s", e, got)
		}
	}
}

// Of what a failed step printed, the end is told.
func TestTheEndOfAFailedStep(t *testing.T) {
	var lines []map[string]string
	for i := range 3 * keepLines {
		lines = append(lines, out(fmt.Sprintf("line %d\n", i)))
	}
	_, err := watch(strings.NewReader(messages(t, append(lines, map[string]string{"error": "failed"})...)), "x:1", func(string) {})
	var failed *BuildError
	if !errors.As(err, &failed) || len(failed.Output) != keepLines || failed.Output[keepLines-1] != fmt.Sprintf("line %d", 3*keepLines-1) {
		t.Errorf("got %v", err)
	}
}
