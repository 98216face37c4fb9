package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Attack F8: what the gate has git do for a bottle takes the host's memory, disk or processor.
// While a push is under way in a real bundle, each of its processes has its limits, the gate's
// uid and no capability.
func TestAttackF8_TheGatesProcessesAreLimited(t *testing.T) {
	dockerOnly(t, "it looks at uids and capabilities in the bundle's container")
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	dir := t.TempDir()
	came, leave := filepath.Join(dir, "came"), filepath.Join(dir, "leave")
	for _, pipe := range []string{came, leave} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hook := filepath.Join(h.upstream, "hooks", "pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho here > '"+came+"'\nread word < '"+leave+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	identity := h.start()
	ended := make(chan string, 1)
	go func() {
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", "cd /workspace && git clone -q "+h.ssh.URL(gatewayName(), h.upstream)+" widget && cd widget && git checkout -q -b agent/fix && git commit -q --allow-empty -m x && git push origin agent/fix")
		if err != nil {
			ended <- err.Error()
			return
		}
		ended <- r.Stderr
	}()
	asked := make(chan error, 1)
	go func() { _, err := os.ReadFile(came); asked <- err }()
	select {
	case err := <-asked: // the upstream
		if err != nil {
			t.Fatal(err)
		}
	case said := <-ended:
		t.Fatal("the push did not get upstream:", said)
	}
	found := h.inBundle(identity, `for p in /proc/[0-9]*; do
  line=$(tr '\0' ' ' < $p/cmdline)
  case "$line" in "sh -c "*) continue ;; git\ *|*/git\ *|*ssh\ *|*git-hook*|*http-backend*) ;; *) continue ;; esac
  echo "$line"
  awk '/Max (cpu time|file size|data size|core file size)/ {print $2, $2 == "core" ? $5 : $4}' $p/limits
  awk '/^(Uid|CapEff|NoNewPrivs):/ {print $1, $2}' $p/status
done`)
	if err := os.WriteFile(leave, []byte("go\n"), 0); err != nil {
		t.Error(err)
	}
	said := <-ended
	if h.theirs("refs/heads/agent/fix") == "" {
		t.Errorf("the push came to nothing: %s", said)
	}
	processes := strings.Count(found, "Uid: ")
	for _, want := range []string{"cpu 900\n", "data 1073741824\n", "file 8589934592\n", "core 0\n", "Uid: 10002\n", "CapEff: 0000000000000000\n", "NoNewPrivs: 1\n"} {
		if got := strings.Count(found, want); got != processes {
			t.Errorf("%d of %d processes have %q", got, processes, want)
		}
	}
	for _, want := range []string{"receive-pack", "git push ", "ssh "} {
		if !strings.Contains(found, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(found)
	}
}

// inBundle runs a script in a bottle's bundle as root, and returns its output.
func (h house) inBundle(identity, script string) string {
	h.t.Helper()
	created, err := h.Engine.ExecCreate(h.t.Context(), "bot-bottle-"+identity+"-sidecar", client.ExecCreateOptions{User: "0:0", AttachStdout: true, AttachStderr: true, TTY: true, Cmd: []string{"sh", "-c", script}})
	if err != nil {
		h.t.Fatal(err)
	}
	attached, err := h.Engine.ExecAttach(h.t.Context(), created.ID, client.ExecAttachOptions{TTY: true})
	if err != nil {
		h.t.Fatal(err)
	}
	defer attached.Close()
	out, err := io.ReadAll(attached.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}
