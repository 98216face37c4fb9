package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/sshd"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// at is a house whose program reaches the engine in another way.
func (h house) at(env ...string) house {
	l := *h.Lab
	l.Extra = append(append([]string{}, l.Extra...), env...)
	return house{&l, h.t, h.on}
}

// forward carries TCP connections to the engine's socket.
func forward(t *testing.T) (address string) {
	t.Helper()
	socket, ok := strings.CutPrefix(lab.Endpoint(), "unix://")
	if !ok {
		need.Lacking(t, need.Dockerd, "the engine is not behind a socket here, so all other tests are of a remote one")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", socket)
			if err != nil {
				_ = near.Close()
				continue
			}
			carry := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.(interface{ CloseWrite() error }).CloseWrite()
			}
			all.Go(func() { carry(far, near) })
			all.Go(func() { carry(near, far); _ = near.Close(); _ = far.Close() })
		}
	})
	return l.Addr().String()
}

// Everything works with an engine over TCP.
func TestRemoteEngineOverTCP(t *testing.T) {
	dockerOnly(t, "it is about an engine on another host")
	t.Parallel()
	h := open(t, standin.Options{Answer: "from afar"})
	everyVerb(h.at("DOCKER_HOST=tcp://" + forward(t)))
}

// Everything works with an engine over ssh, through a real OpenSSH.
func TestRemoteEngineOverSSH(t *testing.T) {
	dockerOnly(t, "it is about an engine on another host")
	t.Parallel()
	if err := sshd.Available(); err != nil {
		t.Fatal(err)
	}
	h := open(t, standin.Options{Answer: "from afar"})
	server, env := sshServer(t)
	defer server.Close()
	everyVerb(h.at(env...))
	// What ssh says is what the operator is told.
	wrong := h.at(append(env, fmt.Sprintf("DOCKER_HOST=ssh://%s@127.0.0.1:1", server.User))...)
	if r := wrong.run(1, "", "start", "-y", "claude"); !strings.Contains(r.Stderr, "no docker engine answers at tcp://127.0.0.1") || !strings.Contains(r.Stderr, "Connection refused") {
		t.Errorf("got %s", r.Stderr)
	}
}

// sshServer is one that runs docker's commands, and the environment that leads to it.
func sshServer(t *testing.T) (*sshd.Server, []string) {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Fatal("an engine over ssh needs the docker command on the other side: ", err)
	}
	dir := t.TempDir()
	server, err := sshd.Start(dir, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	// The operator's ssh: its own program of that name, with the key and the known host.
	bin := filepath.Join(dir, "bin")
	script := fmt.Sprintf("#!/bin/sh\nexec /usr/bin/ssh -F none -i %s -o UserKnownHostsFile=%s -o IdentitiesOnly=yes \"$@\"\n", server.KeyFile, filepath.Join(dir, "known"))
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{filepath.Join(bin, "ssh"): script, filepath.Join(dir, "known"): server.KnownHosts("127.0.0.1")} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return server, []string{"PATH=" + bin + ":" + os.Getenv("PATH"), fmt.Sprintf("DOCKER_HOST=ssh://%s@127.0.0.1:%d", server.User, server.Port)}
}

// everyVerb uses a bottle from its start to its removal.
func everyVerb(h house) {
	t := h.t
	if r := h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello"); strings.TrimSpace(r.Stdout) != "from afar" {
		t.Errorf("start: got %q %s", r.Stdout, r.Stderr)
	}
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	defer func() { _, _ = h.Run(context.Background(), nil, "rm", "--force", identity) }()
	if r := h.run(0, "through", "exec", identity, "--", "sh", "-c", "cat > /workspace/file; cat /workspace/file"); r.Stdout != "through" {
		t.Errorf("exec: got %q %s", r.Stdout, r.Stderr)
	}
	for _, want := range []string{"active", "all"} {
		if r := h.run(0, "", "list", want); !strings.Contains(r.Stdout, identity) || r.Stderr != "" {
			t.Errorf("list %s: got %q %s", want, r.Stdout, r.Stderr)
		}
	}
	attached(h, identity)
	h.run(0, "copied", "cp", "-", identity+":copy")
	h.run(0, "", "exec", identity, "--", "sh", "-c", "git init -q -b main /workspace/made && cd /workspace/made && git -c user.name=A -c user.email=a@b.example commit -q --allow-empty -m 'from afar'")
	pulled(h, identity)
	follow := h.Command(t.Context(), "logs", identity, "--follow", "--json")
	var followed lockedBuffer
	follow.Stdout = &followed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	h.run(0, "", "egress", identity, "allow", "added.example")
	if r := h.run(0, "", "egress", identity); !strings.Contains(r.Stdout, "added.example") {
		t.Errorf("egress: got %s", r.Stdout)
	}
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "stop", identity)
	if err := follow.Wait(); err != nil || !strings.Contains(followed.String(), "the operator changed the policy") || !strings.Contains(followed.String(), `"event":"agent-end"`) {
		t.Errorf("logs --follow: got %v %s", err, followed.String())
	}
	if r := h.run(0, "", "cp", identity+":copy", "-"); r.Stdout != "copied" {
		t.Errorf("cp: got %q %s", r.Stdout, r.Stderr)
	}
	pulled(h, identity)
	if r := h.run(0, "", "logs", identity, "--verify"); !strings.Contains(r.Stdout, "whole") {
		t.Errorf("logs: got %s", r.Stdout)
	}
	h.run(0, "", "report", identity, "-o", filepath.Join(h.Home, "report.html"))
	h.run(0, "", "resume", "-y", "--detach", identity)
	if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/file"); r.Stdout != "through" {
		t.Errorf("resume: got %q %s", r.Stdout, r.Stderr)
	}
	h.killAgent(identity)
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "bot-bottle-"+identity+"-sidecar") || !strings.Contains(r.Stderr, "removed 4 things") {
		t.Errorf("cleanup: got %s", r.Stderr)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(lineOf(r.Stdout, identity), "ended with status 137") {
		t.Errorf("list all: got %s", r.Stdout)
	}
	h.run(0, "", "resume", "-y", "--detach", identity) // after a crash
	if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/file"); r.Stdout != "through" {
		t.Errorf("resume: got %q %s", r.Stdout, r.Stderr)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "rm", "-y", identity)
	if r := h.run(0, "", "list", "all"); strings.Contains(r.Stdout, identity) {
		t.Errorf("rm: got %s", r.Stdout)
	}
}

// attached looks at a bottle's terminal, and leaves it.
func attached(h house, identity string) {
	h.t.Helper()
	h.run(0, "", "exec", identity, "--", "sh", "-c", "echo waiting > /proc/$(pgrep -x sleep)/fd/1")
	s := h.terminal("attach", identity)
	s.wait("waiting")
	s.send("\x10\x11")
	s.wait("left " + identity + " running")
	if code := s.end(); code != 0 {
		h.t.Errorf("attach: got status %d", code)
	}
	s.cooked()
}

// pulled fetches what an agent committed, with the engine as far away for git's process as for ours.
func pulled(h house, identity string) {
	h.t.Helper()
	here := h.t.TempDir()
	if out, err := exec.Command("git", "init", "-q", here).CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	c := h.Command(h.t.Context(), "pull", identity, "--path", "made")
	c.Dir = here
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "refs/bottles/"+identity+"/main") || !strings.Contains(string(out), "from afar") {
		h.t.Errorf("pull: got %v %s", err, out)
	}
}
