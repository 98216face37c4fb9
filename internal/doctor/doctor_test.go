package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// one is the only finding whose text holds want.
func one(t *testing.T, all []bottle.Finding, want string) bottle.Finding {
	t.Helper()
	var found []bottle.Finding
	for _, f := range all {
		if strings.Contains(f.Text, want) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d findings say %q: %+v", len(found), want, all)
	}
	return found[0]
}

func is(t *testing.T, f bottle.Finding, level bottle.Level, fix string) {
	t.Helper()
	if f.Level != level || !strings.Contains(f.Fix, fix) || (level != bottle.LevelOK) != (f.Fix != "") {
		t.Errorf("got %+v; want %s with %q", f, level, fix)
	}
}

func (h Host) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(h.Home, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestHome(t *testing.T) {
	h := Host{Home: filepath.Join(t.TempDir(), "bb")}
	is(t, one(t, h.home(t.Context()), "there is no"), bottle.LevelProblem, "bot-bottle init")
	if err := os.WriteFile(h.Home, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is(t, one(t, h.home(t.Context()), "is not a directory"), bottle.LevelProblem, "move it")
	if err := os.Remove(h.Home); err != nil {
		t.Fatal(err)
	}
	h.write(t, "bottles/dev.md", "---\n---\n")
	is(t, one(t, h.home(t.Context()), "no agent"), bottle.LevelProblem, "bot-bottle init")
	h.write(t, "agents/a.md", "---\nbottle: dev\n---\n")
	is(t, one(t, h.home(t.Context()), "1 agent, 1 bottle, no problem"), bottle.LevelOK, "")
	h.write(t, "agents/b.md", "---\nbottle: dve\n---\n")
	is(t, one(t, h.home(t.Context()), "1 problem in"), bottle.LevelProblem, "bot-bottle validate")
	if entries, err := os.ReadDir(h.Home); err != nil || len(entries) != 2 {
		t.Errorf("it leaves something behind: %v, %v", entries, err)
	}
}

func TestFixClosesWhatIsOpen(t *testing.T) {
	h := Host{Home: t.TempDir()}
	h.write(t, "state/x", "")
	for _, dir := range []string{h.Home, h.Home + "/state"} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // what is to be found
			t.Fatal(err)
		}
	}
	is(t, one(t, h.home(t.Context()), "others may look into "+h.Home+"/state"), bottle.LevelNote, "--fix")
	done, err := h.Fix()
	if err != nil || len(done) != 2 || len(h.Loose()) != 0 {
		t.Errorf("got %v, %v; still %v", done, err, h.Loose())
	}
	if done, err := h.Fix(); err != nil || len(done) != 0 {
		t.Errorf("again: got %v, %v", done, err)
	}
}

// Fix follows no link: somebody else may have put it there.
func TestFixFollowsNoLink(t *testing.T) {
	h, other := Host{Home: t.TempDir()}, t.TempDir()
	if err := errors.Join(os.Chmod(other, 0o755), os.Symlink(other, h.Home+"/state")); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	if _, err := h.Fix(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(other); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func fakePrograms(t *testing.T, says map[string]string) {
	dir := t.TempDir()
	for name, words := range says {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+words+"' >&2\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/sh", filepath.Join(dir, "sh")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

func TestTools(t *testing.T) {
	fakePrograms(t, map[string]string{"git": "git version 2.20.1", "ssh": "OpenSSH_9.2p1 Debian-2, OpenSSL 3", "op": "2"})
	all := Host{}.tools(t.Context())
	is(t, one(t, all, "version 2.20.1 is too old"), bottle.LevelProblem, "newer git")
	is(t, one(t, all, "version 9.2p1"), bottle.LevelOK, "")
	is(t, one(t, all, "the dashboard's panes"), bottle.LevelNote, "install tmux")
	is(t, one(t, Host{}.keepers(t.Context()), "op"), bottle.LevelOK, "")
	fakePrograms(t, map[string]string{"ssh": "?"})
	all = Host{}.tools(t.Context())
	is(t, one(t, all, "start --cwd and pull"), bottle.LevelProblem, "install git")
	is(t, one(t, all, "does not say its version"), bottle.LevelNote, "ssh -V")
	is(t, one(t, Host{}.keepers(t.Context()), "no program that keeps secrets"), bottle.LevelNote, "docs/secrets.md")
}

func TestTerminal(t *testing.T) {
	for name, c := range map[string]struct {
		env   map[string]string
		want  string
		level bottle.Level
	}{
		"good":    {map[string]string{"TERM": "xterm-256color", "LANG": "de_DE.utf8"}, "xterm-256color, de_DE.utf8", bottle.LevelOK},
		"dumb":    {map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, "dumb", bottle.LevelNote},
		"ascii":   {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C"}, "not UTF-8 (C)", bottle.LevelNote},
		"in tmux": {map[string]string{"TERM": "xterm", "LANG": "C.UTF-8", "TMUX": "/x"}, "tmux-256color", bottle.LevelNote},
	} {
		t.Run(name, func(t *testing.T) {
			h := Host{Getenv: func(name string) string { return c.env[name] }}
			if f := one(t, h.terminal(t.Context()), c.want); f.Level != c.level {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	h := Host{Getenv: func(name string) string { return map[string]string{"https_proxy": "http://p:1"}[name] }}
	is(t, one(t, h.trust(t.Context()), "https_proxy is set"), bottle.LevelNote, "upstream_proxy")
}

func TestWhomTheHostBelieves(t *testing.T) {
	_, roots := signed(t, "CA", "api.example", time.Now().Add(time.Hour))
	is(t, judgeRoots(roots, nil), bottle.LevelOK, "")
	is(t, judgeRoots(nil, errors.New("unreadable")), bottle.LevelProblem, "install ca-certificates")
	if runtime.GOOS == "linux" {
		is(t, judgeRoots(x509.NewCertPool(), nil), bottle.LevelProblem, "install ca-certificates")
	}
}

// signed is a certificate for host by an authority that signed itself.
func signed(t *testing.T, authority, host string, until time.Time) (chain []*x509.Certificate, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(c, parent *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: authority}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	root := make(ca, ca)
	leaf := make(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{host}, NotAfter: until}, root)
	roots = x509.NewCertPool()
	roots.AddCert(root)
	return []*x509.Certificate{leaf, root}, roots
}

func TestWhoLooksIntoTLS(t *testing.T) {
	now := time.Now()
	chain, roots := signed(t, "Corp Inspection CA", "api.example", now.Add(time.Hour))
	old, oldRoots := signed(t, "Corp Inspection CA", "api.example", now.Add(-time.Hour))
	_, others := signed(t, "Web CA", "api.example", now.Add(time.Hour))
	is(t, judge("api.example", chain, now, roots, roots), bottle.LevelOK, "")
	f := judge("api.example", chain, now, roots, others)
	if is(t, f, bottle.LevelNote, "egress believes"); !strings.Contains(f.Text, `looks into TLS: its certificate is from "Corp Inspection CA"`) {
		t.Errorf("got %+v", f)
	}
	is(t, judge("api.example", chain, now, others, others), bottle.LevelProblem, "add its CA")
	is(t, judge("other.example", chain, now, roots, roots), bottle.LevelProblem, "add its CA")
	is(t, judge("api.example", old, now, oldRoots, oldRoots), bottle.LevelProblem, "set the clock")
}

func TestThePublicWebHasRoots(t *testing.T) {
	if pool := public(); pool.Equal(x509.NewCertPool()) {
		t.Error("there are none")
	}
}

// backend can be used or not.
type backend struct {
	bottle.Backend
	name string
	err  error
}

func (b backend) Name() string                    { return b.name }
func (b backend) Available(context.Context) error { return b.err }

// One backend that works is enough; without one each is a problem.
func TestOneBackendIsEnough(t *testing.T) {
	works, broken := backend{name: "docker"}, backend{name: "smolmachines", err: errors.New("no smolvm")}
	for name, c := range map[string]struct {
		backends []bottle.Backend
		want     bottle.Level
	}{"beside one that works": {[]bottle.Backend{works, broken}, bottle.LevelNote}, "alone": {[]bottle.Backend{broken}, bottle.LevelProblem}} {
		h := Host{Getenv: os.Getenv, Home: t.TempDir(), Backends: c.backends, Now: time.Now}
		if f := one(t, h.Examine(t.Context()), "no smolvm"); f.Level != c.want || f.Area != "smolmachines" {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestFindingsAreInOrder(t *testing.T) {
	h := Host{Getenv: os.Getenv, Home: t.TempDir(), Backends: []bottle.Backend{backend{name: "docker"}}, Now: time.Now}
	var areas []string
	for _, f := range h.Examine(t.Context()) {
		areas = append(areas, f.Area)
	}
	if areas = slices.Compact(areas); areas[0] != "home" || areas[len(areas)-1] != "docker" {
		t.Errorf("got %v", areas)
	}
}
