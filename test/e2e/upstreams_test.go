package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// upstreams stand in for the places that tools fetch from, under the names that the
// tools know: one TLS server for all of them.
type upstreams struct {
	port  string
	ca    string // PEM
	repo  string // the bare repository behind git.example/project.git
	token string // the only one that api.example lets in
	hosts map[string]http.Handler

	mu     sync.Mutex
	served []string // host, method and path of each request
}

// handlers says who answers for which name. Each is a route of the bottle.
func (u *upstreams) handlers(t *testing.T) map[string]http.Handler {
	return map[string]http.Handler{
		"open.example":           http.HandlerFunc(answer),
		"api.example":            u.keyed(http.HandlerFunc(answer)),
		"git.example":            u.git(t),
		"pypi.org":               http.HandlerFunc(pypiIndex),
		"files.pythonhosted.org": blob(wheel()),
		"registry.npmjs.org":     http.HandlerFunc(npmRegistry),
		"proxy.golang.org":       http.HandlerFunc(goProxy),
	}
}

// newUpstreams starts them where a bottle's bundle reaches them. They end with the test.
func newUpstreams(t *testing.T, listen string) *upstreams {
	t.Helper()
	ca, err := pki.NewCA("upstreams", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	u := &upstreams{port: port, ca: ca.CertPEM, token: lab.NewKey()}
	u.hosts = u.handlers(t)
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler:           u,
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return issuer.Certificate(hello.ServerName)
		}},
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return u
}

// ServeHTTP implements http.Handler.
func (u *upstreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.served = append(u.served, r.Host+" "+r.Method+" "+r.URL.EscapedPath())
	u.mu.Unlock()
	if handler := u.hosts[r.Host]; handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	http.Error(w, "no such host", http.StatusMisdirectedRequest)
}

// requests lists what has arrived, oldest first.
func (u *upstreams) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.served...)
}

func answer(w http.ResponseWriter, _ *http.Request) { sendJSON(w, map[string]int{"answer": 42}) }

func sendJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// keyed lets in who has the real token.
func (u *upstreams) keyed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+u.token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// git is git's own server, with a repository of one commit that takes pushes.
func (u *upstreams) git(t *testing.T) http.Handler {
	t.Helper()
	root := t.TempDir()
	u.repo = filepath.Join(root, "project.git")
	work := filepath.Join(root, "work")
	run := func(args ...string) {
		t.Helper()
		if out, err := gitCommand(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("init", "-q", "--bare", "-b", "main", u.repo)
	run("-C", u.repo, "config", "http.receivepack", "true")
	run("init", "-q", "-b", "main", work)
	run("-C", work, "commit", "-q", "--allow-empty", "-m", "the first commit")
	run("-C", work, "push", "-q", u.repo, "main")
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	return &cgi.Handler{
		Path: program, Args: []string{"http-backend"}, Root: "/",
		Env:    []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"},
		Logger: log.New(t.Output(), "git: ", 0), Stderr: t.Output(),
	}
}

// gitCommand runs git as nobody in particular, whatever this host's configuration says.
func gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", append([]string{"-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"}, args...)...)
	c.Env = append(c.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	return c
}

func blob(data []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
}

// pypiIndex is a simple index (PEP 503) of one project.
func pypiIndex(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/simple/bottled/" {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(wheel())
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, `<!DOCTYPE html><a href="https://files.pythonhosted.org/packages/%s#sha256=%x">bottled</a>`, wheelName, sum)
}

const wheelName = "bottled-1.0.0-py3-none-any.whl"

// wheel is a package of one module (PEP 427).
func wheel() []byte {
	const info = "bottled-1.0.0.dist-info/"
	return zipped([][2]string{
		{"bottled.py", "answer = 42\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: bottled\nVersion: 1.0.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "bottled.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	})
}

func zipped(files [][2]string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, file := range files {
		w, err := z.Create(file[0])
		if err == nil {
			_, err = w.Write([]byte(file[1]))
		}
		if err != nil {
			panic(err) // memory takes every write
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// npmRegistry holds two packages. npm asks for a scoped one with its slash escaped.
func npmRegistry(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.EscapedPath() {
	case "GET /bottled":
		npmPackument(w, "bottled", "/bottled/-/bottled-1.0.0.tgz")
	case "GET /@corked%2fbottled":
		npmPackument(w, "@corked/bottled", "/@corked/bottled/-/bottled-1.0.0.tgz")
	case "GET /bottled/-/bottled-1.0.0.tgz":
		_, _ = w.Write(npmTarball("bottled"))
	case "GET /@corked/bottled/-/bottled-1.0.0.tgz":
		_, _ = w.Write(npmTarball("@corked/bottled"))
	case "POST /-/npm/v1/security/advisories/bulk": // what npm audits by, in gzip
		sendJSON(w, map[string]any{})
	default:
		http.NotFound(w, r)
	}
}

func npmPackument(w http.ResponseWriter, name, path string) {
	sum := sha512.Sum512(npmTarball(name))
	version := map[string]any{"name": name, "version": "1.0.0", "dist": map[string]string{
		"tarball": "https://registry.npmjs.org" + path, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
	}}
	sendJSON(w, map[string]any{"name": name, "dist-tags": map[string]string{"latest": "1.0.0"}, "versions": map[string]any{"1.0.0": version}})
}

func npmTarball(name string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	archive := tar.NewWriter(z)
	for _, file := range [][2]string{
		{"package/package.json", `{"name": "` + name + `", "version": "1.0.0", "main": "index.js"}`},
		{"package/index.js", "exports.answer = 42\n"},
	} {
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file[0], Mode: 0o644, Size: int64(len(file[1]))})
		if err == nil {
			_, err = archive.Write([]byte(file[1]))
		}
		if err != nil {
			panic(err) // memory takes every write
		}
	}
	if archive.Close() != nil || z.Close() != nil {
		panic("memory takes every write")
	}
	return b.Bytes()
}

// goProxy is a module proxy (go.dev/ref/mod#goproxy-protocol) of one module, which any
// Go of the last years takes.
func goProxy(w http.ResponseWriter, r *http.Request) {
	const module, gomod = "code.example/bottled", "module code.example/bottled\n\ngo 1.19\n"
	info := map[string]string{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}
	switch strings.TrimPrefix(r.URL.Path, "/"+module+"/@") {
	case "v/list":
		_, _ = w.Write([]byte("v1.0.0\n"))
	case "latest", "v/v1.0.0.info":
		sendJSON(w, info)
	case "v/v1.0.0.mod":
		_, _ = w.Write([]byte(gomod))
	case "v/v1.0.0.zip":
		_, _ = w.Write(zipped([][2]string{
			{module + "@v1.0.0/go.mod", gomod}, {module + "@v1.0.0/bottled.go", "package bottled\n\nconst Answer = 42\n"},
		}))
	default:
		http.NotFound(w, r)
	}
}
