package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// engine returns a client of an engine that answers.
func engine(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.FromEnv)
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	}
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	need.Lacking(t, need.Docker, err)
	return nil
}

// builder has the host's environment, and what the test changes in it.
func builder(t *testing.T, env map[string]string) Builder {
	t.Helper()
	return Builder{
		Client: engine(t),
		Lock:   func(context.Context, string) (func(), error) { return func() {}, nil },
		Getenv: func(name string) string {
			if value, ok := env[name]; ok {
				return value
			}
			return os.Getenv(name)
		},
	}
}

// unique is a name that no other test run has.
func unique() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// remove has an image gone when the test ends.
func remove(t *testing.T, c *client.Client, ref string) {
	t.Cleanup(func() {
		_, err := c.ImageRemove(context.WithoutCancel(t.Context()), ref, client.ImageRemoveOptions{PruneChildren: true})
		if err != nil {
			t.Error(err)
		}
	})
}

// runIn runs a script in a container without a network, and returns what it prints on
// one stream: the engine keeps two in no order between them.
func runIn(t *testing.T, c *client.Client, ref, script string) string {
	t.Helper()
	created, err := c.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: ref, Entrypoint: []string{"sh", "-c", "exec 2>&1\n" + script}},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = c.ContainerRemove(context.WithoutCancel(t.Context()), created.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}()
	wait := c.ContainerWait(t.Context(), created.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := c.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-wait.Error:
		t.Fatal(err)
	case <-wait.Result:
	}
	logs, err := c.ContainerLogs(t.Context(), created.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Each image has what its agent needs, as the user that it runs as, and no more.
func TestAgentImages(t *testing.T) {
	for name, c := range map[string]struct {
		version, want string
		node          bool // it runs on Node
	}{
		"claude":   {"claude --version", "2.1.330 (Claude Code)\n", false},
		"codex":    {"codex --version", "codex-cli 0.171.0\n", false},
		"gemini":   {"gemini --version", "0.61.0\n", true},
		"opencode": {"opencode --version", "1.18.18\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := builder(t, nil)
			got, err := b.Ensure(t.Context(), name, func(s string) { t.Log(s) })
			if err != nil {
				t.Fatal(err)
			}
			out := runIn(t, b.Client, got.ID, c.version+`
id; echo "$HOME"; pwd; touch /workspace/x "$HOME/x" && echo writable
for tool in git curl rg jq ssh less; do command -v $tool >/dev/null || echo "no $tool"; done
for tool in node npm npx; do command -v $tool && echo "has $tool"; done
ls -d /opt/bot-bottle /run/bot-bottle /etc/bot-bottle /var/lib/apt/lists/*_Packages /var/cache/apt/* /tmp/extra* /fetch /out
find /usr/local ! -user root
`)
			for _, want := range []string{c.want, "uid=1000(node) gid=1000(node)", "/home/node\n/workspace\nwritable\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("want %q in %s", want, out)
				}
			}
			bad := []string{"no git", "no curl", "no rg", "no jq", "no ssh", "no less", "has np", "_Packages\n", "pkgcache", "/tmp/extra-", "'/opt/bot-bottle'", "/usr/local/"}
			if c.node {
				bad[len(bad)-1] = "/usr/local/lib"
			} else {
				bad = append(bad, "has node")
			}
			for _, bad := range bad {
				if strings.Contains(out, bad) {
					t.Errorf("do not want %q in %s", bad, out)
				}
			}
			if again, err := b.Ensure(t.Context(), name, func(s string) { t.Errorf("built again: %s", s) }); err != nil || again.Ref != got.Ref {
				t.Errorf("got %v, %v", again, err)
			}
		})
	}
}

func TestSidecarImage(t *testing.T) {
	b := builder(t, nil)
	got, err := b.Ensure(t.Context(), "sidecar", func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	out := runIn(t, b.Client, got.ID, `git --version; ssh -V; ls /etc/ssl/certs/ca-certificates.crt; ls -d /opt/bot-bottle /run/bot-bottle`)
	for _, want := range []string{"git version", "OpenSSH", "ca-certificates.crt", "/opt/bot-bottle\n/run/bot-bottle"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in %s", want, out)
		}
	}
}

// The host's extra certificates name the company that the host belongs to and whoever
// reads its traffic: they must help the build, and be in no layer of what it makes, nor
// in its history. The same holds for the proxy's address and password.
func TestExtraCertificatesStayInTheBuild(t *testing.T) {
	ca, err := pki.NewCA("corp-"+unique(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "corp.pem")
	if err := os.WriteFile(file, []byte(ca.CertPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	noProxy := "marker-" + unique() + ".example"
	b := builder(t, map[string]string{"NODE_EXTRA_CA_CERTS": file, "no_proxy": noProxy})
	if !strings.Contains(string(b.extraCertificates()), ca.CertPEM) {
		t.Fatal("the certificate does not reach the build")
	}
	content, err := dockerfile("claude")
	if err != nil {
		t.Fatal(err)
	}
	ref := "bot-bottle-test/claude:" + unique()
	prepare := func() (job, error) { return b.job(content) }
	if err := b.build(t.Context(), ref, func(s string) { t.Log(s) }, prepare); err != nil {
		t.Fatal(err)
	}
	remove(t, b.Client, ref)
	block, _ := pem.Decode([]byte(ca.CertPEM))
	absent(t, b.Client, ref, block.Bytes, strings.Split(ca.CertPEM, "\n")[1], "extra-ca.pem", noProxy)
}

// absent fails the test if a name or a byte sequence is in an image's history or layers.
func absent(t *testing.T, c *client.Client, ref string, der []byte, texts ...string) {
	t.Helper()
	history, err := c.ImageHistory(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range history.Items {
		for _, text := range texts {
			if strings.Contains(item.CreatedBy, text) || strings.Contains(item.Comment, text) {
				t.Errorf("%q is in the history: %s", text, item.CreatedBy)
			}
		}
	}
	saved, err := c.ImageSave(t.Context(), []string{ref})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = saved.Close() }()
	wanted := [][]byte{der}
	for _, text := range texts {
		wanted = append(wanted, []byte(text))
	}
	files := 0
	walk(t, saved, func(name string, content io.Reader) {
		files++
		for _, found := range search(t, content, wanted) {
			t.Errorf("%q is in %s", found, name)
		}
		for _, text := range texts {
			if strings.Contains(name, text) {
				t.Errorf("there is a file %s", name)
			}
		}
	})
	if files < 100 {
		t.Errorf("looked at %d files only", files)
	}
}

// walk calls see for each file of an archive, and of the archives in it.
func walk(t *testing.T, archive io.Reader, see func(string, io.Reader)) {
	t.Helper()
	entries := tar.NewReader(archive)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content := bufio.NewReaderSize(entries, 1024)
		if magic, _ := content.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
			if unzipped, err := gzip.NewReader(content); err == nil {
				content = bufio.NewReaderSize(unzipped, 1024)
			}
		}
		if head, _ := content.Peek(262); len(head) == 262 && string(head[257:262]) == "ustar" {
			walk(t, content, see)
			continue
		}
		see(entry.Name, content)
	}
}

// search returns those sequences that a stream holds.
func search(t *testing.T, content io.Reader, wanted [][]byte) (found []string) {
	t.Helper()
	const overlap = 4096 // longer than any sequence
	window := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(content, window[len(window):cap(window)])
		window = window[:len(window)+n]
		for _, sequence := range wanted {
			if bytes.Contains(window, sequence) {
				found = append(found, string(sequence))
			}
		}
		if err != nil {
			return found // the end; a damaged gzip stream was not one
		}
		window = append(window[:0], window[len(window)-overlap:]...)
	}
}

// An image that is there is taken as it is; asked for again it is built, each step from what the
// engine remembers, and without that each step anew.
func TestBuiltAgain(t *testing.T) {
	b := builder(t, nil)
	ref, file := "bot-bottle-test/again:"+unique(), []byte("FROM "+Base+"\nRUN cat /proc/sys/kernel/random/uuid >/word # "+unique()+"\n")
	ensure := func(b Builder) (id string, built bool) {
		t.Helper()
		got, err := b.ensure(t.Context(), ref, func(string) { built = true }, func() (job, error) { return b.job(file) })
		if err != nil {
			t.Fatal(err)
		}
		return got.ID, built
	}
	first, built := ensure(b)
	remove(t, b.Client, first)
	if again, anew := ensure(b); !built || again != first || anew {
		t.Errorf("it is there: got %s after %s, built %t", again, first, anew)
	}
	b.Again = true
	if again, anew := ensure(b); again != first || !anew {
		t.Errorf("again: got %s after %s, built %t", again, first, anew)
	}
	b.NoCache = true
	again, anew := ensure(b)
	if again == first || !anew {
		t.Errorf("without what is remembered: got %s after %s, built %t", again, first, anew)
	}
	remove(t, b.Client, ref)
}

// A newer base image is looked for where it is a registry's; what is built on an image of ours has
// none there, and a Dockerfile of the operator's says itself what it is built on.
func TestANewerBaseIsARegistrys(t *testing.T) {
	for ref, want := range map[string]bool{"bot-bottle/claude:1": true, "bot-bottle/sidecar:1": true, customName + ":1": false, LayerName + ":1": false} {
		b := Builder{Getenv: func(string) string { return "" }}
		if b.options(ref, job{}).PullParent {
			t.Errorf("%s: one is looked for that nobody asked for", ref)
		}
		b.Pull = true
		if got := b.options(ref, job{}).PullParent; got != want {
			t.Errorf("%s: got %t", ref, got)
		}
	}
}
