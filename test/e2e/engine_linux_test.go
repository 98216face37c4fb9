package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// engine is a dockerd of the test's own, which it may kill. It runs in a network namespace of
// its own: bridges and firewall rules of the machine are another engine's, and a dockerd that
// shares them takes them down. Its bottles reach nothing.
type engine struct {
	t      *testing.T
	dir    string
	client *client.Client
	daemon *exec.Cmd
	said   lockedBuffer

	arguments []string // more for dockerd
}

// ownEngine starts one and gives it the images of the engine that is there.
func ownEngine(t *testing.T, from *client.Client, arguments ...string) *engine {
	t.Helper()
	return newEngine(t, from, 0, arguments...)
}

// newEngine is ownEngine with a disk of its own, of so many megabytes; 0 for none.
func newEngine(t *testing.T, from *client.Client, megabytes int, arguments ...string) *engine {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil || os.Geteuid() != 0 {
		need.Lacking(t, need.Dockerd, "an engine of one's own needs root and dockerd, which a remote engine or Docker Desktop do not bring")
	}
	dir, err := os.MkdirTemp("", "bb") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, arguments: arguments}
	if e.client, err = client.New(client.WithHost(e.host())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.remove)
	if megabytes > 0 {
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", data, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=711", megabytes)); err != nil {
			t.Fatal(err)
		}
	}
	e.start()
	e.load(from)
	return e
}

func (e *engine) host() string { return "unix://" + filepath.Join(e.dir, "s.sock") }

func (e *engine) start() {
	e.t.Helper()
	path := func(name string) string { return filepath.Join(e.dir, name) }
	_, _ = os.Remove(path("pid")), os.Remove(path("exec/containerd/containerd.pid")) // the numbers may be others' by now
	e.daemon = exec.Command("dockerd", append([]string{"--data-root", path("data"), "--exec-root", path("exec"), "--pidfile", path("pid"), "-H", e.host()}, e.arguments...)...)
	e.daemon.Stdout, e.daemon.Stderr = &e.said, &e.said
	e.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNET}
	if err := e.daemon.Start(); err != nil {
		e.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := e.client.Ping(e.t.Context(), client.PingOptions{NegotiateAPIVersion: true}); err == nil {
			return
		} else if time.Now().After(deadline) {
			e.t.Fatalf("dockerd does not start: %v\n%s", err, e.said.String())
		}
	}
}

// kill kills the engine and the containerd that it started, as a crash of both does.
func (e *engine) kill() {
	e.t.Helper()
	containerd := e.containerd()
	_ = e.daemon.Process.Kill()
	_ = e.daemon.Wait()
	if containerd > 0 {
		_ = syscall.Kill(containerd, syscall.SIGKILL)
	}
}

func (e *engine) containerd() int {
	data, _ := os.ReadFile(filepath.Join(e.dir, "exec/containerd/containerd.pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// dead has the engine, which must have been killed, take a container for one that it was removing then.
func (e *engine) dead(id string) {
	e.t.Helper()
	path := filepath.Join(e.dir, "data/containers", id, "config.v2.json")
	data, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	marked := bytes.Replace(data, []byte(`"Dead":false`), []byte(`"Dead":true`), 1)
	if bytes.Equal(marked, data) {
		e.t.Fatalf("the engine has another form: %s", data)
	}
	if err := os.WriteFile(path, marked, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// remove ends the engine and what it left.
func (e *engine) remove() {
	_ = e.client.Close()
	if e.daemon == nil {
		e.unmount()
		return
	}
	_ = e.daemon.Process.Signal(os.Interrupt)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = e.daemon.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = e.daemon.Process.Kill()
	}
	e.unmount()
}

// unmount takes away what was mounted for the engine, and its files.
func (e *engine) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, e.dir+"/") {
			_ = syscall.Unmount(at, syscall.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Error(err)
	}
}

// load copies the images that the sleeper needs.
func (e *engine) load(from *client.Client) {
	e.t.Helper()
	var refs []string
	for _, name := range []string{"claude", "sidecar"} {
		ref, err := image.Builder{}.Ref(name)
		if err != nil {
			e.t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	saved, err := from.ImageSave(e.t.Context(), refs)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = saved.Close() }()
	loaded, err := e.client.ImageLoad(e.t.Context(), saved)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = loaded.Close() }()
	var said bytes.Buffer
	if _, err := said.ReadFrom(loaded); err != nil || strings.Contains(said.String(), "errorDetail") {
		e.t.Fatalf("the images cannot be loaded: %v %s", err, said.String())
	}
}

// withOwnEngine is a house with sleepers that has an engine, and a home, of its own.
func withOwnEngine(t *testing.T) (house, *engine) {
	t.Helper()
	h := open(t, standin.Options{})
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello") // the images are there
	h.sleeper()
	return h.moved()
}

// moved is a house with an engine of its own, and a home of its own.
func (h house) moved() (house, *engine) {
	h.t.Helper()
	return h.movedTo(ownEngine(h.t, h.Engine))
}

func (h house) movedTo(e *engine) (house, *engine) {
	h.t.Helper()
	own := h.at("DOCKER_HOST="+e.host(), "BOT_BOTTLE_HOME="+h.t.TempDir())
	l := *own.Lab
	l.Home, l.Engine = strings.TrimPrefix(own.Extra[len(own.Extra)-1], "BOT_BOTTLE_HOME="), e.client
	own.Lab = &l
	if err := os.CopyFS(filepath.Join(l.Home, "agents"), os.DirFS(filepath.Join(h.Home, "agents"))); err != nil {
		h.t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(l.Home, "bottles"), os.DirFS(filepath.Join(h.Home, "bottles"))); err != nil {
		h.t.Fatal(err)
	}
	if err := l.Write("standin.pem", h.Standin.CA); err != nil {
		h.t.Fatal(err)
	}
	return own, e
}

// TestAttackJ5_Chaos with an engine that is killed and started again: under a bottle, and in the
// middle of verbs.
func TestAttackJ5_ChaosOfTheEngine(t *testing.T) {
	t.Parallel()
	own, e := withOwnEngine(t)
	own.asker()
	proxy, err := faults.Start(t.TempDir(), strings.TrimPrefix(e.host(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	for n := range max(1, *schedules/6) {
		seed := *firstSeed + uint64(n)
		c := &chaos{house: own.at("DOCKER_HOST=" + proxy.Host), direct: own, proxy: proxy, engine: e, agents: []string{"sleeper", "asker"}, dice: rand.New(rand.NewPCG(seed, 2))}
		c.say("engine, seed %d", seed)
		c.schedule()
	}
}

// Invariant 6: the engine is killed under bottles, and in the middle of a start. Afterwards
// list tells what is known, cleanup takes exactly what is left, the log has all that was
// acknowledged, and the bottle goes on with its workspace.
func TestTheEngineIsKilled(t *testing.T) {
	dockerOnly(t, "it has an engine of its own that is killed")
	t.Parallel()
	own, e := withOwnEngine(t)
	identity := strings.TrimSpace(own.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	own.run(0, "", "exec", identity, "--", "sh", "-c", "echo precious > /workspace/mark; curl -sk -m 9 -o /dev/null https://elsewhere.example/; true")
	c := own.Command(context.WithoutCancel(t.Context()), "start", "-y", "--detach", "sleeper") // in the middle of which it happens
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(250 * time.Millisecond)
	e.kill()
	if err := c.Wait(); err == nil {
		t.Error("a start whose engine was killed ended with status 0")
	}
	if r := own.run(0, "", "list", "all"); !strings.Contains(r.Stdout, "unknown: docker could not be asked") || !strings.Contains(r.Stderr, "could not be asked") {
		t.Errorf("while it is gone: got %s%s", r.Stdout, r.Stderr)
	}
	own.run(1, "", "cleanup", "-y")
	e.start()
	// Nobody saw their ends; the engine tells how they ended once it has cleared up.
	if r := own.run(0, "", "list", "all"); !strings.Contains(r.Stdout, "interrupted") && !strings.Contains(r.Stdout, "(bot-bottle resume, or cleanup)") || strings.Contains(r.Stdout, "running") {
		t.Errorf("got %s%s", r.Stdout, r.Stderr)
	}
	own.run(0, "", "cleanup", "-y")
	if r := own.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("a second cleanup found %s", r.Stderr)
	}
	if r := own.run(0, "", "logs", identity, "--json"); !strings.Contains(r.Stdout, "elsewhere.example") {
		t.Errorf("an event is gone: %s", r.Stdout)
	}
	own.run(0, "", "resume", "-y", "--detach", identity)
	if r := own.run(0, "", "exec", identity, "--", "cat", "/workspace/mark"); r.Stdout != "precious\n" {
		t.Errorf("got %q", r.Stdout)
	}
	own.run(0, "", "stop", identity)
	own.run(0, "", "logs", identity, "--verify")
	for line := range strings.Lines(own.run(0, "", "list", "all").Stdout) {
		if id := strings.Fields(line)[0]; id != "IDENTITY" {
			own.run(0, "", "rm", "--force", id)
		}
	}
	if left, err := own.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", fmt.Sprint(left), err)
	}
}

// Invariant 6: an engine that was killed while it removed a bottle's containers calls them dead, and gives
// their output out no more. They are removed all the same, and the bottle goes on.
func TestTheEngineIsKilledWhileItRemoves(t *testing.T) {
	dockerOnly(t, "it has an engine of its own that is killed")
	t.Parallel()
	own, e := withOwnEngine(t)
	identity := strings.TrimSpace(own.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	for n, verb := range [][]string{{"cleanup", "-y"}, {"stop", identity}, {"resume", "-y", "--detach", identity}} {
		if n > 0 {
			own.run(0, "", "resume", "-y", "--detach", identity)
		}
		var ids []string
		for _, part := range []string{"agent", "sidecar"} {
			found, err := e.client.ContainerInspect(t.Context(), "bot-bottle-"+identity+"-"+part, client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, found.Container.ID)
		}
		e.kill()
		for _, id := range ids {
			e.dead(id)
		}
		e.start()
		own.run(0, "", "list", "all")
		own.run(0, "", "logs", identity)
		own.run(0, "", verb...)
		own.run(0, "", "cleanup", "-y")
		if r := own.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
			t.Errorf("a second cleanup found %s", r.Stderr)
		}
	}
	own.run(0, "", "logs", identity, "--verify")
	own.run(0, "", "rm", "--force", identity)
	if left, err := own.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
