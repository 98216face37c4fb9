package gitgate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/need"
	server "github.com/bot-bottle/bot-bottle/test/sshd"
)

// binary is our own program, which git runs as its hook.
var binary string

func TestMain(m *testing.M) {
	if dir := os.Getenv(envGate); dir != "" {
		os.Exit(runAsGate(dir))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gitgate-test-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "bot-bottle")
		build := exec.Command("go", "build", "-o", binary, "../../../cmd/bot-bottle")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build bot-bottle: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// lab is an upstream behind a real sshd, a gate in front of it, and whoever is in the bottle.
type lab struct {
	t        *testing.T
	dir      string
	upstream string // the bare repository
	ssh      sshd
	config   control.GitConfig
	desk     *desk
	url      string // of the repository at the gate
	root     string // of the gate
	events   *lines
	patience time.Duration  // of the gate; 0 for its own
	holder   control.Holder // in the desk's place; nil for the desk

	server *Server
	stop   func()
}

// sshd is a real one.
type sshd struct {
	port       int
	user       string // whom it lets in
	key        string // a client's private key
	knownHosts string
	print      string // fingerprint of the host key

	stop    func()
	restart func(*testing.T) // at the same port, with another host key
	drop    func()           // the connections that there are
	logins  func() int       // so far
}

func startSSH(t *testing.T) sshd {
	t.Helper()
	if err := server.Available(); err != nil {
		need.Lacking(t, need.Tools, err)
	}
	s, err := server.Start(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return sshd{
		port: s.Port, user: s.User, key: read(t, s.KeyFile), knownHosts: s.KnownHosts("127.0.0.1"), print: s.Fingerprint, stop: s.Close, drop: s.Drop, logins: s.Logins,
		restart: func(t *testing.T) {
			if err := s.Impersonate(); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// newLab starts everything. The upstream has one commit on main.
func newLab(t *testing.T, change ...func(*control.GitConfig)) *lab {
	t.Helper()
	t.Parallel()
	l := &lab{t: t, dir: t.TempDir(), ssh: startSSH(t), events: &lines{}, desk: newDesk()}
	l.upstream = filepath.Join(l.dir, "upstream.git")
	l.git("/", "init", "-q", "--bare", "-b", "main", l.upstream)
	seed := filepath.Join(l.dir, "seed")
	l.git("/", "init", "-q", "-b", "main", seed)
	write(t, filepath.Join(seed, "README.md"), "# widget\n")
	l.git(seed, "add", ".")
	l.git(seed, "commit", "-q", "-m", "the beginning")
	l.git(seed, "push", "-q", l.upstream, "main")
	l.config = control.GitConfig{
		Bottle: "tester-abcdef", Name: "Agent", Email: "agent@acme.example",
		Known: []control.Secret{{Name: "DEPLOY_TOKEN", Value: "s3cr3t-d3pl0y-t0k3n-42", Placeholder: "bb-placeholder-deploy-7731"}},
		Repositories: []control.GitRepository{{
			Name: "widget", Upstream: l.address(), Places: []string{"widget", "git.example/acme/widget"},
			Key: l.ssh.key, KnownHosts: l.ssh.knownHosts,
			Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
		}},
	}
	for _, c := range change {
		c(&l.config)
	}
	l.start()
	return l
}

func (l *lab) address() string {
	return fmt.Sprintf("ssh://%s@127.0.0.1:%d%s", l.ssh.user, l.ssh.port, l.upstream)
}

// start starts the gate; stop ends it.
func (l *lab) start() {
	l.t.Helper()
	holder := l.holder
	if holder == nil {
		holder = l.desk
	}
	server, err := New(l.config, Options{
		Dir: filepath.Join(l.dir, "gate"), Keys: filepath.Join(l.dir, "keys"), Self: binary,
		Events: audit.NewWriter(l.events), Log: slog.New(slog.NewTextHandler(l.t.Output(), nil)), Holder: holder,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.server = server
	if l.patience > 0 {
		server.patience = l.patience
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(l.stop)
	l.root = "http://" + listener.Addr().String()
	l.url = l.root + "/widget.git"
}

// clone is a working copy in the bottle.
func (l *lab) clone(args ...string) string {
	l.t.Helper()
	dir := filepath.Join(l.t.TempDir(), "work")
	l.git("/", append(append([]string{"clone", "-q"}, args...), l.url, dir)...)
	return dir
}

// commit writes a file and commits it.
func (l *lab) commit(work, path, content string) string {
	l.t.Helper()
	write(l.t, filepath.Join(work, path), content)
	l.git(work, "add", "-A")
	l.git(work, "commit", "-q", "-m", "change "+path)
	return strings.TrimSpace(l.git(work, "rev-parse", "HEAD"))
}

// git runs git in the bottle; it must succeed.
func (l *lab) git(dir string, args ...string) string {
	l.t.Helper()
	out, err := l.try(dir, args...)
	if err != nil {
		l.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs git, which must fail and say why.
func (l *lab) refused(dir, why string, args ...string) string {
	l.t.Helper()
	out, err := l.try(dir, args...)
	if err == nil || !strings.Contains(out, why) {
		l.t.Fatalf("git %s: %v, which does not say %q:\n%s", strings.Join(args, " "), err, why, out)
	}
	return out
}

// gitWith runs git with something on its standard input; it must succeed.
func (l *lab) gitWith(dir, stdin string, args ...string) string {
	l.t.Helper()
	return run(l.t, dir, strings.NewReader(stdin), "git", args...)
}

func (l *lab) try(dir string, args ...string) (string, error) {
	c := exec.CommandContext(l.t.Context(), "git", args...)
	c.Dir = dir
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Agent", "GIT_AUTHOR_EMAIL=agent@acme.example", "GIT_COMMITTER_NAME=Agent", "GIT_COMMITTER_EMAIL=agent@acme.example",
	}
	out, err := c.CombinedOutput()
	return string(out), err
}

// theirs is what a ref is upstream, "" for none.
func (l *lab) theirs(ref string) string {
	l.t.Helper()
	out, _ := l.try(l.upstream, "rev-parse", "--verify", "--quiet", ref)
	return strings.TrimSpace(out)
}

// hook makes the upstream refuse, or take its time.
func (l *lab) hook(name, script string) {
	l.t.Helper()
	path := filepath.Join(l.upstream, "hooks", name)
	write(l.t, path, script)
	if err := os.Chmod(path, 0o755); err != nil {
		l.t.Fatal(err)
	}
}

func run(t *testing.T, dir string, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir, c.Stdin = dir, stdin
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// lines is what was recorded.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// desk is the operator's side: the real ledger.
type desk struct {
	mu      sync.Mutex
	ledger  *requests.Ledger
	diffs   map[string]string
	changed chan struct{}
}

func newDesk() *desk {
	return &desk{ledger: requests.New("t"), diffs: make(map[string]string), changed: make(chan struct{})}
}

func (d *desk) tell() { close(d.changed); d.changed = make(chan struct{}) }

func (d *desk) Hold(_ context.Context, p control.HeldPush) (requests.Request, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.ledger.Ask(time.Now(), policy.Policy{}, requests.Ask{Kind: requests.Pushing, Push: &p.Push})
	d.diffs[r.ID] = p.Text
	d.tell()
	return r, err
}

func (d *desk) Decision(ctx context.Context, id string, atMost time.Duration) (requests.Request, error) {
	timer := time.After(atMost)
	for {
		d.mu.Lock()
		r, err := d.ledger.Get(id)
		changed := d.changed
		d.mu.Unlock()
		if err != nil || r.State != requests.Pending {
			return r, err
		}
		select {
		case <-changed:
		case <-timer:
			return r, nil
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

func (d *desk) Done(_ context.Context, id, result string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.ledger.Finish(id, result)
	d.tell()
	return err
}

func (d *desk) Again(_ context.Context, id, why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.ledger.Reopen(id, why)
	d.tell()
	return err
}

func (d *desk) Pushed(_ context.Context, p control.Pushed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.diffs[p.Key] = p.Text
	d.tell()
	return nil
}

// decide decides the push that came last, and returns what became of it: it is pushed or not, or it waits again.
func (d *desk) decide(t *testing.T, approve bool) requests.Request {
	t.Helper()
	d.mu.Lock()
	all := d.ledger.All()
	d.mu.Unlock()
	return d.decideOn(t, all[len(all)-1].ID, approve)
}

// decideOn decides one push.
func (d *desk) decideOn(t *testing.T, id string, approve bool) requests.Request {
	t.Helper()
	d.mu.Lock()
	last, err := d.ledger.Get(id)
	if err != nil {
		d.mu.Unlock()
		t.Fatal(err)
	}
	shown := d.ledger.Show(last, policy.Policy{})
	r, err := d.ledger.Decide(time.Now(), last.ID, policy.Policy{}, requests.Decision{Digest: shown.Digest, Approve: approve, Reason: "no"})
	d.tell()
	d.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for approve && r.State == requests.Approved && r.Decided.Result == "" {
		d.mu.Lock()
		changed := d.changed
		r, err = d.ledger.Get(last.ID)
		d.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if r.State != requests.Approved || r.Decided.Result != "" {
			break
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("nothing became of the approved push")
		}
	}
	return r
}

func (p *places) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
