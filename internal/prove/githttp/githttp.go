// Package githttp serves bare repositories over smart HTTP for prove, tests and benchmarks, with the
// real git http-backend(1): over TLS with a CA of its own and a password, or in plain.
package githttp

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
)

// Options say what a server is.
type Options struct {
	Listen   string // address, such as 127.0.0.1:0
	Root     string // the directory that holds the repositories
	User     string // who is let in; "" for anybody
	Password string
	Plain    bool // without TLS
}

// Server is one that runs.
type Server struct {
	Address string // host:port
	CA      string // PEM to trust
	http    *http.Server
	done    chan struct{}
	options Options

	mu        sync.Mutex
	password  string
	intercept func(http.ResponseWriter, *http.Request) bool
	seen      []string
}

// Start starts a server. The caller closes it.
func Start(o Options) (*Server, error) {
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{Address: listener.Addr().String(), options: o, password: o.Password, done: make(chan struct{})}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	if o.Plain {
		go func() { defer close(s.done); _ = s.http.Serve(listener) }()
		return s, nil
	}
	ca, err := pki.NewCA("git", time.Now())
	if err != nil {
		return nil, err
	}
	issuer, err := pki.NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(s.Address)
	s.CA = ca.CertPEM
	s.http.TLSConfig = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issuer.Certificate(cmp.Or(hello.ServerName, host))
	}}
	go func() { defer close(s.done); _ = s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

// Close stops it.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// URL of a repository below the root, for a client that knows the server by a name.
func (s *Server) URL(host, path string) string {
	_, port, _ := net.SplitHostPort(s.Address)
	scheme := "https"
	if s.options.Plain {
		scheme = "http"
	}
	return fmt.Sprintf("%s://%s/%s", scheme, net.JoinHostPort(host, port), strings.TrimPrefix(path, "/"))
}

// SetPassword changes who is let in from now on: a token that has expired.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// Intercept lets f answer first; it returns whether it did.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Requests returns the requests so far, "METHOD /path?query" each, and forgets them.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.URL.RequestURI())
	want, intercept := s.password, s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	user, password, _ := r.BasicAuth()
	if s.options.User != "" && (user != s.options.User || password != want) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if err := s.backend(w, r, user); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// backend runs git http-backend, as a CGI program whose body may be of unknown length.
func (s *Server) backend(w http.ResponseWriter, r *http.Request, user string) error {
	c := exec.CommandContext(r.Context(), "git", "-c", "http.receivepack=true", "http-backend")
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_PROJECT_ROOT=" + s.options.Root, "GIT_HTTP_EXPORT_ALL=1",
		"PATH_INFO=" + r.URL.Path, "QUERY_STRING=" + r.URL.RawQuery, "REQUEST_METHOD=" + r.Method, "CONTENT_TYPE=" + r.Header.Get("Content-Type"),
		"HTTP_CONTENT_ENCODING=" + r.Header.Get("Content-Encoding"), "GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"), "REMOTE_USER=" + user,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
	if r.ContentLength > 0 {
		c.Env = append(c.Env, "CONTENT_LENGTH="+strconv.FormatInt(r.ContentLength, 10))
	}
	c.Stdin = r.Body
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer func() { _ = out.Close(); _ = c.Wait() }()
	buffered := bufio.NewReaderSize(out, 64<<10)
	header, err := textproto.NewReader(buffered).ReadMIMEHeader()
	if err != nil {
		return err
	}
	code := http.StatusOK
	if status, _, _ := strings.Cut(header.Get("Status"), " "); status != "" {
		if code, err = strconv.Atoi(status); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", header.Get("Content-Type"))
	w.WriteHeader(code)
	_, err = io.Copy(w, buffered)
	if err != nil {
		_ = c.Process.Kill()
	}
	return nil
}
