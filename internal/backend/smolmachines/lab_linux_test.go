package smolmachines

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// These tests run the real driver, guest and bundle with the stand-in for smolvm, which needs
// root; no engine. The image holds our own binary and nothing else.

const realKey = "sk-real-thing-0123456789abcdefghij"

type programs struct{ dir string }

// built builds the programs once for all tests.
var built programs

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(need.Status(need.Smolvm, "the stand-in makes namespaces"))
	}
	dir, err := os.MkdirTemp("", "smol")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for name, pkg := range map[string]string{"bot-bottle": "../../../cmd/bot-bottle", "smolvm": "../../../test/smolvm"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, name), pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, failed := build.CombinedOutput(); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w: %s", pkg, failed, out))
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	built.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// house is a driver with a home, and a stand-in with a data directory.
type house struct {
	*Driver
	t          *testing.T
	home, data string
	env        map[string]string
}

func open(t *testing.T) house {
	t.Helper()
	return openAt(t, t.TempDir())
}

func openAt(t *testing.T, home string) house {
	t.Helper()
	data, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	h := house{t: t, home: home, data: data}
	h.env = map[string]string{
		"PATH": built.dir + ":" + os.Getenv("PATH"), "HOME": h.home, "SMOLVM_DATA_DIR": data,
		"SSH_AUTH_SOCK": "/tmp/agent", "HTTPS_PROXY": "http://proxy.example", "SMOLVM_EGRESS_FLOOR": "none", "ANTHROPIC_API_KEY": realKey,
	}
	store := state.Open(filepath.Join(h.home, "b"))
	h.Driver = &Driver{
		State: store, Self: filepath.Join(built.dir, "bot-bottle"), Binary: filepath.Join(built.dir, "bot-bottle"), Version: "test",
		Roots: func() (string, error) { return "", nil }, Getenv: func(name string) string { return h.env[name] }, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if err := errors.Join(
		os.Chmod(data, 0o755), os.WriteFile(filepath.Join(h.home, "image.tar"), smallImage(t), 0o600),
		os.MkdirAll(filepath.Join(h.home, "b", "bottles"), 0o700), os.MkdirAll(filepath.Join(h.home, "b", "agents"), 0o700),
		os.WriteFile(filepath.Join(h.home, "b", "bottles", "dev.md"), []byte("---\nagent_provider: {template: custom, archive: "+strconv.Quote(filepath.Join(h.home, "image.tar"))+"}\nsecrets: {KEY: {env: KEY}}\n---\n"), 0o600),
		os.WriteFile(filepath.Join(h.home, "b", "agents", "a.md"), []byte("---\nbottle: dev\nargs: ["+control.Binary+", version]\n---\nx\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return h
}

// smallImage is what docker save writes of an image with two users and empty directories.
func smallImage(t *testing.T) []byte {
	t.Helper()
	var layer, image bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, dir := range []string{"etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/local", "usr/local/share", "usr/local/share/ca-certificates", "home", "workspace", "opt", "var", "var/lib", "root"} {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
	}
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "home/node/", Mode: 0o755, Uid: 1000, Gid: 1000})
	passwd := "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n"
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))})
	_, _ = w.Write([]byte(passwd))
	_ = w.Close()
	sum := sha256.Sum256(layer.Bytes())
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"User":"node","Env":["PATH=/usr/bin:/bin"],"Entrypoint":["/evil"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, hex.EncodeToString(sum[:]))
	o := tar.NewWriter(&image)
	for _, f := range []struct{ name, data string }{{"l/layer.tar", layer.String()}, {"c.json", config}, {"manifest.json", `[{"Config":"c.json","RepoTags":null,"Layers":["l/layer.tar"]}]`}} {
		_ = o.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))})
		_, _ = o.Write([]byte(f.data))
	}
	_ = o.Close()
	return image.Bytes()
}

func (h house) spec() bottle.Spec {
	h.t.Helper()
	m, err := manifest.Load(filepath.Join(h.home, "b"), "", h.home)
	if err != nil {
		h.t.Fatal(err)
	}
	return bottle.Spec{Manifest: m, Agent: "a", Cwd: h.home, Secrets: func(context.Context, manifest.SecretSource) (secret.Value, error) { return secret.New(realKey), nil }}
}

func (h house) faults(faults map[string]string) {
	h.t.Helper()
	data, err := json.Marshal(faults)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.data, "faults.json"), data, 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// inMachine are the processes of the one machine there is: its own on the host, which is the first, and all
// that run in it.
func (h house) inMachine() (pids []int) {
	h.t.Helper()
	process, err := filepath.Glob(filepath.Join(h.data, "vms", "*", "agent.pid"))
	if err != nil || len(process) != 1 {
		h.t.Fatalf("got %v, %v", process, err)
	}
	data, err := os.ReadFile(process[0])
	if err != nil {
		h.t.Fatal(err)
	}
	for below := []string{string(data)}; len(below) > 0; below = below[1:] {
		pid, err := strconv.Atoi(strings.TrimSpace(below[0]))
		if err != nil || pid < 2 {
			h.t.Fatalf("got process %d, %v", pid, err)
		}
		pids = append(pids, pid)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, task := range tasks {
			children, _ := os.ReadFile(task)
			below = append(below, strings.Fields(string(children))...)
		}
	}
	return pids
}

// freeze suspends a machine.
func (h house) freeze() {
	h.t.Helper()
	for _, pid := range h.inMachine() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			h.t.Fatal(err)
		}
	}
}

// launch prepares and launches, and returns the error of either.
func (h house) launch(ctx context.Context) (bottle.Bottle, error) {
	plan, err := bottle.Use(h.Driver).Prepare(ctx, h.spec())
	if err != nil {
		return nil, err
	}
	return plan.Launch(ctx, nil)
}

// nothingLeft wants no machine, no process of a bundle and no record.
func (h house) nothingLeft(what string) {
	h.t.Helper()
	var all map[string]json.RawMessage
	if data, err := os.ReadFile(filepath.Join(h.data, "machines.json")); err == nil && json.Unmarshal(data, &all) == nil && len(all) > 0 {
		h.t.Errorf("%s: machines are left: %v", what, len(all))
	}
	if identities, err := h.State.Identities(); err != nil || len(identities) > 0 {
		h.t.Errorf("%s: records are left: %v, %v", what, identities, err)
	}
	owner, err := h.State.Owner()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, base := range h.bases() {
		if left, _ := filepath.Glob(filepath.Join(base, owner[:8]+"-*")); len(left) > 0 {
			h.t.Errorf("%s: bundles are left: %v", what, left)
		}
	}
}

// called waits until the stand-in has been called with these arguments.
func (h house) called(args string) {
	h.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if data, err := os.ReadFile(filepath.Join(h.data, "calls.jsonl")); err == nil && bytes.Contains(data, []byte(args)) {
			return
		}
	}
	h.t.Fatalf("it was never called with %s", args)
}

// endMachine has its console say something, and ends all that is in the one machine there is.
func (h house) endMachine(said string) {
	h.t.Helper()
	vms, err := filepath.Glob(filepath.Join(h.data, "vms", "*"))
	if err != nil || len(vms) != 1 {
		h.t.Fatalf("got machines %v, %v", vms, err)
	}
	console, err := os.OpenFile(filepath.Join(vms[0], consoleFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = console.WriteString(said)
	process, readErr := os.ReadFile(filepath.Join(vms[0], "agent.pid"))
	if err := errors.Join(err, console.Close(), readErr); err != nil {
		h.t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", process, process))
	guest, convErr := strconv.Atoi(strings.TrimSpace(string(children)))
	if err := errors.Join(err, convErr); err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Kill(guest, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
}
