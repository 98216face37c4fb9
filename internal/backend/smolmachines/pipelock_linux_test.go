package smolmachines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// caught is a text that the stand-in for pipelock takes for a secret, and our own scanner does not.
const caught = "standin-finding-word"

// guard has the bottle guarded by a pipelock, with one route, to an upstream that counts.
func (h house) guard(pipelock string) *atomic.Int64 {
	h.t.Helper()
	var asked atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "from upstream")
	}))
	h.t.Cleanup(upstream.Close)
	route := fmt.Sprintf("{host: api.example, port: 80, protocol: http, address: %q, private: true}", upstream.Listener.Addr())
	if err := errors.Join(
		os.WriteFile(filepath.Join(h.home, "b", "bottles", "dev.md"), []byte("---\nagent_provider: {template: custom, archive: "+filepath.Join(h.home, "image.tar")+"}\n"+
			"pipelock: "+pipelock+"\nsecrets: {KEY: {env: KEY}}\negress: {routes: ["+route+"]}\n---\n"), 0o600),
		os.WriteFile(filepath.Join(h.home, "b", "agents", "a.md"), []byte("---\nbottle: dev\nargs: ["+control.Binary+", sidecar, bundle]\n---\nx\n"), 0o600), // waits for its input
	); err != nil {
		h.t.Fatal(err)
	}
	return &asked
}

func standInPipelock(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipelock")
	c := exec.Command("go", "build", "-o", path, "../../../test/pipelock")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// ask sends a request over the bottle's socket to egress, as the bottle's guest does.
func ask(t *testing.T, dir, body string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "egress.sock"))
		},
		Proxy: func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "egress"}, nil },
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://api.example/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// until asks until the answer has a word.
func until(t *testing.T, dir, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = ask(t, dir, "hello"); strings.Contains(got, want) {
			return
		}
	}
	t.Fatalf("got %q, want %q", got, want)
}

// processes finds the processes whose arguments begin like this.
func processes(t *testing.T, args ...string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.HasPrefix(string(line), strings.Join(args, "\x00")+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Attack A16, C10: pipelock is somebody else's program, shown all that a bottle sends, and here a
// process beside the operator's own. It tries to reach a network, a file, a process, a secret. It has
// none of them, nobody else reaches it, and without it nothing is sent.
func TestAttackA16_PipelockBesideTheBundle(t *testing.T) {
	h := open(t)
	program := standInPipelock(t)
	asked := h.guard("{binary: " + program + "}")
	spec := h.spec()
	spec.Stdin = true
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := plan.Launch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(b.Close(), bottle.Use(h.Driver).Remove(context.WithoutCancel(t.Context()), b.Name())); err != nil {
			t.Error(err)
		}
		left := processes(t, program)
		for deadline := time.Now().Add(10 * time.Second); len(left) > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			left = processes(t, program) // the bundle has let go of its socket, and waits for them
		}
		if len(left) > 0 {
			t.Errorf("processes of pipelock's are left: %v", left)
		}
		h.nothingLeft("removed")
	}()
	dir := b.(*Bottle).dir
	if got := ask(t, dir, "hello"); got != "from upstream" {
		t.Errorf("got %s", got)
	}
	if got := ask(t, dir, caught); !strings.Contains(got, "secret_detected") || asked.Load() != 1 {
		t.Errorf("got %s; the upstream was asked %d times", got, asked.Load())
	}
	active, err := h.Active(t.Context())
	if err != nil || len(active) != 1 || active[0].Status != bottle.Running || !slices.Contains(active[0].Services, control.Pipelock) {
		t.Errorf("got %+v, %v", active, err)
	}
	if got := ask(t, dir, "standin-fault-pry"); !strings.Contains(got, "secret_detected") || asked.Load() != 1 {
		t.Errorf("got %s", got)
	}
	if got := h.told(b.Name(), "reached"); got != "reached: nothing" {
		t.Errorf("of this host, pipelock %s", got)
	}
	if got := ask(t, dir, "standin-fault-hoard"); !strings.Contains(got, "secret_detected") {
		t.Errorf("got %s", got)
	}
	if got := h.told(b.Name(), "hoarded"); got != "hoarded: nothing" {
		t.Errorf("of this host's memory, pipelock %s", got)
	}
	leavesNothingBehind(t, dir, program)
	socket := filepath.Join(dir, control.PipelockBeside, "order.sock")
	if err := os.Rename(socket, socket+".away"); err != nil {
		t.Fatal(err)
	}
	if active, err := h.Active(t.Context()); err != nil || len(active) != 1 || active[0].Status != bottle.Unguarded {
		t.Errorf("with nobody to run pipelock: got %+v, %v", active, err)
	}
	if err := os.Rename(socket+".away", socket); err != nil {
		t.Fatal(err)
	}
	pids := processes(t, program, "run")
	if len(pids) != 1 {
		t.Fatalf("pipelock runs as %v", pids)
	}
	hasNothing(t, pids[0])
	runner := processes(t, h.Self, "sidecar", "pipelock", filepath.Join(dir, control.PipelockBeside))
	if len(runner) != 1 {
		t.Fatalf("it is run by %v", runner)
	}
	hasNothing(t, runner[0])
	for _, port := range []string{"8888", "9090", "9091"} {
		if conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second); err == nil {
			_ = conn.Close()
			t.Errorf("port %s is open to everybody on this host", port)
		}
	}
	before := asked.Load()
	for _, pid := range []int{pids[0], runner[0]} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	until(t, dir, "scanner_unavailable")
	if n := asked.Load(); n > before+1 { // one may have been on its way
		t.Errorf("the upstream was asked %d times more", n-before)
	}
	until(t, dir, "from upstream") // it is started again, and has passed its test
}

// leavesNothingBehind has pipelock start processes that are nobody's, and then end, while another
// program has taken its file's place. Those that end are no burden, the one that stays goes with it, and
// what is started then is still what the operator was shown.
func leavesNothingBehind(t *testing.T, dir, program string) {
	t.Helper()
	if got := ask(t, dir, "standin-fault-orphans"); got != "from upstream" {
		t.Errorf("got %s", got)
	}
	stays := func() int { return len(processes(t, program, "orphan-stays")) }
	runner := processes(t, built.dir+"/bot-bottle", "sidecar", "pipelock", filepath.Join(dir, control.PipelockBeside))
	if stays() != 1 || len(runner) != 1 {
		t.Fatalf("%d stay, run by %v", stays(), runner)
	}
	soon := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	soon("what has ended is not taken", func() bool { return children(t, runner[0]) == 2 }) // pipelock, and the one that stays
	swapped := program + ".new"
	if err := errors.Join(os.WriteFile(swapped, []byte("#!/bin/sh\n"), 0o755), os.Rename(program, program+".away"), os.Rename(swapped, program)); err != nil {
		t.Fatal(err)
	}
	for _, pid := range processes(t, program, "run") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until(t, dir, "from upstream")
	soon("what pipelock left behind goes on", func() bool { return stays() == 0 })
	soon(fmt.Sprintf("it is no longer run by %v alone", runner), func() bool { // who begins another program has our arguments until it has its own
		return slices.Equal(processes(t, built.dir+"/bot-bottle", "sidecar", "pipelock", filepath.Join(dir, control.PipelockBeside)), runner)
	})
	if err := os.Rename(program+".away", program); err != nil {
		t.Fatal(err)
	}
}

// children counts a process's, those that have ended and were not taken among them.
func children(t *testing.T, pid int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		said, _ := os.ReadFile(task)
		n += len(strings.Fields(string(said)))
	}
	return n
}

// told is what the stand-in for pipelock says in the log that it got at. The refused request was
// answered before its event is there.
func (h house) told(identity, how string) string {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		log, err := os.ReadFile(h.State.AuditFile(identity))
		if err != nil {
			h.t.Fatal(err)
		}
		if said := regexp.MustCompile(`"(` + how + `: [a-z ]*)"`).FindSubmatch(log); said != nil {
			return string(said[1])
		}
	}
	return "said nothing of it"
}

// hasNothing wants a process without a right, a network, a variable, or its parent's namespaces.
func hasNothing(t *testing.T, pid int) {
	t.Helper()
	at := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	status, err := os.Open(at("status"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = status.Close() }()
	want := map[string]string{"CapInh": strings.Repeat("0", 16), "CapPrm": strings.Repeat("0", 16), "CapEff": strings.Repeat("0", 16), "CapAmb": strings.Repeat("0", 16), "NoNewPrivs": "1", "Seccomp": "2"}
	for lines := bufio.NewScanner(status); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if wanted, ok := want[name]; ok {
			if got := strings.TrimSpace(value); got != wanted {
				t.Errorf("process %d has %s %s", pid, name, got)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("nothing is said of %v", want)
	}
	for _, namespace := range []string{"net", "user", "ipc", "pid"} {
		ours, _ := os.Readlink("/proc/self/ns/" + namespace)
		theirs, err := os.Readlink(at("ns/" + namespace))
		if err != nil || ours == theirs {
			t.Errorf("process %d shares our %s namespace: %v", pid, namespace, err)
		}
	}
	if environment, err := os.ReadFile(at("environ")); err != nil || len(environment) > 0 {
		t.Errorf("process %d has variables %q, %v", pid, environment, err)
	}
	if routes, err := os.ReadFile(at("net/dev")); err != nil || strings.Count(string(routes), ":") != 1 {
		t.Errorf("process %d has interfaces %s, %v", pid, routes, err)
	}
}

// Where pipelock cannot be had, nothing is created; where it does not work, nothing stays.
func TestNoPipelockNoMachine(t *testing.T) {
	h := open(t)
	notOne := filepath.Join(built.dir, "smolvm") // a static program, and no pipelock
	for what, want := range map[string]string{
		"true": "it is no image, but a process", "{image: \"x.example/p@sha256:" + strings.Repeat("01", 32) + "\"}": "it is no image, but a process",
		"{binary: /no/such/pipelock}": "cannot read it", "{binary: /etc/hostname}": "is no ", "{binary: " + notOne + "}": "pipelock",
	} {
		h.guard(what)
		_, err := h.launch(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", what, err)
		}
		h.nothingLeft(what)
	}
	var p Plan
	h.guard("{binary: " + notOne + "}")
	if err := p.resolvePipelock(h.spec().Manifest.Bottles["dev"].Pipelock, "darwin"); err == nil {
		t.Error("it would run where it cannot be closed off")
	}
}
