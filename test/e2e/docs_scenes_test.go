package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Reasons not to run a line.
const (
	accounts  = "it changes the accounts of this machine"
	thisTest  = "it is what runs this test"
	keepers   = "it puts a real secret into a keeper of this machine's"
	noRunsc   = "this engine has no gVisor: TestOnGVisor runs prove on one that has"
	noPipe    = "it is about the real pipelock, which is not fetched; the tests of its stand-in run the same"
	noMachine = "it needs a hypervisor"
)

// scenes are the pages that show commands.
func scenes() map[string]scene {
	return map[string]scene{
		"README.md":         {blank, append(firstSteps(), readmeCues()...)},
		"docs/audit.md":     {auditSet, []cue{{line: "bot-bottle logs implementer-k7x2m4 --verify", shows: "whole"}, {line: "sed -n 4p audit.jsonl | sha256sum", before: inState, after: keepSum}, {line: "sed -n 5p audit.jsonl | jq -r .prev", after: sameSum}}},
		"docs/dashboard.md": {func(s *stage) { s.sleeping(); s.up("implementer") }, nil},
		"docs/git.md":       {gitSet, gitCues()},
		"docs/lifecycle.md": {lifeSet, lifeCues()},
		"docs/pipelock.md": {nil, []cue{
			{line: "BOT_BOTTLE_PIPELOCK=/path/to/pipelock go test -count=1 ./internal/sidecar/pipelock", cannot: noPipe},
			{line: "BOT_BOTTLE_PIPELOCK=/path/to/pipelock go test -count=1 ./test/e2e -run Pipelock", cannot: noPipe},
			{line: "BOT_BOTTLE_PIPELOCK=/path/to/pipelock make bench BENCH=pipelock", cannot: noPipe},
		}},
		"docs/prove.md": {func(s *stage) { s.home() }, []cue{
			{line: "bot-bottle prove", shows: "0 BROKEN"},
			{line: "bot-bottle prove implementer --details", shows: "0 BROKEN"},
			{line: "bot-bottle prove --runtime runsc", cannot: noRunsc},
			{line: "bot-bottle prove --html proof.html", after: func(s *stage, _ string) { s.exists("proof.html") }},
			{line: "bot-bottle prove --against docker-internal-network", status: 1, shows: "BROKEN"},
		}},
		"docs/quickstart.md": {blank, append(firstSteps(), quickCues()...)},
		"docs/recipes.md":    {recipesSet, recipeCues()},
		"docs/secrets.md": {nil, []cue{
			{line: "pass insert work/openai", cannot: keepers},
			{line: `secret-tool store --label="Gemini" service gemini`, cannot: keepers},
			{line: "security add-generic-password -s linear -a me@acme.example -w", cannot: keepers},
		}},
		"docs/sessions.md":  {func(s *stage) { s.home() }, []cue{{line: "bot-bottle attach --read-only IDENTITY"}}},
		"docs/supervise.md": {superviseSet, superviseCues()},
		"docs/troubleshooting.md": {func(s *stage) { s.sleeping(); s.up("implementer") }, []cue{
			{line: "bot-bottle doctor", shows: "0 problems"},
		}},
		"docs/verify-smolmachines.md": {nil, []cue{{line: "scripts/verify-smolmachines > report.txt", cannot: noMachine}}},
	}
}

// home has the lines run in the home directory, not in the tree.
func (s *stage) home() { s.file("shell", "cd ~\n") }

func (s *stage) widget() { s.file("shell", "cd ~/src/widget\n") }

// blank has no manifest but the way to the stand-in, no key yet, and the tree as its directory.
func blank(s *stage) {
	s.file("shell", "unset ANTHROPIC_API_KEY\n")
	s.must(os.Remove(filepath.Join(s.Home, "bottles", "dev.md")))
	s.must(os.Remove(filepath.Join(s.Home, "agents", "implementer.md")))
}

// firstSteps are of the pages that begin with a clone.
func firstSteps() []cue {
	return []cue{
		{line: `sudo usermod -aG docker "$USER"`, cannot: accounts},
		{line: "bot-bottle init", keys: []string{"1. ", "\n", "2. ", "\n", "3. ", "\n", "4. ", "\n"}, after: throughTheStandin},
	}
}

func readmeCues() []cue {
	return []cue{
		{line: "make test", cannot: thisTest},
		{line: "make demo", shows: "(the real one)"},
		{line: `bot-bottle start -y --rm implementer -- -p "what is 6 times 7?"`, shows: "42"},
	}
}

// throughTheStandin puts the stand-in where the bottle that init wrote reaches its API.
func throughTheStandin(s *stage, _ string) {
	file := filepath.Join(s.Home, "bottles", "dev.md")
	text, err := os.ReadFile(file)
	s.must(err)
	s.must(os.WriteFile(file, []byte(strings.Replace(string(text), "---\n", "---\nextends: standin\n", 1)), 0o600))
}

// commits is an agent that has committed to a branch fix of what it was given.
func commits(s *stage) {
	s.inBottle("cd /workspace && git checkout -q -b fix && echo mended > README && git commit -q -a -m 'mend it'")
}

func quickCues() []cue {
	return []cue{
		{line: "bot-bottle doctor", status: 1, shows: "1 problem,"}, // as the page says: there is no manifest yet
		{line: "bot-bottle logs -f implementer-k7x2m4", shows: "begin"},
		{line: "bot-bottle requests -f", before: func(s *stage) {
			s.ask("1", "request_egress", `{"host":"docs.example","methods":["GET"],"why":"the manual"}`)
			s.ask("2", "request_egress", `{"host":"files.example","why":"a download"}`)
			s.ask("3", "ask_operator", `{"question":"Which API?"}`)
		}, keys: []string{"Which API?", "\x03"}},
		{line: "bot-bottle approve k7x2m4-1 --for 1h", shows: "granted"},
		{line: "bot-bottle pull implementer-k7x2m4", before: commits, shows: "refs/bottles/"},
		{line: "git log -p main..refs/bottles/implementer-k7x2m4/fix", shows: "mended"},
		{line: "bot-bottle report implementer-k7x2m4", after: func(s *stage, _ string) { s.exists("src/widget/" + s.names["implementer"] + ".html") }},
		{line: "bot-bottle prove implementer", shows: "0 BROKEN"},
		{line: "bot-bottle prove --against docker-run", status: 1, shows: "BROKEN"},
		{line: `bot-bottle start -y --rm implementer -- -p "what is 6 times 7?" > answer.txt`, after: func(s *stage, _ string) {
			if got := s.bash("cat ~/src/widget/answer.txt"); got != "42" {
				s.t.Errorf("the answer is %q", got)
			}
		}},
	}
}

func auditSet(s *stage) {
	s.sleeping()
	s.up("implementer")
	s.inside(s.names["implementer"], "for i in 1 2 3 4 5; do curl -s https://refused.example/$i; done")
}

func inState(s *stage) {
	s.run(0, "", "stop", s.names["implementer"])
	s.file("shell", fmt.Sprintf("cd %q\n", filepath.Join(s.Home, "state", s.names["implementer"])))
}

func keepSum(s *stage, printed string) { s.asked["sum"] = strings.Fields(printed)[0] }

func sameSum(s *stage, printed string) {
	if got := strings.TrimSpace(printed); got != s.asked["sum"] || len(got) != 64 {
		s.t.Errorf("line 5 names %q, and line 4 is %q", got, s.asked["sum"])
	}
}

func gitSet(s *stage) {
	h := withGit(s.house, `refs: ["refs/heads/agent/**"], mode: hold`)
	s.must(os.Remove(filepath.Join(s.Home, "agents", "sleeper.md")))
	s.must(os.Rename(filepath.Join(s.Home, "agents", "committer.md"), filepath.Join(s.Home, "agents", "implementer.md")))
	s.bash("cd ~/src/widget && git remote add origin " + h.ssh.URL(gatewayName(), h.upstream))
	s.up("implementer", "--cwd")
	s.widget()
	s.asked["url"] = h.ssh.URL(gatewayName(), h.upstream)
}

// pushes has the agent push to a new branch, which then waits as what the page calls its third request.
func pushes(s *stage, branch string) {
	identity := s.names["implementer"]
	r := s.run(1, "", "exec", identity, "--", "sh", "-c", fmt.Sprintf("cd /workspace && rm -rf clone && git clone -q %s clone && cd clone && git checkout -q -b %s && echo %s > new && git add new && git commit -q -m new && git push -q origin HEAD", s.asked["url"], branch, branch))
	if !strings.Contains(r.Stderr, "NOT PUSHED YET") {
		s.t.Fatalf("it is not held: %s", r.Stderr)
	}
	for _, waits := range s.requests() {
		s.asked["3"] = waits.ID
	}
}

func gitCues() []cue {
	return []cue{
		{line: "bot-bottle requests", before: func(s *stage) { pushes(s, "agent/one") }, shows: "refs/heads/agent/one"},
		{line: "bot-bottle requests --diff k7x2m4-3", shows: "+agent/one"},
		{line: "bot-bottle approve k7x2m4-3", shows: "forwarded"},
		{line: `bot-bottle reject k7x2m4-3 --reason "keep the workflow as it is"`, before: func(s *stage) { pushes(s, "agent/two") }},
		{line: "bot-bottle pull implementer-k7x2m4", before: commits, shows: "refs/bottles/"},
		{line: "git log -p main..refs/bottles/implementer-k7x2m4/fix", shows: "mended"},
	}
}

func lifeSet(s *stage) {
	s.up("implementer")
	s.widget()
	s.file("src/widget/fixtures/one", "1\n")
	s.inBottle("cd /workspace && mkdir widget && echo report > report.pdf && echo notes > notes.md")
}

func lifeCues() []cue {
	return []cue{
		{line: "bot-bottle list", shows: "implementer-"},
		{line: "bot-bottle logs implementer-k7x2m4 -f", shows: "begin"},
		{line: "bot-bottle rm implementer-k7x2m4", before: func(s *stage) { s.run(0, "", "stop", s.names["implementer"]) }, after: func(s *stage, _ string) {
			s.up("implementer") // for the page goes on
			s.inBottle("cd /workspace && mkdir widget && echo report > report.pdf && echo notes > notes.md")
		}},
		{line: "bot-bottle cp implementer-k7x2m4:report.pdf .", after: func(s *stage, _ string) { s.exists("src/widget/report.pdf") }},
		{line: "bot-bottle cp ./fixtures implementer-k7x2m4:widget/", after: func(s *stage, _ string) { s.inBottle("test -s /workspace/widget/fixtures/one") }},
		{line: "bot-bottle cp implementer-k7x2m4:notes.md - | less", keys: []string{"(END)", "q"}, shows: "notes"},
	}
}

func recipesSet(s *stage) {
	s.must(os.Remove(filepath.Join(s.Home, "bottles", "dev.md")))
	s.must(os.Remove(filepath.Join(s.Home, "agents", "implementer.md")))
	s.bash("mkdir -p ~/.ssh ~/.secrets && for k in agent writer reader; do ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/${k}_ed25519; done; echo \"git.example $(cut -d' ' -f1,2 ~/.ssh/agent_ed25519.pub)\" > ~/.ssh/known_hosts; echo token > ~/.secrets/npm; echo word > ~/.secrets/models; cp ~/.bot-bottle/standin.pem ~/corp-ca.pem")
	s.Extra = append(s.Extra, "GIT_TOKEN=git-token-0123456789")
	s.widget()
}

// throughSSH is the engine, behind an OpenSSH of this machine's.
func throughSSH(s *stage) {
	server, env := sshServer(s.t)
	s.t.Cleanup(server.Close)
	path, _, _ := strings.Cut(strings.TrimPrefix(env[0], "PATH="), ":")
	s.must(os.Symlink(filepath.Join(path, "ssh"), filepath.Join(s.dir, "bin", "ssh")))
	s.asked["engine"] = strings.TrimPrefix(env[1], "DOCKER_HOST=")
}

func recipeCues() []cue {
	return []cue{
		{line: "bot-bottle dashboard", keys: []string{"reviewer", "q"}},
		{line: "bot-bottle pull writer-k7x2m4", before: func(s *stage) {
			s.run(0, "", "exec", s.names["writer"], "--", "sh", "-ec", "cd /workspace && git checkout -q -b writer/1 && git commit -q --allow-empty -m 'issue 1'")
		}, shows: "/writer/1"},
		{line: `timeout 30m bot-bottle start -y --rm --cwd ci -- -p "Mend the test that fails." > answer.txt`, piped: true},
		{line: `bot-bottle logs --verify "$bottle"`, shows: "whole"},
		{line: `bot-bottle report -o report.html "$bottle"`, after: func(s *stage, _ string) { s.exists("src/widget/report.html"); s.exists("src/widget/audit.jsonl") }},
		{line: "export DOCKER_HOST=ssh://me@build.example", before: throughSSH},
		{line: "bot-bottle list", shows: "remote-", after: func(s *stage, _ string) {
			s.bash("DOCKER_HOST=" + s.asked["engine"] + " bot-bottle rm --force " + s.names["remote"])
		}},
	}
}

// superviseSet is a bottle with the route that the page tells of.
func superviseSet(s *stage) {
	s.sleeping()
	s.must(s.Write("bottles/dev.md", `---
extends: standin
supervise: true
secrets: {GH_TOKEN: {gh: github.com}}
egress:
  routes:
    - {host: api.github.com, methods: [GET], paths: ["/repos/acme/**"], auth: {scheme: bearer, secret: GH_TOKEN}}
---
`))
	s.bash("mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/tools_ed25519 && echo \"git.example $(cut -d' ' -f1,2 ~/.ssh/tools_ed25519.pub)\" > ~/.ssh/known_hosts")
	s.Extra = append(s.Extra, "DEPLOY_TOKEN=deploy-token-0123456789", "EDITOR=sed -i s/PATCH/PUT/")
	s.up("implementer")
	s.home()
	s.ask("1", "request_egress", `{"host":"api.github.com","methods":["POST"],"paths":["/repos/acme/widget/pulls"],"why":"To open the pull request that I was asked for."}`)
}

// more asks for something else by the page's first number.
func more(path string) func(*stage) {
	return func(s *stage) {
		s.ask("1", "request_egress", fmt.Sprintf(`{"host":"api.github.com","methods":["PATCH"],"paths":[%q],"why":"x"}`, path))
	}
}

func superviseCues() []cue {
	return []cue{
		{line: "bot-bottle requests -f", keys: []string{"decide", "\x03"}},
		{line: "bot-bottle approve k7x2m4-1", shows: "granted"},
		{line: "bot-bottle approve k7x2m4-1 --once", before: more("/once"), shows: "once"},
		{line: "bot-bottle approve k7x2m4-1 --always", before: more("/always"), shows: "/always", after: func(s *stage, _ string) {
			if text, err := os.ReadFile(filepath.Join(s.Home, "bottles", "sleeper.md")); err != nil || !strings.Contains(string(text), "/always") {
				s.t.Errorf("the manifest has it not: %s %v", text, err)
			}
		}},
		{line: "bot-bottle approve k7x2m4-1 --edit", before: more("/edit"), shows: "PUT"},
		{line: "bot-bottle approve k7x2m4-3 --secret-from env:DEPLOY_TOKEN", before: func(s *stage) {
			s.ask("3", "request_secret", `{"host":"deploy.example","name":"DEPLOY_TOKEN","scheme":"bearer","methods":["POST"],"why":"x"}`)
		}, shows: "granted"},
		{line: "bot-bottle approve k7x2m4-4 --key-from ~/.ssh/tools_ed25519", before: func(s *stage) {
			s.ask("4", "request_git", `{"repository":"ssh://git@git.example/acme/tools.git","why":"x"}`)
		}, shows: "granted"},
		{line: `bot-bottle reject k7x2m4-1 --reason "use the mirror"`, before: more("/reject")},
		{line: `bot-bottle answer k7x2m4-2 "keep the old API"`, before: func(s *stage) {
			s.ask("2", "ask_operator", `{"question":"Which API?"}`)
		}},
		{line: "bot-bottle revoke k7x2m4-1", before: func(s *stage) {
			more("/revoke")(s)
			s.run(0, "", "approve", "-y", s.asked["1"])
		}},
	}
}
