package manifest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// tree writes files below a new directory and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, home, repository string) *Manifest {
	t.Helper()
	m, err := Load(home, repository, "/home/op")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// example is that of the design.
const example = `---
extends: base
agent_provider:
  template: claude
  dockerfile: ./agent.Dockerfile
runtime: auto
resources: {cpus: 2, memory: 4GiB, pids: 1024}
env: {EDITOR: vi}
secrets:
  ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}
  GH_TOKEN: {command: [gh, auth, token]}
  NPM_TOKEN: {file: ~/.secrets/npm}
egress:
  routes:
    - host: api.anthropic.com
      auth: {scheme: header, header: x-api-key, secret: ANTHROPIC_API_KEY}
    - host: api.github.com
      methods: [GET, POST]
      paths: ["/repos/acme/**", "/user"]
      auth: {scheme: bearer, secret: GH_TOKEN}
    - host: "*.npmjs.example"
      methods: [GET, HEAD]
    - host: artifacts.corp.internal
      port: 8443
      ca: ~/corp-ca.pem
      address: 10.0.0.7:8443
      private: true
    - host: db.corp.internal
      port: 5432
      protocol: tcp
git:
  - name: widget
    upstream: ssh://git@github.example/acme/widget.git
    identity_file: ~/.ssh/id_ed25519
    known_hosts: ~/.ssh/known_hosts
    push: {refs: ["refs/heads/agent/**"], force: false, delete: false, mode: forward}
supervise: true
pipelock: false
---
Prose for the operator: what this bottle is for.
`

func TestTheDesignsExample(t *testing.T) {
	home := tree(t, map[string]string{
		"bottles/base.md": "---\nenv: {PAGER: cat}\negress:\n  routes:\n    - host: base.example\n---\n",
		"bottles/dev.md":  example,
		"agents/implementer.md": "---\nbottle: dev\nskills: [tdd]\ngit_identity: {name: Implementer, email: implementer@acme.example}\nargs: [--model, opus]\n---\n" +
			"You are the implementer. …\n",
	})
	m := load(t, home, "")
	if len(m.Problems) > 0 {
		t.Fatal(m.Problems)
	}
	bottle, err := m.Bottle("dev")
	if err != nil {
		t.Fatal(err)
	}
	want := Bottle{
		Name: "dev", File: filepath.Join(home, "bottles/dev.md"), Notes: "Prose for the operator: what this bottle is for.\n",
		Provider: Provider{Template: "claude", Dockerfile: "./agent.Dockerfile"}, Runtime: RuntimeAuto,
		Resources: Resources{CPUs: 2, Memory: 4 << 30, PIDs: 1024}, Env: map[string]string{"EDITOR": "vi", "PAGER": "cat"},
		Secrets: map[string]SecretSource{
			"ANTHROPIC_API_KEY": {Env: "ANTHROPIC_API_KEY"}, "GH_TOKEN": {Command: []string{"gh", "auth", "token"}}, "NPM_TOKEN": {File: "/home/op/.secrets/npm"},
		},
		Routes: []policy.Route{
			{Host: "base.example"},
			{Host: "api.anthropic.com", Auth: &policy.Auth{Scheme: policy.Header, Header: "x-api-key", Secret: "ANTHROPIC_API_KEY"}},
			{Host: "api.github.com", Methods: []string{"GET", "POST"}, Paths: []string{"/repos/acme/**", "/user"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "GH_TOKEN"}},
			{Host: "*.npmjs.example", Methods: []string{"GET", "HEAD"}},
			{Host: "artifacts.corp.internal", Port: 8443, CA: "/home/op/corp-ca.pem", Address: "10.0.0.7:8443", Private: true},
			{Host: "db.corp.internal", Port: 5432, Protocol: policy.TCP},
		},
		Git: []GitRepo{{
			Name: "widget", Upstream: "ssh://git@github.example/acme/widget.git", IdentityFile: "/home/op/.ssh/id_ed25519", KnownHosts: "/home/op/.ssh/known_hosts",
			Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
		}},
		Supervise: true,
	}
	if diff := cmp.Diff(want, bottle, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	agent, err := m.Agent("implementer")
	if err != nil {
		t.Fatal(err)
	}
	wantAgent := Agent{
		Name: "implementer", File: filepath.Join(home, "agents/implementer.md"), Bottle: "dev", Skills: []string{"tdd"},
		GitIdentity: GitIdentity{"Implementer", "implementer@acme.example"}, Args: []string{"--model", "opus"}, Prompt: "You are the implementer. …\n",
	}
	if diff := cmp.Diff(wantAgent, agent); diff != "" {
		t.Error(diff)
	}
}

// What rules say is what the policy gets, with what a bottle extends.
func TestRules(t *testing.T) {
	b, err := load(t, "testdata/rules", "").Bottle("child")
	if err != nil {
		t.Fatal(err)
	}
	routes := []policy.Route{
		{
			Host: "api.github.com", Paths: []string{"/repos/acme/**", "/graphql", "/@acme%2f*"}, Query: map[string]string{"owner": "acme"},
			Body:   map[string]string{"variables.owner": "acme", "variables.name": "widget-*"},
			Deny:   []policy.Deny{{Paths: []string{"/repos/acme/secret/**"}}, {Methods: []string{"POST"}, Body: map[string]string{"query": "*mutation*"}}},
			Limits: &policy.Limits{Requests: 100, BytesUp: 10 << 20, BytesDown: 1 << 20, Window: policy.Span(time.Hour)}, Scan: map[string]dlp.Action{"github-token": dlp.Alert}, Auth: &policy.Auth{Scheme: policy.Placeholder, Secret: "GH_TOKEN", FormFields: []string{"token"}},
		},
		{Host: "maps.example", LogPath: policy.LogNone, Auth: &policy.Auth{Scheme: policy.Query, Parameter: "key", Secret: "MAPS_KEY"}},
	}
	deny := []policy.Deny{{Host: "api.github.com", Methods: []string{"DELETE"}}, {Host: "**.github.com", Paths: []string{"/gists/**"}}, {Host: "uploads.github.com"}}
	limits := &policy.Limits{Requests: 1000, BytesUp: 1 << 30, Window: policy.Span(12 * time.Hour)}
	if diff := cmp.Diff(policy.Policy{Routes: routes, Deny: deny, Limits: limits}, policy.Policy{Routes: b.Routes, Deny: b.Deny, Limits: b.Limits}); diff != "" {
		t.Error(diff)
	}
	if _, err := policy.New(policy.Policy{Routes: b.Routes, Deny: b.Deny, Limits: b.Limits}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]dlp.Action{"*": dlp.Redact, "jwt": dlp.Alert, "stripe-key": dlp.Block}, b.Scan); diff != "" {
		t.Error(diff)
	}
}

func TestSpans(t *testing.T) {
	for written, want := range map[any]time.Duration{"90s": 90 * time.Second, "1h": time.Hour, "7d": 7 * 24 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0, "-1h": 0, "1": 0, "d": 0, "-1d": 0, "1.5d": 0, "": 0, int64(5): 0} {
		if got, ok := asSpan(written); ok != (want > 0) || ok && got != want {
			t.Errorf("%v: got %v, %v", written, got, ok)
		}
	}
}

// Every problem is found, at its line, and all in one go.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		front string
		want  []string // of bottles/b.md; "" is none
	}{
		"unknown key":      {"runtme: auto", []string{`:2: unknown key runtme (did you mean "runtime"?)`}},
		"deep unknown key": {"egress:\n  routes:\n    - host: a.example\n      method: [GET]", []string{`:5: unknown key egress.routes.method (did you mean "methods"?)`}},
		"nothing near":     {"zzzzzzzzzzzz: 1", []string{":2: unknown key zzzzzzzzzzzz"}},
		"types": {"supervise: 1\nenv: [a]\nresources: {cpus: many, memory: big, pids: 1.5}\nsecrets: x\nagent_provider: {template: 3}", []string{
			":2: supervise must be true or false, not 1", ":3: env must be a mapping, not a list", ":4: resources.cpus must be a number, 0 or more, not \"many\"",
			":4: resources.memory must be a size such as 4GiB, not \"big\"", ":4: resources.pids must be a whole number, 0 or more, not 1.5",
			":5: secrets must be a mapping, not a single value", ":6: agent_provider.template must be text (put it in quotes), not 3"}},
		"closed sets":     {"runtime: rnuc\nagent_provider: {template: cluade}", []string{`:2: runtime must be one of auto, runc, runsc, not "rnuc" (did you mean "runc"?)`, `:3: agent_provider.template must be one of claude, codex, gemini, opencode, custom, not "cluade" (did you mean "claude"?)`}},
		"too little":      {"resources: {cpus: 0, memory: 1MiB, pids: 2}", []string{":2: resources.memory must be 64MiB or more", ":2: resources.cpus must be 0.01 or more", ":2: resources.pids must be 32 or more"}},
		"secret sources":  {"secrets:\n  A: {}\n  B: {env: X, file: y}\n  C:\n  1D: {env: X}", []string{":3: secrets.A needs exactly one of", ":4: secrets.B needs exactly one of", ":5: secrets.C needs exactly one of", `:6: "1D" is not the name of an environment variable`}},
		"scan":            {"egress:\n  scan: {jtw: alert, known-value: alert}\n  routes:\n    - {host: a.example, scan: {jwt: pass}}", []string{`:3: scan: there is no rule "jtw" (did you mean "jwt"?)`, `:3: scan: rule known-value: it can be blocked or redacted`, `:5: scan: rule jwt: there is no action "pass"`}},
		"unknown secret":  {"secrets: {GH_TOKEN: {env: X}}\negress:\n  routes:\n    - {host: a.example, auth: {scheme: bearer, secret: GH_TOKN}}", []string{`:5: there is no secret "GH_TOKN" (did you mean "GH_TOKEN"?)`}},
		"routes":          {"egress:\n  routes:\n    - host: 10.0.0.1\n    - {host: a.example, port: 70000}\n    - {port: 3}", []string{":4: route: host", ":5: route a.example: port 70000", ":6: egress.routes.host is missing"}},
		"env":             {"env: {HTTPS_PROXY: x, 'A B': y}\nsecrets: {EDITOR: {env: X}}", []string{":2: HTTPS_PROXY is set by bot-bottle", `:2: "A B" is not the name`}},
		"both":            {"env: {T: x}\nsecrets: {T: {env: X}}", []string{":2: T is both in env and in secrets"}},
		"signing":         {"git:\n  - {name: a, upstream: 'https://a.example/x', sign_key: k, push: {authors: any}}", []string{":3: git.sign_key: it vouches for every commit that is pushed"}},
		"git keys":        {"git:\n  - {name: a, upstream: 'https://a.example/x', identity_file: k, host_key: x}\n  - {name: b, upstream: 'git@a.example:x', ca: c, known_hosts: h, host_key: 'SHA256:x'}", []string{`:3: git.host_key: "x" is no fingerprint`, ":3: git.identity_file: it is for ssh", ":4: git.ca: it is for https", ":4: git.host_key: use either it or known_hosts"}},
		"git":             {"git:\n  - {name: ../x, upstream: 'ext::sh -c id'}\n  - {name: a, upstream: --upload-pack=x}\n  - {name: a, upstream: 'file:///etc'}", []string{`:3: git: "../x" is not a repository's name`, ":3: git.upstream:", ":4: git.upstream:", ":5: git: there are two repositories a", ":5: git.upstream:"}},
		"duplicate":       {"runtime: runc\nruntime: runsc", []string{":3: "}},
		"not yaml":        {"a: [", []string{":"}},
		"anchors":         {"env: &a {X: y}\nsecrets: *a", []string{":2:", ":3:"}},
		"tags":            {"runtime: !!str auto", []string{":2:"}},
		"merge keys":      {"env:\n  <<: {A: b}", []string{":"}},
		"a list":          {"- a\n- b", []string{"the front matter must be a mapping"}},
		"two documents":   {"a: b\n---\nc: d", []string{""}},
		"nothing":         {"", []string{""}},
		"empty sections":  {"egress:\nenv:\nsecrets:\ngit:\nresources:", []string{""}},
		"empty routes":    {"egress:\n  routes:", []string{""}},
		"extends nothing": {"extends: nope", []string{`:2: extends: there is no bottle "nope"`}},
		"extends itself":  {"extends: b", []string{":2: extends goes in a circle: b → b"}},
	} {
		m := load(t, tree(t, map[string]string{"bottles/b.md": "---\n" + c.front + "\n---\n"}), "")
		all := m.Problems.Error()
		if c.want[0] == "" {
			if name != "two documents" && len(m.Problems) > 0 {
				t.Errorf("%s: got %s", name, all)
			}
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(all, want) {
				t.Errorf("%s: lacks %q:\n%s", name, want, all)
			}
		}
		if len(m.Problems) == 0 {
			t.Errorf("%s: no problem was found", name)
		}
		if _, err := m.Bottle("b"); err == nil {
			t.Errorf("%s: the bottle can be used", name)
		}
	}
}

func TestFiles(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"no front matter": {"hello", ":1: the file must begin with front matter"},
		"empty":           {"", ":1: the file must begin with front matter"},
		"no end":          {"---\nruntime: auto\n", ":1: the front matter has no end"},
		"binary":          {"---\n\xff\xfe\n---\n", ":1: the file is not text in UTF-8"},
		"NUL":             {"---\n---\n\x00", ":1: the file is not text in UTF-8"},
		"CRLF":            {"---\r\nruntime: runc\r\n---\r\nNotes\r\n", ""},
		"byte order mark": {"\xef\xbb\xbf---\nruntime: runc\n---\n", ""},
		"no newline":      {"---\nruntime: runc\n---", ""},
		"deep":            {"---\nenv: " + strings.Repeat("[", 1000) + "\n---\n", "the front matter is too large"},
		"huge":            {"---\n---\n" + strings.Repeat("x", maxFile), "it is larger than"},
	} {
		m := load(t, tree(t, map[string]string{"bottles/b.md": c.content}), "")
		if all := m.Problems.Error(); c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: got %q, want %q", name, all, c.want)
		}
	}
	m := load(t, tree(t, map[string]string{"bottles/Not A Name.md": "---\n---\n", "agents/" + strings.Repeat("a", 25) + ".md": "---\n---\n", "agents/.hidden.md": "x", "agents/README": "x"}), "")
	if len(m.Problems) != 2 {
		t.Errorf("got %v", m.Problems)
	}
}

func TestExtends(t *testing.T) {
	m := load(t, tree(t, map[string]string{
		"bottles/one.md":   "---\nruntime: runsc\nsupervise: true\nresources: {cpus: 4, pids: 100}\nenv: {A: one, B: one}\nsecrets: {K: {env: ONE}}\negress: {routes: [{host: one.example}]}\n---\n",
		"bottles/two.md":   "---\nextends: one\nresources: {cpus: 2}\nenv: {B: two}\negress: {routes: [{host: two.example}]}\n---\n",
		"bottles/three.md": "---\nextends: two\nsupervise: false\nsecrets: {K: {file: three}}\n---\n",
		"bottles/x.md":     "---\nextends: y\n---\n", "bottles/y.md": "---\nextends: z\n---\n", "bottles/z.md": "---\nextends: x\n---\n",
		"bottles/child.md": "---\nextends: broken\n---\n", "bottles/broken.md": "---\nruntme: x\n---\n",
	}), "")
	three, err := m.Bottle("three")
	if err != nil {
		t.Fatal(err)
	}
	if three.Runtime != RuntimeRunsc || three.Supervise || three.Resources != (Resources{CPUs: 2, PIDs: 100}) ||
		!cmp.Equal(three.Env, map[string]string{"A": "one", "B": "two"}) || len(three.Routes) != 2 || three.Routes[0].Host != "one.example" ||
		three.Secrets["K"].Env != "" || filepath.Base(three.Secrets["K"].File) != "three" {
		t.Errorf("got %+v", three)
	}
	for _, name := range []string{"x", "y", "z", "child", "broken"} {
		if _, err := m.Bottle(name); err == nil {
			t.Errorf("%s can be used", name)
		}
	}
	if all := m.Problems.Error(); !strings.Contains(all, "in a circle: ") || !strings.Contains(all, "broken.md:2: unknown key runtme") {
		t.Errorf("got %s", all)
	}
}

// A problem in one file does not stop who has nothing to do with it.
func TestOthersProblemsDoNotStopAnAgent(t *testing.T) {
	m := load(t, tree(t, map[string]string{
		"bottles/good.md": "---\n---\n", "bottles/bad.md": "---\nruntme: x\n---\n",
		"agents/good.md": "---\nbottle: good\n---\n", "agents/bad.md": "---\nbottel: good\n---\n", "agents/on-bad.md": "---\nbottle: bad\n---\n",
	}), "")
	agent, err := m.Agent("good")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Bottle(agent.Bottle); err != nil {
		t.Error(err)
	}
	var problems Problems
	if _, err := m.Agent("bad"); !errors.As(err, &problems) || !strings.Contains(err.Error(), "bad.md:2: unknown key bottel") {
		t.Errorf("got %v", err)
	}
	var unknown *UnknownError
	if _, err := m.Agent("god"); !errors.As(err, &unknown) || !strings.Contains(err.Error(), `did you mean "good"`) {
		t.Errorf("got %v", err)
	}
}

// Attack D7, E4: a repository brings a bottle that widens everything, an agent in the
// place of the operator's own, links out of the repository, a pipe that never ends.
func TestAttackD7_ARepositoryWidensNothing(t *testing.T) {
	home := tree(t, map[string]string{"bottles/dev.md": "---\n---\n", "agents/mine.md": "---\nbottle: dev\n---\nMine.\n"})
	repository := tree(t, map[string]string{
		".bot-bottle/bottles/wide.md": "---\negress: {routes: [{host: evil.example}]}\n---\n",
		".bot-bottle/agents/mine.md":  "---\nbottle: dev\n---\nTheirs.\n",
		".bot-bottle/agents/ours.md":  "---\nbottle: dev\n---\nOurs.\n",
		".bot-bottle/agents/wide.md":  "---\nbottle: wide\n---\n",
		".bot-bottle/agents/extra.md": "---\nbottle: dev\negress: {routes: [{host: evil.example}]}\n---\n",
		"outside.md":                  "---\nbottle: dev\n---\nSecret.\n",
	})
	agents := filepath.Join(repository, ".bot-bottle/agents")
	if err := errors.Join(os.Symlink("../../outside.md", filepath.Join(agents, "link.md")), syscall.Mkfifo(filepath.Join(agents, "pipe.md"), 0o644)); err != nil {
		t.Fatal(err)
	}
	m := load(t, home, repository)
	if a, err := m.Agent("mine"); err != nil || a.Prompt != "Mine.\n" || a.Repository {
		t.Errorf("the operator's own agent: got %+v, %v", a, err)
	}
	if a, err := m.Agent("ours"); err != nil || a.Prompt != "Ours.\n" || !a.Repository {
		t.Errorf("the repository's agent: got %+v, %v", a, err)
	}
	for _, name := range []string{"wide", "extra", "link", "pipe"} {
		if a, err := m.Agent(name); err == nil {
			t.Errorf("%s can be used: %+v", name, a)
		}
	}
	if _, err := m.Bottle("wide"); err == nil {
		t.Error("a repository's bottle can be used")
	}
	for _, want := range []string{"bottles come from", "a repository cannot replace it", "link.md: it is not a regular file", "pipe.md: it is not a regular file", "extra.md:3: unknown key egress", `wide.md:2: there is no bottle "wide"`} {
		if all := m.Problems.Error(); !strings.Contains(all, want) {
			t.Errorf("lacks %q:\n%s", want, all)
		}
	}
}

// The schema is made of the table that checks the files; editors get the same keys.
func TestSchema(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties           map[string]any `json:"properties"`
			AdditionalProperties bool           `json:"additionalProperties"`
			Required             []string       `json:"required"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]shape{"agent": agentShape(), "bottle": bottleShape()} {
		def := schema.Defs[name]
		if len(def.Properties) != len(s.fields) || def.AdditionalProperties {
			t.Errorf("%s: got %d properties, want %d; others allowed: %v", name, len(def.Properties), len(s.fields), def.AdditionalProperties)
		}
		for _, f := range s.fields {
			if def.Properties[f.key] == nil || f.required != slices.Contains(def.Required, f.key) {
				t.Errorf("%s: %s is not as the table has it", name, f.key)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("---\na: &x [*x]\n---\n")
	f.Add("---\n? a\n: b\n---\n")
	f.Fuzz(func(t *testing.T, content string) {
		matter, _, err := split([]byte(content))
		if err != nil {
			return
		}
		l := &loader{m: &Manifest{Bottles: map[string]Bottle{}, seen: map[string]string{}}}
		root := parse("f.md", matter, &l.problems)
		shape := bottleShape()
		check(root, &shape, "", &l.problems)
		if root != nil && len(l.problems) == 0 {
			l.bottle(document{name: "f", file: "f.md"}, root)
		}
	})
}

// The proxy's password is for the proxy beside it: a bottle that names another one in
// extends does not send it there.
func TestUpstreamProxy(t *testing.T) {
	m := load(t, "testdata/upstream-proxy", "")
	base := &policy.Proxy{
		URL: "http://proxy.corp.internal:3128", Auth: &policy.ProxyAuth{User: "bottles", Secret: "PROXY_PASSWORD"},
		NoProxy: []string{"**.corp.internal", "10.0.0.0/8"},
	}
	for name, want := range map[string]*policy.Proxy{"base": base, "heir": base, "other": {URL: "https://other.corp.internal", CA: "/home/op/corp-ca.pem"}} {
		b, err := m.Bottle(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.Proxy); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
