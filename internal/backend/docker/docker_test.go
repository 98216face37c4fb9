package docker

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func plan() Plan {
	return Plan{RuntimeNote: "not gVisor: the engine lists no runtime runsc", OwnLoopback: true, Plan: resolve.Plan{
		Identity: "implementer-k7x2m4", Agent: "implementer", Bottle: "dev", Owner: "0123456789abcdef", Backend: "docker",
		Image: "bot-bottle/claude:0123456789ab", Build: true,
		CPUs: 2, Memory: 4 << 30, PIDs: 1024,
		Routes: []policy.Route{
			{Host: "api.anthropic.com", Port: 443, Protocol: policy.HTTPS, Auth: &policy.Auth{Scheme: policy.Header, Header: "x-api-key", Secret: "ANTHROPIC_API_KEY"}},
			{Host: "api.github.com", Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET"}, Paths: []string{"/repos/acme/**"}},
			{Host: "s3.example", Port: 443, Protocol: policy.HTTPS, Query: map[string]string{"bucket": "acme-*"}, Deny: []policy.Deny{{Methods: []string{"DELETE"}}}, Limits: &policy.Limits{BytesUp: 10 << 20, Window: policy.Span(time.Hour)}},
			{Host: "db.corp.internal", Port: 5432, Protocol: policy.TCP, Address: "10.0.0.7:5432", Private: true},
		},
		Deny:         []policy.Deny{{Host: "api.anthropic.com", Paths: []string{"/v1/files/**"}}},
		Limits:       &policy.Limits{Requests: 10000, Window: policy.Span(24 * time.Hour)},
		Scan:         map[string]dlp.Action{"jwt": dlp.Alert, "*": dlp.Redact},
		Proxy:        &policy.Proxy{URL: "http://proxy.corp.internal:3128", Auth: &policy.ProxyAuth{User: "bottles", Secret: "PROXY_PASSWORD"}, NoProxy: []string{"**.corp.internal", "10.0.0.0/8"}},
		Skills:       []bottle.Skill{{Name: "tdd", Dir: "/home/op/.claude/skills/tdd"}},
		Git:          []bottle.Repository{{GitRepo: manifest.GitRepo{Name: "widget", Upstream: "ssh://git@github.example/acme/widget.git"}}},
		Secrets:      map[string]secret.Value{"ANTHROPIC_API_KEY": secret.New("the-real-thing"), "CLAUDE_CODE_OAUTH_TOKEN": secret.New("another-real-thing")},
		Placeholders: map[string]string{"ANTHROPIC_API_KEY": "placeholder-1", "CLAUDE_CODE_OAUTH_TOKEN": "placeholder-2"},
		Withheld:     []string{"CLAUDE_CODE_OAUTH_TOKEN"},
		Env:          map[string]string{"EDITOR": "vi", "HTTP_PROXY": "http://evil.example"},
		Pipelock:     &resolve.Pipelock{Image: "ghcr.io/luckypipewrench/pipelock@sha256:0123", Fetch: true, MinVersion: "2.3", Answers: true},
		Provider:     provider.Setup{Argv: []string{"claude"}, Env: map[string]string{"DISABLE_AUTOUPDATER": "1"}},
		TTY:          true, Term: "xterm-256color", Source: &provision.Source{Root: "/home/op/src/widget", Common: "/home/op/elsewhere/.git", Branches: 2, Tags: 1, Dirty: true, Notes: []string{"submodules stay empty"}},
	}}
}

func TestPreflight(t *testing.T) {
	var b strings.Builder
	if err := plan().WriteSummary(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "preflight.txt", b.String())
}

// The containers as the engine is asked for them: every wall is in these files.
func TestContainers(t *testing.T) {
	p := plan()
	env := p.Environment([]string{"HTTP_PROXY=http://127.0.0.1:3128"})
	for name, options := range map[string]any{
		"agent.json":    p.agentContainer("sha256:agent", "PROFILE", env, "bot-bottle-bin-x"),
		"pipelock.json": p.pipelockContainer("sha256:pipelock", "PROFILE", "bot-bottle-bin-x"),
		"sidecar.json":  p.bundleContainer("sha256:sidecar", "network-id", "bot-bottle-bin-x"),
	} {
		data, err := json.MarshalIndent(options, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, string(data)+"\n")
		if strings.Contains(string(data), "real-thing") {
			t.Errorf("%s holds a secret", name)
		}
	}
}

// Attack H1, C10: a plan is printed; a repository's agent has a name for the terminal.
func TestAttackC10_APlanPrintsNoSecretAndNoControls(t *testing.T) {
	p := plan()
	p.Source = &provision.Source{Root: "/tmp/\x1b]0;owned\x07\u202e\u200f\u061c\u200b\ufeff\U000e0041o" + strings.Repeat("\u0336", 9)}
	var b strings.Builder
	if err := p.WriteSummary(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\u202e\u200f\u061c\u200b\ufeff\U000e0041") || strings.Contains(b.String(), "\u0336\u0336\u0336") {
		t.Errorf("got %q", b.String())
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if strings.Contains(fmt.Sprintf(verb, p), "real-thing") {
			t.Errorf("%s prints a secret", verb)
		}
	}
}

func TestRuntime(t *testing.T) {
	runsc := func(args ...string) system.Info {
		return system.Info{Runtimes: map[string]system.RuntimeWithStatus{
			"runc": {Runtime: system.Runtime{Path: "runc"}}, "runsc": {Runtime: system.Runtime{Path: "/usr/local/bin/runsc", Args: args}},
		}}
	}
	for name, c := range map[string]struct {
		info system.Info
		want manifest.Runtime
		name string
		note string
		fail bool
	}{
		"auto without gVisor":     {system.Info{}, manifest.RuntimeAuto, "", "lists no runtime runsc", false},
		"auto without sockets":    {runsc("--network=none"), manifest.RuntimeAuto, "", "lacks --host-uds=all", false},
		"auto with gVisor":        {runsc("--host-uds=all"), manifest.RuntimeAuto, "runsc", "", false},
		"auto with open sockets":  {runsc("--host-uds=open"), manifest.RuntimeAuto, "runsc", "", false},
		"runc with gVisor":        {runsc("--host-uds=all"), manifest.RuntimeRunc, "runc", "", false},
		"runsc":                   {runsc("--host-uds=all"), manifest.RuntimeRunsc, "runsc", "", false},
		"runsc without sockets":   {runsc(), manifest.RuntimeRunsc, "", "", true},
		"runsc that is not there": {system.Info{}, manifest.RuntimeRunsc, "", "", true},
	} {
		var p Plan
		err := p.resolveEngine(c.info, c.want)
		if (err != nil) != c.fail || p.Runtime != c.name || !strings.Contains(p.RuntimeNote, c.note) || (p.RuntimeNote == "") != (c.note == "") {
			t.Errorf("%s: got %q, %q, %v", name, p.Runtime, p.RuntimeNote, err)
		}
		if p.OwnLoopback != (p.Runtime == "runc") {
			t.Errorf("%s: runtime %q, own loopback %t", name, p.Runtime, p.OwnLoopback)
		}
	}
	for have, fits := range map[int]bool{0: true, 1: false, 2: true, 8: true} {
		p := Plan{Plan: resolve.Plan{CPUs: 1.5}}
		if err := p.resolveEngine(system.Info{NCPU: have}, ""); (err == nil) != fits {
			t.Errorf("1.5 CPUs of %d: %v", have, err)
		}
	}
	for name, c := range map[string]struct {
		info system.Info
		want bool
	}{
		"runc by default":  {system.Info{DefaultRuntime: "runc", Runtimes: map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "/usr/sbin/runc"}}}}, true},
		"the engine's own": {system.Info{DefaultRuntime: "io.containerd.runc.v2"}, true},
		"gVisor by default": {system.Info{DefaultRuntime: "runsc", Runtimes: map[string]system.RuntimeWithStatus{
			"runsc": {Runtime: system.Runtime{Path: "/usr/local/bin/runsc"}}}}, false},
		"another called runc": {system.Info{DefaultRuntime: "runc", Runtimes: map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "/usr/bin/crun"}}}}, false},
	} {
		if got := isRunc(c.info, c.info.DefaultRuntime); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// The engine is the one that the docker command would use.
func TestContextHost(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{}
	ask := func() (string, error) { return contextHost(func(k string) string { return env[k] }, dir) }
	if got, err := ask(); got != "" || err != nil {
		t.Errorf("without configuration: got %q, %v", got, err)
	}
	// SHA-256 of "colima" names its directory.
	write(".docker/contexts/meta/f24fd3749c1368328e2b149bec149cb6795619f244c5b584e844961215dadd16/meta.json", `{"Name":"colima","Endpoints":{"docker":{"Host":"unix:///colima.sock"}}}`)
	write(".docker/config.json", `{"currentContext":"colima"}`)
	if got, err := ask(); got != "unix:///colima.sock" || err != nil {
		t.Errorf("current context: got %q, %v", got, err)
	}
	env["DOCKER_CONTEXT"] = "default"
	if got, err := ask(); got != "" || err != nil {
		t.Errorf("default by name: got %q, %v", got, err)
	}
	env["DOCKER_CONTEXT"] = "gone"
	if _, err := ask(); err == nil {
		t.Error("a context that is not there was taken for the default")
	}
}

func TestMCSLevels(t *testing.T) {
	seen := map[string]bool{}
	for i := range 200 {
		level := mcsLevel(fmt.Sprintf("dev-%06d", i))
		var a, b int
		if n, err := fmt.Sscanf(level, "s0:c%d,c%d", &a, &b); n != 2 || err != nil || a >= b || b > 1023 {
			t.Fatalf("got %s", level)
		}
		seen[level] = true
	}
	if len(seen) < 195 {
		t.Errorf("only %d levels for 200 bottles", len(seen))
	}
}

// An engine that has locked itself up takes requests and answers none of them. Whoever
// asks is told, instead of waiting for ever.
func TestAnEngineThatHangsIsReported(t *testing.T) {
	host := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	getenv := func(name string) string { return map[string]string{"DOCKER_HOST": "unix://" + host}[name] }
	engine, err := connect(getenv, t.TempDir(), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	_, err = engine.ContainerStart(context.WithoutCancel(t.Context()), "x", client.ContainerStartOptions{})
	var hint interface{ Hint() string }
	if explained := explain(err); !errors.As(explained, &hint) || !strings.Contains(hint.Hint(), "restart the engine") || !strings.Contains(explained.Error(), "does not answer") {
		t.Errorf("got %v", explained)
	}
}
