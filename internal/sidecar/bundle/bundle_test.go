package bundle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// TestMain lets the bundle start this very binary as its service.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sidecar" && os.Args[2] == string(control.GitGate) {
		fakeGate()
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "sidecar" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			fmt.Fprintf(os.Stderr, "%s%d\n", lookedUp, time.Now().UnixNano())
			return nil, errors.New("nobody is asked here")
		}}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := ServeChild(ctx, control.Service(os.Args[2]), nil, os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fakeGate is a gate without git: it says on stderr what it goes by.
func fakeGate() {
	config, err := io.ReadAll(os.Stdin)
	_, link, handedErr := handed()
	if err := errors.Join(err, handedErr); err != nil || bytes.Contains(config, []byte("broken")) {
		fmt.Println(`{"error":"it is broken"}`)
		return
	}
	fmt.Fprintf(os.Stderr, "the gate begins with %s\n", config)
	fmt.Println(`{"ready":true}`)
	hear(link, func(config json.RawMessage) error {
		fmt.Fprintf(os.Stderr, "the gate goes on with %s\n", config)
		return nil
	})
}

// lookedUp is what a service says that looks a name up, before the time in nanoseconds.
const lookedUp = "A NAME WAS LOOKED UP AT "

const realKey = "sk-real-REALrealREALreal"

func config(t *testing.T) control.BundleConfig {
	t.Helper()
	ca, err := pki.NewCA("dev-abcdef", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return control.BundleConfig{Bottle: "dev-abcdef", Egress: &control.EgressConfig{
		Bottle: "dev-abcdef", CACert: ca.CertPEM, CAKey: ca.KeyPEM,
		Routes:  []policy.Route{{Host: "api.example", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "KEY"}}},
		Secrets: []control.Secret{{Name: "KEY", Value: realKey, Placeholder: "sk-placeholder-0123456789"}},
	}}
}

// running is a bundle under test.
type running struct {
	dir    string
	out    *bufio.Reader
	pipe   *os.File // that out reads
	stderr *shared
	begin  string // the first line of the log
	cancel context.CancelFunc
	ended  chan error
}

// shared is a buffer that several services write to.
type shared struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// launch starts a bundle whose services are the program self.
func launch(t *testing.T, self string, document any) *running {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bundle") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{dir: dir, out: bufio.NewReader(reader), pipe: reader, stderr: &shared{}, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		err := Run(ctx, Options{Stdin: bytes.NewReader(data), Stdout: writer, Stderr: r.stderr, SocketDir: dir, ControlSocket: filepath.Join(dir, "control"), Self: self})
		_ = writer.Close()
		r.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		_ = reader.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, r.out)
		_ = reader.Close()
		_ = os.RemoveAll(dir)
	})
	return r
}

// line reads the next line. One that never comes fails the test, and does not hang it.
func (r *running) line(t *testing.T, v any) string {
	t.Helper()
	if err := r.pipe.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v after %q", err, line)
	}
	if err := json.Unmarshal([]byte(line), v); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return line
}

func (r *running) awaitReady(t *testing.T) {
	t.Helper()
	var ready control.Ready
	if line := r.line(t, &ready); !ready.Ready || ready.Error != "" {
		t.Fatalf("got %s", line)
	}
	var e audit.Event
	if r.begin = r.line(t, &e); e.Kind != audit.Begin {
		t.Fatalf("got %s", r.begin)
	}
}

// lookup asks the egress service whether a name exists.
func (r *running) lookup(t *testing.T, name string) string {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", filepath.Join(r.dir, "egress.sock"))
		},
	}}
	response, err := client.Get("http://egress.bot-bottle/.bot-bottle/v1/lookup?name=" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// script is a fake service.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBundleServesAndStops(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	if got := r.lookup(t, "api.example"); !strings.Contains(got, "true") {
		t.Errorf("got %s", got)
	}
	if got := r.lookup(t, "evil.example"); !strings.Contains(got, "false") {
		t.Errorf("got %s", got)
	}
	var e audit.Event
	if r.line(t, &e); e.Kind != audit.Lookup || e.Host != "evil.example" || e.Service != "egress" {
		t.Errorf("got %+v", e)
	}
	info, err := os.Stat(filepath.Join(r.dir, "egress.sock"))
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("got %v, %v", info, err)
	}
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("got %v", err)
	}
	if strings.Contains(r.stderr.String(), realKey) {
		t.Error("a secret on stderr")
	}
}

func TestBundleThatCannotStartSaysWhy(t *testing.T) {
	broken := config(t)
	broken.Egress.Routes[0].Auth.Secret = "NOBODY"
	for name, c := range map[string]struct {
		self     string
		document any
		want     string
	}{
		"route without secret": {self(t), broken, "NOBODY"},
		"no such program":      {"/nonexistent", config(t), "egress did not start"},
		"ends at once":         {script(t, "exit 3"), config(t), "exit status 3"},
		"says nonsense":        {script(t, "echo hello; exec sleep 60"), config(t), "did not say that it is ready"},
		"unknown field":        {self(t), map[string]any{"bottle": "x", "later": realKey}, "not what this version reads"},
		"not an object":        {self(t), realKey, "not what this version reads"},
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, c.self, c.document)
			var ready control.Ready
			line := r.line(t, &ready)
			err := <-r.ended
			if ready.Ready || !strings.Contains(ready.Error, c.want) || err == nil {
				t.Errorf("got %s, %v; want %s", line, err, c.want)
			}
			if strings.Contains(line, realKey) || strings.Contains(fmt.Sprint(err), realKey) {
				t.Errorf("a secret in %s, %v", line, err)
			}
		})
	}
}

// Whoever ends a bundle on a host sees by its control socket that it has ended: nothing comes into the log
// after that, also where a service does not end when it is asked to.
func TestItListensUntilItsLogIsWhole(t *testing.T) {
	r := launch(t, script(t, `trap '' TERM; echo '{"ready":true}'; while :; do sleep 0.1; done`), config(t))
	r.awaitReady(t)
	r.cancel()
	for {
		conn, err := net.Dial("unix", filepath.Join(r.dir, "control"))
		if err != nil {
			break
		}
		_ = conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	if said := r.saidSoFar(t); !strings.Contains(said, `"`+audit.End+`"`) {
		t.Errorf("nobody listens, and the log has %q", said)
	}
	<-r.ended
}

// saidSoFar is what there is to read, without a wait for more.
func (r *running) saidSoFar(t *testing.T) string {
	t.Helper()
	said, _ := r.out.Peek(r.out.Buffered())
	more := make([]byte, 64<<10)
	conn, err := r.pipe.SyscallConn()
	if err == nil {
		err = errors.Join(r.pipe.SetReadDeadline(time.Time{}), conn.Read(func(fd uintptr) bool {
			n, _ := syscall.Read(int(fd), more) // nothing: EAGAIN
			more = more[:max(n, 0)]
			return true
		}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(said) + string(more)
}

// Attack H5: a service that writes a line which cannot be recorded goes on unrecorded.
func TestAttackH5_WhoCannotBeRecordedStops(t *testing.T) {
	r := launch(t, script(t, `echo '{"ready":true}'; head -c 200000 /dev/zero | tr '\0' x; echo; echo '{"event":"late"}'; exec sleep 60`), config(t))
	r.awaitReady(t)
	var e audit.Event
	if line := r.line(t, &e); e.Kind != audit.Lifecycle || !strings.Contains(e.Reason, "too long") {
		t.Errorf("got %s", line)
	}
}

// Attack C10: secrets where others of the same machine can read them: the arguments and
// the environment of the service's process.
func TestAttackC10_ArgumentsAndEnvironmentAreEmpty(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	r := launch(t, script(t, `{ echo "$@"; env; } > `+seen+`; cat > /dev/null; echo '{"ready":true}'; exec sleep 60`), config(t))
	r.awaitReady(t)
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(got)) { // the shell makes these itself
		if line != "sidecar egress\n" && !strings.HasPrefix(line, "PWD=") && !strings.HasPrefix(line, "SHLVL=") && !strings.HasPrefix(line, "_=") && !strings.HasPrefix(line, "OLDPWD") {
			t.Errorf("got %q", line)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestBundleWithoutALogEnds(t *testing.T) {
	data, _ := json.Marshal(config(t))
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := Run(context.Background(), Options{Stdin: bytes.NewReader(data), Stdout: full{}, Stderr: io.Discard, SocketDir: dir, Self: self(t)}); err == nil {
		t.Error("runs on")
	}
}

// Attack J4, H5: the audit log is filled, so that the disk is full or the engine drops
// what came first. The bundle ends instead.
func TestAttackJ4_AFullLogEndsTheTraffic(t *testing.T) {
	var cause error
	l := newLog(io.Discard, config(t), func(err error) { cause = err })
	if err := l.begin(nil); err != nil {
		t.Fatal(err)
	}
	l.written = maxAudit - 1000
	l.record("egress", audit.Event{Kind: audit.Request})
	if cause != nil {
		t.Fatalf("ended early: %v", cause)
	}
	l.written = maxAudit - 10
	l.record("egress", audit.Event{Kind: audit.Request})
	if full := (*outputError)(nil); !errors.As(cause, &full) {
		t.Errorf("got %v", cause)
	}
}

// Attack J4, H5: the agent fills the disk on which the engine keeps the log. The bundle ends when the log still
// has room to say so, and does not begin.
func TestAttackJ4_AFullDiskEndsTheTraffic(t *testing.T) {
	var cause error
	var said bytes.Buffer
	l := newLog(&said, config(t), func(err error) { cause = err })
	full := errors.New("no room")
	l.room = func() error { return full }
	if err := l.begin(nil); err != nil {
		t.Fatal(err)
	}
	l.record("egress", audit.Event{Kind: audit.Request, Path: "/last"})
	l.end(cause)
	if !errors.As(cause, new(*outputError)) || !strings.Contains(said.String(), "/last") || !strings.Contains(said.String(), `"event":"end","reason":"cannot write the audit log: no room"`) {
		t.Errorf("got %v, and in the log %s", cause, said.String())
	}
	data, err := json.Marshal(config(t))
	if err != nil {
		t.Fatal(err)
	}
	said.Reset()
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	gone := filepath.Join(dir, "gone") // nobody can say how much room there is
	if err := Run(t.Context(), Options{Stdin: bytes.NewReader(data), Stdout: &said, Stderr: io.Discard, SocketDir: dir, ControlSocket: filepath.Join(dir, "control"), Self: script(t, `echo '{"ready":true}'; exec sleep 60`), LogDir: gone}); err == nil || !strings.HasPrefix(said.String(), `{"ready":false,"error":"cannot write the audit log: cannot see`) {
		t.Errorf("it begins: %v, %s", err, said.String())
	}
}

// A bottle ends when nobody is there to take its bundle down: its starter was killed, or
// let go of it. The bundle ends by itself, its log in good order, and with it go the keys.
func TestTheBundleEndsWithItsBottle(t *testing.T) {
	r := launch(t, script(t, fmt.Sprintf(`echo '{"ready":true}'; cat >/dev/null; exit %d`, control.ExitGuestGone)), config(t))
	r.awaitReady(t)
	var e audit.Event
	for _, want := range []string{audit.Lifecycle, audit.End} {
		if line := r.line(t, &e); e.Kind != want {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	if err := <-r.ended; err != nil {
		t.Errorf("got %v", err)
	}
}
