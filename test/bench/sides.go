package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// upstreamHost is the upstream's name. mitmproxy resolves names itself, so it asks for
// localhost.
const upstreamHost = "api.example.com"

// side is one way to the upstream.
type side struct {
	name    string
	base    string // URL
	roots   *x509.CertPool
	proxy   *url.URL // nil: none
	dial    func(context.Context) (net.Conn, error)
	process *process // between us and the upstream; nil where there is none

	upstream *process
}

// client has a number of connections of its own, on which it speaks HTTP/1.1.
func (s *side) client(connections int) *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		Proxy:               http.ProxyURL(s.proxy),
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		TLSClientConfig:     &tls.Config{RootCAs: s.roots},
		DisableCompression:  true,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
	}}
}

// bottle is what all sides share: an upstream, and the CA that it and egress have.
type bottle struct {
	dir      string
	program  string // bot-bottle
	peer     string // the program of ours
	ca       pki.CA
	roots    *x509.CertPool
	upstream string     // address
	running  []*process // the upstream first
}

func newBottle(ctx context.Context, l *lab.Lab) (_ *bottle, err error) {
	b := &bottle{dir: l.Home, program: l.Binary, roots: x509.NewCertPool()}
	if b.peer, err = build(ctx, l, "peer"); err != nil {
		return nil, err
	}
	if b.ca, err = pki.NewCA("bench", time.Now()); err != nil {
		return nil, err
	}
	b.roots.AppendCertsFromPEM([]byte(b.ca.CertPEM))
	if err := errors.Join(l.Write("bench-ca.pem", b.ca.CertPEM), l.Write("bench-ca.key", b.ca.KeyPEM)); err != nil {
		return nil, err
	}
	p, err := b.startPeer(ctx, "origin")
	if err != nil {
		return nil, err
	}
	b.upstream = p.said
	return b, nil
}

// close ends every process.
func (b *bottle) close() {
	for _, p := range b.running {
		p.end()
	}
}

func (b *bottle) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bottle) startPeer(ctx context.Context, role string, args ...string) (*process, error) {
	return b.start(exec.CommandContext(ctx, b.peer, append([]string{role, b.file("bench-ca.pem"), b.file("bench-ca.key")}, args...)...), nil)
}

func (b *bottle) direct() *side {
	return &side{name: "direct", base: "https://" + upstreamHost, roots: b.roots, dial: to("tcp", b.upstream), upstream: b.running[0]}
}

func to(network, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

func (b *bottle) reverse(ctx context.Context) (*side, error) {
	p, err := b.startPeer(ctx, "reverse", b.upstream)
	if err != nil {
		return nil, err
	}
	return &side{name: "reverse", base: "https://" + upstreamHost, roots: b.roots, dial: to("tcp", p.said), process: p, upstream: b.running[0]}, nil
}

// egress starts a bottle's egress as its bundle does (internal/sidecar/bundle), with a
// secret for the upstream and two more to look for. Nobody keeps its audit log.
func (b *bottle) egress(ctx context.Context) (_ *side, err error) {
	config, err := json.Marshal(control.EgressConfig{
		Bottle: "bench-000000", CACert: b.ca.CertPEM, CAKey: b.ca.KeyPEM,
		Routes: []policy.Route{{
			Host: upstreamHost, CA: b.ca.CertPEM, Address: b.upstream, Private: true,
			Auth: &policy.Auth{Scheme: policy.Header, Header: "x-api-key", Secret: "KEY"},
		}},
		Secrets: []control.Secret{secret("KEY"), secret("OTHER"), secret("THIRD")},
	})
	if err != nil {
		return nil, err
	}
	socket := b.file(fmt.Sprintf("egress-%d.sock", len(b.running)))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	defer func() { _ = ln.Close() }()
	listener, err := ln.File()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	unix.CloseOnExec(pair[0])
	unix.CloseOnExec(pair[1])
	link, theirs := os.NewFile(uintptr(pair[0]), "link"), os.NewFile(uintptr(pair[1]), "link")
	defer func() { _, _ = listener.Close(), theirs.Close() }()
	c := exec.CommandContext(ctx, b.program, "sidecar", string(control.Egress))
	c.Env = []string{}
	c.Stdin = bytes.NewReader(config)
	c.ExtraFiles = []*os.File{listener, theirs}
	p, err := b.start(c, link)
	if err != nil {
		return nil, err
	}
	return &side{name: "egress", base: "https://" + upstreamHost, roots: b.roots, proxy: &url.URL{Scheme: "http", Host: "127.0.0.1:3128"}, dial: to("unix", socket), process: p, upstream: b.running[0]}, nil
}

func secret(name string) control.Secret {
	return control.Secret{Name: name, Value: lab.NewKey(), Placeholder: lab.NewKey()}
}

var errNoRival = errors.New("there is no mitmproxy (scripts/setup --bench installs Debian's)")

// mitmproxy starts Debian's mitmdump, silent, streaming bodies as egress does.
func (b *bottle) mitmproxy(ctx context.Context) (*side, error) {
	program, err := exec.LookPath("mitmdump")
	if err != nil {
		return nil, errNoRival
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	c := exec.CommandContext(ctx, program, "--listen-host", "127.0.0.1", "--listen-port", port, "--flow-detail", "0",
		"--set", "confdir="+b.file("mitmproxy"), "--set", "ssl_verify_upstream_trusted_ca="+b.file("bench-ca.pem"), "--set", "stream_large_bodies=64k")
	c.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	p, err := b.start(c, nil) // its first line says that it listens
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(b.file("mitmproxy/mitmproxy-ca-cert.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	_, port, _ = net.SplitHostPort(b.upstream)
	return &side{name: "mitmproxy", base: "https://localhost:" + port, roots: roots, proxy: &url.URL{Scheme: "http", Host: address}, dial: to("tcp", address), process: p, upstream: b.running[0]}, nil
}

// freeAddress is one that nobody listens on, a moment ago.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// process is a program that runs until it is ended.
type process struct {
	command *exec.Cmd
	said    string // its first line
	stdin   io.Closer
	link    io.Closer // nil where there is none
	drained chan struct{}
}

// start starts a program and waits for its first line; what else it says is thrown away.
func (b *bottle) start(c *exec.Cmd, link io.Closer) (*process, error) {
	p := &process{command: c, link: link, drained: make(chan struct{})}
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	var err error
	if c.Stdin == nil {
		if p.stdin, err = c.StdinPipe(); err != nil {
			return nil, err
		}
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b.running = append(b.running, p)
	lines := bufio.NewReader(stdout)
	first, err := lines.ReadString('\n')
	p.said = strings.TrimSpace(first)
	go func() {
		defer close(p.drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if err != nil || strings.Contains(first, `"ready":false`) {
		p.end()
		return nil, fmt.Errorf("%s did not start: %s%s", c.Args[0], first, &stderr)
	}
	return p, nil
}

// end may be called twice. How the program ends does not matter.
func (p *process) end() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	_ = p.command.Process.Signal(unix.SIGTERM)
	if p.link != nil {
		_ = p.link.Close()
	}
	<-p.drained
	_ = p.command.Wait()
}
