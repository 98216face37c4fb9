package prove

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// Names of the stand-ins. No other host has them (RFC 2606).
const (
	allowedHost = "allowed.prove.example"
	otherHost   = "other.prove.example"
	wildHost    = "wild.prove.example"
	limitedHost = "limited.prove.example"
	refusedHost = "refused.prove.example"
)

// limit is how many requests the limited host takes.
const limit = 4

// stage is what stands around a bottle that is attacked: upstreams, a git server, and services
// of the host as developers have them. All of it is made for one run.
type stage struct {
	dir      string // for files; removed by close
	address  string // IP that bundles reach this host at
	canary   string
	password string
	upstream *upstream
	git      *githttp.Server
	caFile   string // of the upstream
	gitCA    string
	tcp      []net.Listener
	udp      []net.PacketConn
	ports    [2]string

	mu      sync.Mutex
	visits  []string // to the services of the host
	serving sync.WaitGroup
}

// newStage starts everything. The caller closes it.
func newStage(ctx context.Context, address string) (s *stage, err error) {
	s = &stage{address: address, canary: "bbp" + random(6) + random(16), password: random(12)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "bot-bottle-prove-"); err != nil {
		return s, err
	}
	if s.upstream, err = newUpstream(address, s.canary); err != nil {
		return s, err
	}
	if err = s.startGit(ctx); err != nil {
		return s, err
	}
	s.caFile, s.gitCA = filepath.Join(s.dir, "ca.pem"), filepath.Join(s.dir, "git-ca.pem")
	if err = errors.Join(os.WriteFile(s.caFile, []byte(s.upstream.ca), 0o600), os.WriteFile(s.gitCA, []byte(s.git.CA), 0o600)); err != nil {
		return s, err
	}
	return s, s.startHost()
}

// random is 2n hexadecimal digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// startGit serves a repository with one commit on main, and another that is not declared.
func (s *stage) startGit(ctx context.Context) (err error) {
	work := filepath.Join(s.dir, "work")
	for _, argv := range [][]string{
		{"git", "init", "-q", "-b", "main", work}, {"git", "-C", work, "-c", "user.name=prove", "-c", "user.email=prove@prove.example", "commit", "-q", "--allow-empty", "-m", "first"},
		{"git", "clone", "-q", "--bare", work, s.repository()}, {"git", "clone", "-q", "--bare", work, filepath.Join(s.dir, "repositories", "other.git")},
	} {
		if _, err := hostcmd.OutputWith(ctx, gitEnv(), argv); err != nil {
			return fmt.Errorf("cannot make a repository to attack: %w", err)
		}
	}
	s.git, err = githttp.Start(githttp.Options{Listen: net.JoinHostPort(s.address, "0"), Root: filepath.Join(s.dir, "repositories"), User: "prove", Password: s.password})
	return err
}

func (s *stage) repository() string { return filepath.Join(s.dir, "repositories", "work.git") }

func gitEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0"}
}

// startHost listens on every address, as a database or a development server does.
func (s *stage) startHost() error {
	tcp, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	s.tcp = append(s.tcp, tcp)
	udp, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return err
	}
	s.udp = append(s.udp, udp)
	_, s.ports[0], _ = net.SplitHostPort(tcp.Addr().String())
	_, s.ports[1], _ = net.SplitHostPort(udp.LocalAddr().String())
	s.serving.Go(func() { s.accept(tcp) })
	s.serving.Go(func() { s.receive(udp) })
	return nil
}

func (s *stage) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.visit("tcp from " + conn.RemoteAddr().String())
		_, _ = conn.Write([]byte("a service of the host\n"))
		_ = conn.Close()
	}
}

func (s *stage) receive(l net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		_, from, err := l.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.visit("udp from " + from.String())
		_, _ = l.WriteTo([]byte("a service of the host\n"), from)
	}
}

func (s *stage) visit(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.visits) < 100 {
		s.visits = append(s.visits, what)
	}
}

func (s *stage) visitors() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.visits...)
}

// arena is what the attacks inside are told.
func (s *stage) arena() inside.Arena {
	sum := sha256.Sum256([]byte(s.canary))
	a := inside.Arena{
		Proxy:   "127.0.0.1:3128",
		Allowed: allowedHost, Other: otherHost, Wild: wildHost, Limited: limitedHost, Limit: limit, Refused: refusedHost, Upstream: s.upstream.address,
		Placeholder: canaryName, Canary: inside.Canary{Prefix: s.canary[:15], Length: len(s.canary), SHA256: hex.EncodeToString(sum[:])},
		Repository: s.git.URL(s.address, "work.git"), Undeclared: s.git.URL(s.address, "other.git"),
	}
	for _, ip := range hostAddresses() {
		a.HostTCP = append(a.HostTCP, net.JoinHostPort(ip, s.ports[0]))
		a.HostUDP = append(a.HostUDP, net.JoinHostPort(ip, s.ports[1]))
	}
	return a
}

// hostAddresses are all of this host but loopback and those of one link.
func hostAddresses() (all []string) {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range found {
		ip, _, err := net.ParseCIDR(a.String())
		if err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && len(all) < 16 {
			all = append(all, ip.String())
		}
	}
	return all
}

// Address is where bundles are likely to reach this host: its first IPv4 address that is not
// loopback. "" if it has none.
func Address() string {
	for _, ip := range hostAddresses() {
		if !strings.Contains(ip, ":") {
			return ip
		}
	}
	return ""
}

// close stops everything and removes its files.
func (s *stage) close() error {
	var err error
	if s.upstream != nil {
		s.upstream.close()
	}
	if s.git != nil {
		s.git.Close()
	}
	for _, l := range s.tcp {
		err = errors.Join(err, l.Close())
	}
	for _, l := range s.udp {
		err = errors.Join(err, l.Close())
	}
	s.serving.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// upstream is a TLS server that answers to all the stand-ins' names, and remembers what it was
// asked.
type upstream struct {
	address string
	ca      string // PEM
	canary  string
	server  *http.Server
	done    chan struct{}

	mu   sync.Mutex
	seen []seen
}

// seen is a request as it arrived.
type seen struct {
	host, method, target string
	header               http.Header
	body                 []byte
}

func newUpstream(address, canary string) (*upstream, error) {
	ca, err := pki.NewCA("prove", time.Now())
	if err != nil {
		return nil, err
	}
	issuer, err := pki.NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("cannot listen at %s: %w", address, err)
	}
	u := &upstream{address: listener.Addr().String(), ca: ca.CertPEM, canary: canary, done: make(chan struct{})}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return issuer.Certificate(hello.ServerName)
	}}}
	go func() { defer close(u.done); _ = u.server.ServeTLS(listener, "", "") }()
	return u, nil
}

func (u *upstream) close() {
	_ = u.server.Close()
	<-u.done
}
