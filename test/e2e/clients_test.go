package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// workshop is a house with a bottle that has the tools that people give their agents,
// and routes to what those fetch from.
type workshop struct {
	house
	up *upstreams
}

func openWorkshop(t *testing.T, o standin.Options) workshop {
	t.Helper()
	h := open(t, o)
	gateway, err := lab.Gateway(t.Context(), h.Engine)
	if err != nil {
		t.Fatal(err)
	}
	w := workshop{h, newUpstreams(t, net.JoinHostPort(gateway, "0"))}
	dockerfile, err := filepath.Abs("clients/image/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		h.Write("token", w.up.token),
		h.Write("upstreams.pem", w.up.ca),
		h.Write("bottles/workshop.md", w.bottle(dockerfile)),
		h.Write("agents/workshop.md", "---\nbottle: workshop\n---\nYou are the Worker.\n"),
	); err != nil {
		t.Fatal(err)
	}
	return w
}

// bottle is the manifest. Nothing in it is for a tool, but for one: the checksum database
// knows only public modules, so who fetches one of his own says which those are.
func (w workshop) bottle(dockerfile string) string {
	var routes strings.Builder
	for _, host := range slices.Sorted(maps.Keys(w.up.hosts)) {
		auth := ""
		if host == "api.example" {
			auth = "auth: {scheme: bearer, secret: API_TOKEN}, "
		}
		fmt.Fprintf(&routes, "    - {host: %s, %sca: ../upstreams.pem, address: '"+gatewayName()+":%s', private: true}\n", host, auth, w.up.port)
	}
	return fmt.Sprintf(`---
extends: dev
agent_provider: {dockerfile: %s}
env: {GONOSUMDB: code.example}
secrets:
  API_TOKEN: {file: ../token}
egress:
  routes:
%s---
`, dockerfile, routes.String())
}

// start starts the bottle, which waits. Should the test fail, it is stopped all the same.
func (w workshop) start() string {
	w.t.Helper()
	identity := strings.TrimSpace(w.run(0, "", "start", "-y", "--detach", "--rm", "workshop").Stdout)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		_, _ = w.Run(ctx, nil, "stop", identity)
	})
	return identity
}

// The tools that people give their agents, and Claude Code itself, work in a bottle with
// no configuration of their own. It is one test with one bottle, so that the image, which
// takes a while, is built once.
func TestTools(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t, standin.Options{Answer: "done", Tool: claudesTool})
	identity := w.start()
	w.installFetch(identity)
	t.Run("fetch", func(t *testing.T) { w.fetch(t, identity) })
	t.Run("as written", w.asWritten)
	t.Run("placeholder", func(t *testing.T) { w.placeholder(t, identity) })
	t.Run("git", func(t *testing.T) { w.git(t, identity) })
	t.Run("refused", func(t *testing.T) { w.refuse(t, identity) })
	t.Run("claude", w.claude)
	w.run(0, "", "stop", identity)
	w.denied(identity)
}

// bare drops the proxy variables, as a tool does that knows nothing of them.
const bare = "unset HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy\n"

// modes are the two ways to egress.
func modes() map[string]string { return map[string]string{"proxy": "", "transparent": bare} }

// tool runs a script as the agent's user, in a new directory that is its home as well:
// what another one left in a cache is no help.
func (w workshop) tool(t *testing.T, identity, script string) (lab.Result, time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := w.Run(ctx, nil, "exec", identity, "--", "sh", "-c", "set -e\ncd \"$(mktemp -d)\"\nexport HOME=\"$PWD\"\n"+script)
	if err != nil {
		t.Fatal(err)
	}
	return r, time.Since(began)
}

// fetched are what people have their agents fetch, with the tools as they come. Each
// prints 42 in the end.
func fetched() map[string]string {
	return map[string]string{
		"curl":            `curl -fsS https://open.example/ | jq .answer`,
		"curl with key":   `curl -fsS -H "Authorization: Bearer $API_TOKEN" https://api.example/ | jq .answer`,
		"requests":        `python3 -c 'import requests; print(requests.get("https://open.example/").json()["answer"])'`,
		"requests, key":   `python3 -c 'import os, requests; print(requests.get("https://api.example/", headers={"Authorization": "Bearer " + os.environ["API_TOKEN"]}).json()["answer"])'`,
		"urllib":          `python3 -c 'import json, urllib.request; print(json.load(urllib.request.urlopen("https://open.example/"))["answer"])'`,
		"node fetch":      `node -e 'fetch("https://open.example/").then(r => r.json()).then(j => console.log(j.answer))'`,
		"node fetch, key": `node -e 'fetch("https://api.example/", {headers: {authorization: "Bearer " + process.env.API_TOKEN}}).then(r => r.json()).then(j => console.log(j.answer))'`,
		"node https":      `node -e 'require("https").get("https://open.example/", r => r.on("data", d => console.log(JSON.parse(d).answer)))'`,
		"go program":      `/tmp/fetch https://api.example/ | jq .answer`,
		"pip":             `python3 -m venv v; v/bin/pip install bottled >&2; v/bin/python -c 'import bottled; print(bottled.answer)'`,
		"pip of Debian":   `pip download bottled >&2; PYTHONPATH=$(echo "$PWD"/*.whl) python3 -c 'import bottled; print(bottled.answer)'`,
		"npm":             `npm install bottled >&2; npm audit >&2; node -p 'require("bottled").answer'`,
		"npm with scope":  `npm install @corked/bottled >&2; node -p 'require("@corked/bottled").answer'`,
		"go get": `go mod init example.com/mine; go get code.example/bottled@latest
printf 'package main\nimport "code.example/bottled"\nfunc main() { print(bottled.Answer) }\n' >main.go
go mod download && go run . 2>&1`,
	}
}

// fetch: what the policy allows comes, whether the tool knows of a proxy or not. A tool
// that sends a placeholder from the environment is let in, since the upstream gets the
// real key.
func (w workshop) fetch(t *testing.T, identity string) {
	for name, script := range fetched() {
		for mode, without := range modes() {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				r, took := w.tool(t, identity, without+script)
				if r.Code != 0 || strings.TrimSpace(r.Stdout) != "42" {
					t.Errorf("got status %d, %q\n%s", r.Code, r.Stdout, r.Stderr)
				}
				t.Logf("took %v", took.Round(time.Millisecond))
			})
		}
	}
}

// asWritten: what npm asked for arrived as npm wrote it, a scope's escaped slash, and the
// question of its audit, whose body is in gzip.
func (w workshop) asWritten(t *testing.T) {
	requests := w.up.requests()
	for _, want := range []string{"registry.npmjs.org GET /@corked%2fbottled", "registry.npmjs.org POST /-/npm/v1/security/advisories/bulk"} {
		if !slices.Contains(requests, want) {
			t.Errorf("%s did not arrive; got %q", want, requests)
		}
	}
}

// placeholder: what the tools sent was not the key.
func (w workshop) placeholder(t *testing.T, identity string) {
	if r, _ := w.tool(t, identity, `test -n "$API_TOKEN" && env`); r.Code != 0 || strings.Contains(r.Stdout, w.up.token) {
		t.Errorf("got status %d, %s", r.Code, r.Stdout)
	}
}

// installFetch brings in a Go program of today's: Debian's Go is older, and its command
// is a client only of module proxies.
func (w workshop) installFetch(identity string) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "fetch")
	build := exec.CommandContext(w.t.Context(), "go", "build", "-trimpath", "-o", path, "./clients/fetch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("cannot build the program that fetches: %v\n%s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(0, string(program), "exec", identity, "--", "sh", "-c", "cat >/tmp/fetch && chmod 755 /tmp/fetch")
}

// git clones, fetches and pushes over HTTPS, a few bytes and several megabytes, which it
// sends in chunks.
func (w workshop) git(t *testing.T, identity string) {
	for mode, without := range modes() {
		r, took := w.tool(t, identity, without+`branch=work-`+mode+`
git clone -q https://git.example/project.git && cd project
git config user.name Worker && git config user.email worker@example.com
git log --format=%s
git checkout -q -b $branch
echo small >file && git add file && git commit -q -m small && git push -q origin $branch
head -c 4000000 /dev/urandom >file && git commit -q -a -m large && git push -q origin $branch
cd .. && git clone -q --depth 1 -b $branch https://git.example/project.git again && cmp project/file again/file
cd again && git fetch -q --unshallow && git log --format=%s
git rev-parse HEAD`)
		lines := strings.Fields(strings.ReplaceAll(r.Stdout, "the first commit", "first"))
		if r.Code != 0 || len(lines) != 5 || !slices.Equal(lines[:4], []string{"first", "large", "small", "first"}) {
			t.Errorf("%s: got status %d, %q\n%s", mode, r.Code, r.Stdout, r.Stderr)
			continue
		}
		arrived, err := gitCommand(t.Context(), "-C", w.up.repo, "rev-parse", "refs/heads/work-"+mode).Output()
		if err != nil || strings.TrimSpace(string(arrived)) != lines[4] {
			t.Errorf("%s: the upstream has %q, %v; want %s", mode, arrived, err, lines[4])
		}
		t.Logf("%s took %v", mode, took.Round(time.Millisecond))
	}
}

// refused is a tool on its way to a host that no route names, and the words that tell a
// person why, through the proxy and without it.
type refused struct{ script, proxy, transparent string }

// npm is told to ask once: for a host that is not there it asks again after 10 seconds and
// after 60, in a bottle as anywhere.
func refusals() map[string]refused {
	const policy = "Forbidden by the bottle's policy" // curl and git show the number only
	return map[string]refused{
		"curl":     {`curl -sS https://$host/`, "403", "Could not resolve host: $host"},
		"git":      {`git clone https://$host/project.git`, "403", "Could not resolve host: $host"},
		"requests": {`python3 -c 'import sys, requests; requests.get(sys.argv[1])' https://$host/`, policy, "Name or service not known"},
		"pip":      {`python3 -m venv v; v/bin/pip install --index-url https://$host/simple bottled`, policy, "Name or service not known"},
		"npm":      {`npm install --fetch-retries=0 --registry https://$host/ bottled`, policy, "ENOTFOUND"},
		"go":       {`go mod init example.com/mine; GOPROXY=https://$host go get code.example/bottled`, policy, "no such host"},
		"fetch":    {`node -e 'fetch(process.argv[1])' https://$host/`, "ENOTFOUND", "ENOTFOUND"}, // it knows of no proxy
		"program":  {`/tmp/fetch https://$host/`, policy, "no such host"},
	}
}

// refuse: a tool that asks for a host outside the policy fails, with a message that tells
// of the refusal, or that there is no such host.
func (w workshop) refuse(t *testing.T, identity string) {
	for name, tool := range refusals() {
		for mode, without := range modes() {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				host, want := name+"."+mode+".example", tool.proxy
				if mode == "transparent" {
					want = strings.ReplaceAll(tool.transparent, "$host", host)
				}
				r, took := w.tool(t, identity, without+"host="+host+"\n"+tool.script)
				if r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, want) {
					t.Errorf("got status %d, want the words %q\n%s%s", r.Code, want, r.Stdout, r.Stderr)
				}
				t.Logf("took %v", took.Round(time.Millisecond))
			})
		}
	}
}

// denied wants each of the refusals in the audit log.
func (w workshop) denied(identity string) {
	w.t.Helper()
	log, err := os.ReadFile(filepath.Join(w.Home, "state", identity, "audit.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	hosts := map[string]bool{}
	for line := range strings.Lines(string(log)) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Decision == audit.Deny && e.Reason != "" {
			hosts[e.Host] = true
		}
	}
	for name := range refusals() {
		for mode := range modes() {
			if host := name + "." + mode + ".example"; !hosts[host] {
				w.t.Errorf("the audit log lacks the refusal of %s; it has %v", host, hosts)
			}
		}
	}
}

// claudesTool is what the model has Claude Code run. When all of it works, "all of 3" is
// what it prints.
const claudesTool = `cd "$(mktemp -d)" && git clone -q https://git.example/project.git && pip download -q bottled && npm install bottled &&
curl -fsS -H "Authorization: Bearer $API_TOKEN" https://api.example/ && echo all of "$(ls -d project *.whl node_modules | wc -l)"`

// claude: Claude Code's own requests go through egress, and so do those of what it runs.
func (w workshop) claude(t *testing.T) {
	r, err := w.Run(t.Context(), nil, "start", "-y", "--rm", "workshop", "--", "-p", "fetch it all")
	if err != nil || r.Code != 0 || strings.TrimSpace(r.Stdout) != "done" {
		t.Fatalf("got status %d, %q, %v\n%s", r.Code, r.Stdout, err, r.Stderr)
	}
	requests := w.Standin.Requests()
	if !slices.ContainsFunc(requests, func(r standin.Request) bool { return strings.Contains(r.Body, "all of 3") }) {
		t.Errorf("the tools' output did not come back to the model: %v", requests)
	}
}
