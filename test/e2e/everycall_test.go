package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// endpoints are where the calls of the engine's client go, as the proxy sees them.
var endpoints = map[string]string{
	"Ping": "HEAD /_ping", "Info": "GET /info", "DiskUsage": "GET /system/df",
	"ContainerCreate": "POST /containers/create", "ContainerStart": "POST /containers/#/start", "ContainerAttach": "POST /containers/#/attach", "ContainerWait": "POST /containers/#/wait",
	"ContainerStop": "POST /containers/#/stop", "ContainerInspect": "GET /containers/#/json", "ContainerList": "GET /containers/json", "ContainerLogs": "GET /containers/#/logs", "ContainerRemove": "DELETE /containers/#",
	"CopyToContainer": "PUT /containers/#/archive", "CopyFromContainer": "GET /containers/#/archive", "ContainerStatPath": "HEAD /containers/#/archive",
	"ExecCreate": "POST /containers/#/exec", "ExecAttach": "POST /exec/#/start", "ExecInspect": "GET /exec/#/json",
	"ImageInspect": "GET /images/#/json", "ImageList": "GET /images/json",
	"NetworkList": "GET /networks", "VolumeInspect": "GET /volumes/#", "VolumeList": "GET /volumes", "VolumeRemove": "DELETE /volumes/#",
}

// elsewhere are calls of which no verb here makes one, and why.
var elsewhere = map[string]string{
	"DaemonHost": "asks nobody", "ClientVersion": "asks nobody", "Close": "asks nobody",
	"ContainerStats": "is of a command that could not begin, whose own words are shown where it fails: TestAFullLimitOfProcesses",
	"ExecResize":     "is of a terminal, and its answer is not looked at",
	"ImageBuild":     "an engine's build that fails is TestAFailedResumeLosesNothing's", "ImageRemove": "would take images away from other tests",
	"DistributionInspect": "asks a registry about pipelock's image: TestNoPipelockNoBottle", "ImagePull": "fetches from a registry: TestAPrivateRegistry",
	"ImageSave":     "copies an image for a micro-VM: backend/smolmachines",
	"NetworkCreate": "the network is there, and other tests' bottles are on it", "NetworkRemove": "the same",
}

// endpoint is a call without what names a thing.
func endpoint(call string) string {
	call = regexp.MustCompile(`/v1\.[0-9]+`).ReplaceAllString(call, "")
	call = regexp.MustCompile(`/(containers|exec|volumes)/[^/]+`).ReplaceAllString(call, "/$1/#")
	call = regexp.MustCompile(`/images/.+/json`).ReplaceAllString(call, "/images/#/json")
	switch call {
	case "GET /containers/#":
		return "GET /containers/json"
	case "POST /containers/#":
		return "POST /containers/create"
	}
	return call
}

// clientCalls are the methods of the engine's client that the program calls.
func clientCalls(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{"../../internal/backend/docker", "../../internal/image"} {
		packages, err := parser.ParseDir(token.NewFileSet(), dir, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			ast.Inspect(p, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if method, ok := call.Fun.(*ast.SelectorExpr); ok {
					switch on := method.X.(type) {
					case *ast.SelectorExpr:
						found[method.Sel.Name] = found[method.Sel.Name] || on.Sel.Name == "Client"
					case *ast.Ident:
						found[method.Sel.Name] = found[method.Sel.Name] || on.Name == "engine"
					}
				}
				return true
			})
		}
	}
	maps.DeleteFunc(found, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(found))
}

// Invariant 6: each call to the engine that each verb makes fails, one after the other, in turns
// refused, cut off, answered in vain and given up on. Whatever becomes of the verb, it says why
// in one line; afterwards no work is lost, the log is whole, and a cleanup leaves nothing but
// the bottle. A call that is added to the program, and fails nowhere here, fails the test.
func TestEveryCallOfEveryVerbFails(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "up"})
	proxy, err := faults.Start(t.TempDir(), strings.TrimPrefix(lab.Endpoint(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	h.sleeper()
	f := &everyCall{house: h.at("DOCKER_HOST=" + proxy.Host), proxy: proxy, failed: map[string]int{}}
	proxy.Fail(1<<30, faults.Refuse)
	f.identity = strings.TrimSpace(f.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.removeAtEnd(f.identity)
	f.run(0, "", "exec", f.identity, "--", "sh", "-c", "echo precious > /workspace/mark; git init -q -b main /workspace; cd /workspace; git -c user.name=A -c user.email=a@b.example commit -q --allow-empty -m x")
	running, stopped := func() { f.up() }, func() { f.down() }
	here := t.TempDir()
	if out, err := gitCommand(t.Context(), "init", "-q", here).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.here = here
	for _, verb := range []struct {
		args   []string
		before func() // nil for what changes nothing of the bottle
	}{
		{[]string{"exec", f.identity, "--", "true"}, nil},
		{[]string{"cp", f.identity + ":mark", here}, nil},
		{[]string{"logs", f.identity}, nil},
		{[]string{"egress", f.identity}, nil},
		{[]string{"list", "all"}, nil},
		{[]string{"start", "-y", "--rm", "claude", "--", "-p", "hello"}, func() {}},
		{[]string{"stop", f.identity}, running},
		{[]string{"stop", f.identity}, func() { f.up(); f.killAgent() }},
		{[]string{"resume", "-y", "--detach", f.identity}, stopped},
		{[]string{"resume", "-y", "--detach", f.identity}, func() { f.up(); f.killAgent() }},
		{[]string{"cp", "-", f.identity + ":copied"}, stopped},
		{[]string{"pull", f.identity}, stopped},
		{[]string{"cleanup", "-y"}, func() { f.up(); f.killAgent() }},
	} {
		f.each(verb.before, verb.args...)
	}
	for _, call := range clientCalls(t) {
		at, known := endpoints[call]
		if _, not := elsewhere[call]; not == known {
			t.Errorf("the program calls %s of the engine's client, which this test does not know", call)
		}
		if known && f.failed[at] == 0 {
			t.Errorf("no call of %s (%s) failed; those that did: %v", call, at, slices.Sorted(maps.Keys(f.failed)))
		}
	}
	t.Logf("%d calls failed: %v", f.total, f.failed)
}

// everyCall is a house with one bottle that goes through it all.
type everyCall struct {
	house
	proxy    *faults.Proxy
	identity string
	here     string         // a repository to be in
	failed   map[string]int // by endpoint
	total    int
}

// each makes each call that a verb makes fail: the first of a kind, the second, and so on. Those
// that are made side by side come in any order, so they are told by what they are.
func (f *everyCall) each(before func(), args ...string) {
	f.t.Helper()
	if before != nil {
		before()
	}
	f.proxy.Fail(1<<30, faults.Refuse)
	f.there(args)
	made := map[string]int{}
	for _, call := range f.proxy.Calls() {
		made[endpoint(call)]++
	}
	failed := 0
	for _, at := range slices.Sorted(maps.Keys(made)) {
		for after := range made[at] {
			failed += f.once(before, at, after, args)
		}
	}
	f.t.Logf("%v: %d calls failed, of %d kinds", args, failed, len(made))
}

// once makes one call fail, and returns how many did: the call may not have come.
func (f *everyCall) once(before func(), at string, after int, args []string) int {
	f.t.Helper()
	if before != nil {
		before()
	}
	mode := faults.Modes()[(after+f.total)%4]
	f.proxy.FailOnly(func(call string) bool { return endpoint(call) == at }, after, mode)
	r := f.there(args)
	fired := f.proxy.Fired()
	f.proxy.Fail(1<<30, mode)
	what := fmt.Sprintf("%v with call %d of %s, %s", args, after, at, mode)
	if r.Code != 0 && !strings.HasPrefix(r.Stderr, "bot-bottle: ") && !strings.Contains(r.Stderr, "\nbot-bottle: ") {
		f.t.Errorf("%s: got %q", what, r.Stderr)
	}
	if strings.Contains(r.Stderr, "panic:") || strings.Contains(r.Stderr, "goroutine ") {
		f.t.Fatalf("%s: %s", what, r.Stderr)
	}
	if fired == "" {
		return 0
	}
	f.failed[at]++
	f.total++
	if before != nil {
		f.sound(what, mode)
	}
	return 1
}

// there runs a verb in the repository at hand.
func (f *everyCall) there(args []string) lab.Result {
	f.t.Helper()
	var stdout, stderr strings.Builder
	c := f.Command(f.t.Context(), args...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = f.here, strings.NewReader("x"), &stdout, &stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		f.t.Fatal(err)
	}
	return lab.Result{Code: c.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// sound looks at what a failure has left.
func (f *everyCall) sound(what string, mode faults.Mode) {
	f.t.Helper()
	if mode == faults.Cancel { // the engine goes on with what nobody waits for
		f.settle()
	}
	f.run(0, "", "cleanup", "-y")
	left, err := f.Left(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, l := range left {
		if !strings.Contains(l, f.identity) {
			f.t.Errorf("%s: left %s", what, l)
		}
	}
	if r := f.run(0, "", "cp", f.identity+":mark", "-"); r.Stdout != "precious\n" {
		f.t.Errorf("%s: the workspace has %q", what, r.Stdout)
	}
	f.run(0, "", "logs", f.identity, "--verify")
}

// up makes sure that the bottle runs, with its bundle.
func (f *everyCall) up() {
	f.t.Helper()
	if r := f.run(0, "", "list", "--json"); strings.Contains(r.Stdout, f.identity) && strings.Contains(r.Stdout, `"status": "running"`) {
		return
	}
	f.down()
	f.run(0, "", "resume", "-y", "--detach", f.identity)
}

// down makes sure that it does not.
func (f *everyCall) down() {
	f.t.Helper()
	if _, err := f.Run(f.t.Context(), nil, "stop", f.identity); err != nil {
		f.t.Fatal(err)
	}
}

// killAgent ends the bottle's agent and nothing else of it.
func (f *everyCall) killAgent() {
	f.t.Helper()
	f.house.killAgent(f.identity)
}
