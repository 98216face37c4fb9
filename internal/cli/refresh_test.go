package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// bundled is a backend with one running bottle, whose bundle remembers what it is told.
type bundled struct {
	bottle.Backend
	bottle.Bottle
	control.Desk
	mu     sync.Mutex
	told   []control.NewValue
	refuse error
}

func (b *bundled) Name() string                                        { return "docker" }
func (b *bundled) Available(context.Context) error                     { return nil }
func (b *bundled) Open(context.Context, string) (bottle.Bottle, error) { return b, nil }
func (b *bundled) Detach() error                                       { return nil }
func (b *bundled) Policy() control.Policy {
	return control.Policy{Revision: 1, Secrets: []string{"ONE", "TWO"}}
}
func (b *bundled) SetPolicy(int, policy.Policy) (control.Policy, error) { return b.Policy(), nil }

func (b *bundled) SetSecrets(values []control.NewValue) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, values...)
	return b.refuse
}

func (b *bundled) Control(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() { _ = http.Serve(&oneConn{conn: theirs}, control.Handler(b)) }()
	return ours, nil
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	done bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.done {
		return nil, net.ErrClosed
	}
	l.done = true
	return l.conn, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }

// refreshing is an App over a home with a bottle of two secrets.
func refreshing(t *testing.T, b *bundled) (*App, *bytes.Buffer) {
	t.Helper()
	home := t.TempDir()
	manifest := "---\nsecrets:\n  ONE: {file: one}\n  TWO: {command: [cat, " + filepath.Join(home, "two") + "], ttl: 45m}\n---\n"
	if err := errors.Join(
		os.MkdirAll(filepath.Join(home, "bottles"), 0o755), os.WriteFile(filepath.Join(home, "bottles", "dev.md"), []byte(manifest), 0o644),
		os.WriteFile(filepath.Join(home, "bottles", "one"), []byte("first\n"), 0o600), os.WriteFile(filepath.Join(home, "two"), []byte("second\n"), 0o600),
		state.Open(home).Write(state.Metadata{Identity: identity, Bottle: "dev", Backend: "docker"}),
	); err != nil {
		t.Fatal(err)
	}
	stderr := &bytes.Buffer{}
	a, err := newApp(System{
		Stdout: &bytes.Buffer{}, Stderr: stderr, Now: time.Now, LookupEnv: os.LookupEnv,
		Getenv:   func(name string) string { return map[string]string{"BOT_BOTTLE_HOME": home}[name] },
		UserHome: func() (string, error) { return home, nil }, Getwd: func() (string, error) { return home, nil },
		Backends: func(*App) ([]bottle.Backend, error) { return []bottle.Backend{b}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, stderr
}

func TestRefreshFetchesFromTheManifest(t *testing.T) {
	b := &bundled{}
	a, _ := refreshing(t, b)
	names, err := a.refresh(t.Context(), identity, b, nil)
	if err != nil || strings.Join(names, " ") != "ONE TWO" || len(b.told) != 2 || b.told[0].Value != "first" || b.told[1].Value != "second" {
		t.Errorf("got %v, %v, told %v", names, err, b.told)
	}
	if _, err := a.refresh(t.Context(), identity, b, []string{"NONE"}); err == nil || !strings.Contains(err.Error(), "it has ONE, TWO") {
		t.Errorf("got %v", err)
	}
	b.refuse = errors.New("it is not to be")
	if _, err := a.refresh(t.Context(), identity, b, nil); err == nil || !strings.Contains(err.Error(), "not to be") || strings.Contains(err.Error(), "first") {
		t.Errorf("got %v", err)
	}
}

// A secret with a ttl is fetched again and again until its bottle's start ends; what
// goes wrong is told once, and never the secret.
func TestASecretWithATTLIsKeptFresh(t *testing.T) {
	b := &bundled{refuse: errors.New("it is not to be")}
	a, stderr := refreshing(t, b)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.keepOneFresh(ctx, identity, "TWO", 10*time.Millisecond)
	}()
	for {
		b.mu.Lock()
		n := len(b.told)
		b.mu.Unlock()
		if n >= 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-ended
	if said := stderr.String(); strings.Count(said, "not to be") != 1 || strings.Contains(said, "second") || b.told[2].Value != "second" {
		t.Errorf("said %q, told %v", said, b.told)
	}
}
