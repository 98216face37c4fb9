package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// cp carries files and trees into a bottle and out of it, while it runs and when it does not.
func TestCopy(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	copies(h, identity)
	h.run(0, "", "exec", identity, "--", "sh", "-c", "mkdir -p /workspace/evil/.git && cd /workspace/evil && echo '[core] fsmonitor = /bin/evil' > .git/config && ln -s /etc/passwd out && ln -s good in && echo good > good && mkfifo pipe && chmod 4755 good")
	h.run(0, "", "exec", identity, "--", "sh", "-c", "ln -s /workspace/evil /workspace/alias && ln -s / /workspace/root")
	out := t.TempDir()
	r := h.run(0, "", "cp", identity+":evil", out)
	for _, want := range []string{"left out: evil/out: a link that leads out", "left out: evil/pipe: neither a file", "left out: evil/.git: git would take it"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("it does not say %q: %s", want, r.Stderr)
		}
	}
	entries, err := os.ReadDir(filepath.Join(out, "evil"))
	if err != nil || len(entries) != 2 || entries[0].Name() != "good" || entries[1].Name() != "in" {
		t.Errorf("got %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(out, "evil/good")); err != nil || info.Mode() != 0o755 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	h.run(0, "", "cp", identity+":/workspace/alias/good", filepath.Join(out, "through-a-link"))
	h.run(0, "", "cp", identity+":/workspace/root/etc/hostname", filepath.Join(out, "hostname")) // the bottle's
	if data, err := os.ReadFile(filepath.Join(out, "hostname")); err != nil || strings.TrimSpace(string(data)) != "bottle" {
		t.Errorf("got %q, %v", data, err)
	}
	h.run(0, "", "stop", identity)
	copies(h, identity)
	if h.on == onDocker { // a machine is started for it, and has all its files
		if r := h.run(1, "", "cp", identity+":/etc/hostname", out); !strings.Contains(r.Stderr, "the bottle does not run, so there are only /home/node and /workspace") {
			t.Errorf("got %s", r.Stderr)
		}
	}
	h.onlyWork()
	h.run(0, "", "resume", "-y", "--detach", identity)
	if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/piped"); r.Stdout != "through a pipe" {
		t.Errorf("got %q", r.Stdout)
	}
	h.run(0, "", "rm", "--force", identity)
	if r := h.run(2, "", "cp", identity+":x", out); !strings.Contains(r.Stderr, "there is no bottle") {
		t.Errorf("got %s", r.Stderr)
	}
}

// copies carries all there is to carry, both ways.
func copies(h house, identity string) {
	t := h.t
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.MkdirAll(at("tree/sub"), 0o755), os.WriteFile(at("tree/sub/run.sh"), []byte("#!/bin/sh\n"), 0o755), os.WriteFile(at("tree/file"), []byte(strings.Repeat("0123456789", 1e5)), 0o640),
		os.Symlink("file", at("tree/link")), os.Symlink("/etc/shadow", at("tree/host")), os.Symlink("tree", at("alias")),
	); err != nil {
		t.Fatal(err)
	}
	// In: into a directory, under another name, over what is there, from standard input.
	h.run(0, "", "cp", at("tree"), identity+":/workspace")
	h.run(0, "", "cp", at("tree"), identity+":/home/node/renamed")
	h.run(0, "", "cp", at("tree/file"), identity+":tree/sub/")
	h.run(0, "old", "cp", "-", identity+":piped")
	h.run(0, "through a pipe", "cp", "-", identity+":/workspace/piped")
	// Out: the same.
	h.run(0, "", "cp", identity+":tree", at("back"))
	h.run(0, "", "cp", identity+":/home/node/renamed", dir)
	for _, root := range []string{"back", "renamed"} {
		data, err := os.ReadFile(at(root + "/file"))
		if err != nil || len(data) != 1e6 {
			t.Errorf("%s: got %d bytes, %v", root, len(data), err)
		}
		if info, err := os.Stat(at(root + "/sub/run.sh")); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: got %v", root, err)
		}
		if to, err := os.Readlink(at(root + "/link")); err != nil || to != "file" {
			t.Errorf("%s: got %q, %v", root, to, err)
		}
		if _, err := os.Lstat(at(root + "/host")); err == nil {
			t.Errorf("%s: a link to elsewhere came back", root)
		}
	}
	if r := h.run(0, "", "cp", identity+":piped", "-"); r.Stdout != "through a pipe" {
		t.Errorf("got %q", r.Stdout)
	}
	for args, want := range map[[2]string]string{
		{at("tree"), at("other")}:          "must be in a bottle",
		{identity + ":a", identity + ":b"}: "must be in a bottle",
		{at("alias"), identity + ":alias"}: "is a link",
		{"", identity + ":x"}:              "must name something",
	} {
		if r := h.run(2, "", "cp", args[0], args[1]); !strings.Contains(r.Stderr, want) {
			t.Errorf("%q: got %s", args, r.Stderr)
		}
	}
	for args, want := range map[[2]string]string{
		{identity + ":nothing", dir}:                   "no such file",
		{identity + ":tree", "-"}:                      "a directory does not go to standard output",
		{at("nothing"), identity + ":x"}:               "no such file",
		{at("tree"), identity + ":piped"}:              "is there and no directory",
		{at("tree/file"), identity + ":no/such/place"}: "no such file",
		{"-", identity + ":tree"}:                      "say what the file is called",
		{identity + ":tree", at("tree/file")}:          "is there and no directory",
		{identity + ":piped", at("new") + "/"}:         "is not a directory",
	} {
		if r := h.run(1, "", "cp", args[0], args[1]); !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, "cannot copy") {
			t.Errorf("%q: got %s", args, r.Stderr)
		}
	}
}

// A bottle whose files are being copied while it does not run is not resumed under the copy, and
// no cleanup takes what the copy needs.
func TestACopyHoldsAStoppedBottle(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	defer func() { h.run(0, "", "rm", "--force", identity) }()
	h.run(0, "", "stop", identity)
	c := h.Command(t.Context(), "cp", "-", identity+":held")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitCopy(identity)
	if r := h.run(125, "", "resume", "-y", "--detach", identity); !strings.Contains(r.Stderr, "another bot-bottle is at work on it") {
		t.Errorf("got %s", r.Stderr)
	}
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("got %s", r.Stderr)
	}
	_, err = stdin.Write([]byte("in the end"))
	if err := errors.Join(err, stdin.Close(), c.Wait()); err != nil {
		t.Error(err)
	}
	if r := h.run(0, "", "cp", identity+":held", "-"); r.Stdout != "in the end" {
		t.Errorf("got %q", r.Stdout)
	}
}

// awaitCopy waits until a stopped bottle's files are opened: its container is there, or its machine
// runs.
func (h house) awaitCopy(identity string) {
	h.t.Helper()
	if h.on == smolvm {
		for h.machinePID(identity) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		return
	}
	for left, err := h.Left(h.t.Context()); len(left) < 3; left, err = h.Left(h.t.Context()) {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}
