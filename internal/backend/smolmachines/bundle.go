package smolmachines

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// What is in a bottle's directory of sockets. Names are short: a socket's path has 104 bytes.
const (
	controlSocket = "control.sock"
	errorsFile    = "errors"
	keysDir       = "k"
	markFile      = "run.json"
)

// maxPath bounds a socket's path on every system (unix(4), unix(7)).
const maxPath = 100

// longest is the longest name of a socket in the directory.
const longest = "/supervise.sock"

// directory chooses where a bottle's sockets are: where only the operator gets, and not in /tmp,
// which a machine's process may write to.
func (d *Driver) directory(owner, identity string) (string, error) {
	for _, base := range d.bases() {
		if dir := filepath.Join(base, directoryName(owner, identity)); len(dir)+len(longest) <= maxPath {
			return dir, nil
		}
	}
	return "", withHint("set XDG_RUNTIME_DIR to a short path", "there is no place for the bottle's sockets: each has too long a path, one with a colon in it, or is somebody else's")
}

// directoryName begins with the home's, since homes may share a place.
func directoryName(owner, identity string) string { return owner[:min(8, len(owner))] + "-" + identity }

// bases are the places to choose from, the best first. smolvm takes what is behind a path's first colon for
// something else; and what another user has made, in a place that all may write to, is not looked into.
func (d *Driver) bases() []string {
	return slices.DeleteFunc(d.places(), func(dir string) bool { return strings.Contains(dir, ":") || somebodyElses(dir) })
}

func somebodyElses(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) != os.Geteuid()
}

func (d *Driver) places() []string {
	var all []string
	if dir := d.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		all = append(all, filepath.Join(dir, "bot-bottle"))
	}
	all = append(all, filepath.Join(filepath.Dir(d.State.CacheDir()), "run"))
	if runtime.GOOS == "linux" {
		return append(all, fmt.Sprintf("/dev/shm/bb-%d", os.Geteuid()))
	}
	return append(all, fmt.Sprintf("/tmp/bb-%d", os.Geteuid()))
}

// makePrivate makes a directory, and makes sure that nobody but the operator has anything to do
// with it: it may be in a place that others can write to.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return withHint("remove it", "%s is not a directory that only you can enter", dir)
	}
	return nil
}

// bundle is a sidecar bundle that this process started. It outlives us.
type bundle struct {
	dir   string
	ended chan struct{}
}

// why says what ended the bundle.
func (b *bundle) why() error {
	return fmt.Errorf("the bottle was taken down, since its sidecar bundle ended: %s", complaint(b.dir))
}

// complaint is the last that a bundle complained of.
func complaint(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, errorsFile))
	if err != nil || len(data) == 0 {
		return "it said nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(data[max(0, len(data)-plain.TailSize):])), "\n")
	return plain.Text(lines[len(lines)-1])
}

// readyLimit bounds the time from a bundle's start to its being ready.
const readyLimit = time.Minute

// startBundle starts the bundle, hands it its configuration and waits until every service
// listens.
func (d *Driver) startBundle(ctx context.Context, p Plan, config control.BundleConfig) (*bundle, error) {
	for _, dir := range []string{filepath.Dir(p.Dir), p.Dir} {
		if err := makePrivate(dir); err != nil {
			return nil, err
		}
	}
	if bundleLives(p.Dir) {
		return nil, fmt.Errorf("a sidecar bundle of %s still runs: bot-bottle cleanup ends it", p.Identity)
	}
	c := exec.Command(d.Self, "sidecar", "host", p.Dir, d.State.AuditFile(p.Identity), d.gitDir(p.Identity), filepath.Join(p.Dir, keysDir))
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b := &bundle{dir: p.Dir, ended: make(chan struct{})}
	ready := make(chan error, 1)
	go func() { ready <- handOver(stdin, stdout, config, p.Dir) }()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(readyLimit):
		err = fmt.Errorf("the sidecar bundle was not ready within %s", readyLimit)
	}
	if err != nil {
		kill(c)
		_ = c.Wait()
		return nil, err
	}
	go func() {
		_ = c.Wait()
		close(b.ended)
	}()
	return b, nil
}

// handOver writes the one document that the bundle reads, and reads its answer.
func handOver(stdin io.WriteCloser, stdout io.Reader, config control.BundleConfig, dir string) error {
	if err := json.NewEncoder(stdin).Encode(config); err != nil {
		return fmt.Errorf("cannot hand the sidecar bundle its configuration: %w", err)
	}
	_ = stdin.Close() // its end means nothing to a bundle
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var r control.Ready
	if err != nil || json.Unmarshal(line, &r) != nil {
		return fmt.Errorf("the sidecar bundle ended before it was ready: %s", complaint(dir))
	}
	if !r.Ready {
		return fmt.Errorf("the sidecar bundle could not start: %s", plain.Text(r.Error))
	}
	return nil
}

func (d *Driver) gitDir(identity string) string { return filepath.Join(d.State.Dir(identity), "git") }

// bundleLives reports whether a bundle listens in a directory.
func bundleLives(dir string) bool {
	if dir == "" { // there is none, and the directory at hand is no bottle's
		return false
	}
	conn, err := net.Dial("unix", filepath.Join(dir, controlSocket))
	if err != nil {
		return crowded(err)
	}
	return conn.Close() == nil
}

// crowded reports whether somebody listens, and takes nobody in: a suspended bundle, whose queue has filled.
func crowded(err error) bool { return errors.Is(err, syscall.EAGAIN) }

// bundleGrace is how long a bundle may take to end when asked; its services take two seconds at most.
const bundleGrace = 10 * time.Second

// endBundle ends the bundle of a directory, whoever started it, and removes the directory. Its log is
// whole then, since a bundle listens until it is. The process is the one that listens: no number of a
// process is remembered that may be another's by now.
func endBundle(ctx context.Context, dir string) error {
	deadline := time.Now().Add(bundleGrace)
	for sent := syscall.Signal(0); ; {
		pid, err := listenerOf(filepath.Join(dir, controlSocket))
		if crowded(err) {
			return withHint("let it go on, or end it: it is the process whose arguments have that directory in them", "the sidecar bundle at %s is suspended and cannot be ended: %w", dir, err)
		}
		if err != nil {
			break // nobody listens
		}
		want := syscall.SIGTERM
		if time.Now().After(deadline) {
			want = syscall.SIGKILL // a stopped one, for example
		}
		if sent != want {
			if err := syscall.Kill(pid, want); err != nil && !errors.Is(err, syscall.ESRCH) { // it has ended by itself
				return fmt.Errorf("cannot end the sidecar bundle: %w", err)
			}
			sent = want
		}
		if time.Since(deadline) > bundleGrace {
			return errors.New("the sidecar bundle does not end")
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return removeDir(dir)
}

func removeDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove the bottle's sockets: %w", err)
	}
	return nil
}

// mark is what is noted of a run once its agent runs.
type mark struct {
	Services []control.Service `json:"services"`
	Started  time.Time         `json:"started"`
}

func writeMark(dir string, m mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return state.WriteFile(filepath.Join(dir, markFile), data)
}

// readMark is false where no agent was seen to run.
func readMark(dir string) (m mark, ok bool) {
	if dir == "" { // as bundleLives
		return m, false
	}
	data, err := os.ReadFile(filepath.Join(dir, markFile))
	return m, err == nil && json.Unmarshal(data, &m) == nil
}

// Control connects with the bundle's control API.
func (b *Bottle) Control(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(b.dir, controlSocket))
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, &control.DownError{Identity: b.identity}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the bundle of %s: %w", b.identity, err)
	}
	return conn, nil
}

// pause waits for something that nothing tells the end of.
func pause(ctx context.Context) error {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
