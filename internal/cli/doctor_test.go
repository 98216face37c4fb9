package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/test/need"
)

func TestDoctor(t *testing.T) {
	home := t.TempDir()
	code, stdout, stderr := runWith(t, home, twoBackends()[1:], "doctor", "--offline")
	for _, want := range []string{"PROBLEM  docker", "no engine answers\n", "→ start it\n", "→ bot-bottle init\n"} {
		if code != exitFailure || !strings.Contains(stdout, want) {
			t.Errorf("got %d %s%s; want %q", code, stdout, stderr, want)
		}
	}
	if !strings.Contains(stderr, " problems, ") {
		t.Errorf("got %s", stderr)
	}
	code, stdout, _ = runWith(t, home, twoBackends()[1:], "doctor", "--offline", "--json")
	var found []bottle.Finding
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != exitFailure || len(found) < 5 || found[0].Area != "bot-bottle" {
		t.Errorf("got %d, %v: %s", code, err, stdout)
	}
}

func TestDoctorFixes(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o755); err != nil { //nolint:gosec // what is to be mended
		t.Fatal(err)
	}
	_, _, stderr := runWith(t, home, twoBackends()[1:], "doctor", "--offline", "--fix")
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 || !strings.Contains(stderr, "closed "+home+" to others") {
		t.Errorf("got %v, %v: %s", info.Mode(), err, stderr)
	}
}

// A program that needs a C library where it runs is told from one that needs nothing.
func TestLinkedProgramsAreFound(t *testing.T) {
	if runtime.GOOS != "linux" {
		need.Elsewhere(t, "it is about programs of Linux")
	}
	source, static := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "static")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", static, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for program, want := range map[string]bool{"/bin/sh": true, static: false, "doctor_test.go": false} {
		if got := linked(program); got != want {
			t.Errorf("%s: got %t", program, got)
		}
	}
}

// What an engine says of itself does not speak to the terminal.
func TestDoctorPrintsNothingOfOthersAsItIs(t *testing.T) {
	var out strings.Builder
	a := &App{System: System{Stdout: &out, Stderr: &out}}
	_ = a.showFindings([]bottle.Finding{{Area: "docker", Level: bottle.LevelNote, Text: "a\x1b[2Jb\nc", Fix: "d\x07\u202ee"}}, false)
	if got := out.String(); strings.ContainsAny(got, "\x1b\x07\u202e") || strings.Count(got, "\n") != 3 {
		t.Errorf("got %q", got)
	}
}
