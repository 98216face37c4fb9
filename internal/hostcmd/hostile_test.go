package hostcmd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// Attack H1: a command repeats what a server sent it, escape sequences and all, as the
// last line of its complaint, or complains without end.
func TestAttackH1_StderrDoesNotSpeakToTheTerminal(t *testing.T) {
	for name, script := range map[string]string{
		"escapes":      `printf 'no\033]52;c;eA==\007login\302\2332J\342\200\256\r\377' >&2; exit 1`,
		"without end":  `i=0; while [ $i -lt 3000 ]; do printf 'é-------' >&2; i=$((i+1)); done; exit 1`,
		"lines of its": `printf 'one\ntwo\n\n\n' >&2; exit 1`,
	} {
		_, err := Output(t.Context(), "", []string{"sh", "-c", script})
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		if got := err.Error(); strings.ContainsAny(got, "\x1b\x07\n\r\u009b\u202e") || len(got) > 1000 || !utf8.ValidString(got) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// Attack E7: a command that is looked up in the directory at hand is the repository's.
func TestAttackE7_CommandsDoNotComeFromTheDirectoryAtHand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "get-token"), []byte("#!/bin/sh\necho evil\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", ".:"+os.Getenv("PATH"))
	if out, err := Output(t.Context(), "/", []string{"get-token"}); err == nil {
		t.Errorf("got %q", out)
	}
}

func TestOutputRunsInTheDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := Output(t.Context(), dir, []string{"sh", "-c", `pwd -P; echo "$PWD"`})
	if want := dir + "\n" + dir + "\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestOutputWithTakesTheEnvironmentAsItIs(t *testing.T) {
	t.Setenv("OURS", "x")
	out, err := OutputWith(t.Context(), []string{"THEIRS=y", "PATH=" + os.Getenv("PATH")}, []string{"sh", "-c", `echo "$OURS-$THEIRS"`})
	if err != nil || string(out) != "-y\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestStandardInputIsEmpty(t *testing.T) {
	out, err := Output(t.Context(), "", []string{"cat"})
	if err != nil || len(out) > 0 {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 3": 3, "kill -9 $$": -1} {
		var failed *RunError
		if _, err := Output(t.Context(), "", []string{"sh", "-c", script}); !errors.As(err, &failed) || failed.Code != want || failed.Argv[2] != script {
			t.Errorf("%s: got %+v", script, failed)
		}
	}
	var failed *RunError
	if _, err := Output(t.Context(), "", nil); !errors.As(err, &failed) || failed.Code != -1 || failed.Error() == "" {
		t.Errorf("no command: got %+v", failed)
	}
}

func TestOutputIsBounded(t *testing.T) {
	if out, err := Output(t.Context(), "", []string{"head", "-c", strconv.Itoa(maxOutput), "/dev/zero"}); err != nil || len(out) != maxOutput {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
	if out, err := Output(t.Context(), "", []string{"head", "-c", strconv.Itoa(maxOutput + 1), "/dev/zero"}); err == nil {
		t.Errorf("got %d bytes", len(out))
	}
	endless := &bounded{most: maxOutput}
	if _, err := io.Copy(endless, strings.NewReader(strings.Repeat("x", 3*maxOutput))); err != nil || endless.kept.Len() != maxOutput || !endless.over {
		t.Errorf("kept %d bytes, %v", endless.kept.Len(), err)
	}
}

// What a command started ends with it: the write end of a pipe that only it holds closes.
func TestCancelKillsTheGroup(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Output(ctx, "", []string{"sh", "-c", `(echo up; exec sleep 1000) >"$0" & wait`, pipe})
		done <- err
	}()
	f, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	up := make([]byte, 3)
	if _, err := f.Read(up); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(up); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the grandchild lives: got %d, %v", n, err)
	}
}

// A command that exits and leaves something behind with its output open is not waited for.
func TestWhatKeepsTheOutputOpenIsNotWaitedFor(t *testing.T) {
	_, err := Output(t.Context(), "", []string{"sh", "-c", "sleep 5 & echo token"})
	if err == nil || !strings.Contains(err.Error(), "keeps its output open") || strings.Contains(err.Error(), "token") {
		t.Errorf("got %v", err)
	}
}
