// Package e2e tests bot-bottle as its users run it: the real program, a real engine,
// the real Claude Code, and a stand-in for its API. Attacks are tried from inside a
// bottle, as root.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// built holds the paths of what TestMain built.
type built struct {
	program, smolvm string
	images          string // what the stand-in has unpacked
}

var programs built

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if why := noEngine(); why != "" {
		return need.Status(need.Docker, why)
	}
	if chosen() == smolvm {
		switch status, known, err := named(); {
		case err != nil:
			fmt.Println(err)
			return 1
		case !known:
			return status
		}
	}
	dir, err := os.MkdirTemp("", "bot-bottle-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = built{filepath.Join(dir, "bot-bottle"), filepath.Join(dir, "smolvm"), filepath.Join(dir, "images")}
	for path, pkg := range map[string]string{programs.program: "../../cmd/bot-bottle", programs.smolvm: "../smolvm"} {
		build := exec.Command("go", "build", "-trimpath", "-o", path, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Printf("cannot build %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

func gateway() (string, error) {
	home, _ := os.UserHomeDir()
	engine, err := docker.Connect(os.Getenv, home)
	if err != nil {
		return "", err
	}
	defer func() { _ = engine.Close() }()
	return lab.Gateway(context.Background(), engine)
}

func noEngine() string {
	home, _ := os.UserHomeDir()
	engine, err := docker.Connect(os.Getenv, home)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = engine.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return err.Error()
	}
	return ""
}

// house is a lab for one test.
type house struct {
	*lab.Lab
	t  *testing.T
	on backend
}

// open makes a lab whose model answers with answer. When the test ends, nothing of it
// may be left on the engine.
func open(t *testing.T, o standin.Options) house { t.Helper(); return openOn(t, chosen(), o) }

// openOn is open for a backend.
func openOn(t *testing.T, b backend, o standin.Options) house {
	t.Helper()
	l, err := lab.New(t.Context(), t.TempDir(), programs.program, o)
	if err != nil {
		t.Fatal(err)
	}
	h := house{l, t, b}
	if b == smolvm {
		h.useSmolvm()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		h.nothingLeft(ctx)
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return h
}

// nothingLeft fails the test for what is left, and removes it.
func (h house) nothingLeft(ctx context.Context) {
	left, err := h.Left(ctx)
	if err != nil {
		h.t.Error(err)
	}
	for _, what := range h.leftOfMachines() {
		h.t.Errorf("left behind: %s", what)
	}
	for _, what := range left {
		h.t.Errorf("left behind: %s", what)
		kind, name, _ := strings.Cut(what, " ")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "/"), " ")
		if kind == "container" {
			_, _ = h.Engine.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
		} else {
			_, _ = h.Engine.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		}
	}
}

// run runs the program to its end and wants an exit status.
func (h house) run(want int, stdin string, args ...string) lab.Result {
	h.t.Helper()
	r, err := h.Run(h.t.Context(), strings.NewReader(stdin), args...)
	if err != nil {
		h.t.Fatal(err)
	}
	if r.Code != want {
		h.t.Fatalf("bot-bottle %s: got status %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.Code, want, r.Stdout, r.Stderr)
	}
	return r
}

// idle starts a bottle whose agent waits, and returns its identity. It is stopped and
// removed when the test ends.
func (h house) idle(extra ...string) string {
	h.t.Helper()
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", append([]string{"start", "-y", "--detach", "--rm", "sleeper"}, extra...)...).Stdout)
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		_, _ = h.Run(ctx, nil, "stop", identity)
	})
	return identity
}

// sleeper is an agent that is the real image with another program in Claude's place:
// it waits to be stopped.
func (h house) sleeper() {
	h.t.Helper()
	dockerfile := "USER root\nRUN printf '#!/bin/sh\\nexec sleep infinity\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n"
	for name, content := range map[string]string{
		"sleeper/Dockerfile": dockerfile,
		"bottles/sleeper.md": "---\nextends: dev\nagent_provider: {dockerfile: " + filepath.Join(h.Home, "sleeper", "Dockerfile") + "}\n---\n",
		"agents/sleeper.md":  "---\nbottle: sleeper\n---\nYou are Sleeper.\n",
	} {
		if err := h.Write(name, content); err != nil {
			h.t.Fatal(err)
		}
	}
}
