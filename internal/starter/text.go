package starter

import (
	"fmt"
	"strings"
)

// Password is the secret's name for an https repository.
const Password = "GIT_TOKEN"

// BottleFile is the text of bottles/NAME.md.
func (c Choices) BottleFile() string {
	b := &strings.Builder{}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format+"\n", args...) }
	line("---")
	line("# A bottle: what agents in it run on, and all that they may reach. Every key: docs/manifest.md,")
	line("# or bot-bottle validate --schema; what is wrong: bot-bottle validate.")
	line("agent_provider: {template: %s}   # the host of its models is allowed with it", c.Template)
	if len(c.Reads) > 0 {
		line("# Its image has git, curl, jq and ripgrep, and nothing that fetches or builds %s: name a", c.packages())
		line("# dockerfile in agent_provider that adds it (docs/providers.md).")
	}
	c.secrets(line)
	c.egress(line)
	c.git(line)
	if c.AskFirst {
		line("supervise: true   # the agent may ask for more: bot-bottle requests, approve, reject, or the dashboard")
	} else {
		line("supervise: false  # what is written here is all; true lets the agent ask for more")
	}
	line("# runtime: runsc    # gVisor, where the engine has it")
	line("# resources: {cpus: 2, memory: 4GiB, pids: 1024}")
	line("---")
	line("What this bottle is for: a note to yourself.")
	return b.String()
}

func (c Choices) secrets(line func(string, ...any)) {
	line("secrets:          # fetched on this host at each start; the bottle gets a worthless placeholder under each name")
	if c.Secret == "" {
		line("  # ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}")
	} else {
		line("  %s: %s", c.Secret, c.Source.YAML())
	}
	if c.overHTTPS() {
		line("  %s: %s", Password, c.Repository.Source.YAML())
	}
}

func (c Choices) egress(line func(string, ...any)) {
	line("egress:")
	line("  routes:         # what is not named here, the bottle cannot reach")
	for _, r := range c.Reads {
		for i, host := range r.Hosts {
			line("    - {host: %s, methods: [GET, HEAD]}%s", scalar(host), remark(i == 0, r.What))
		}
	}
	line("    # - {host: api.github.com, paths: [\"/repos/acme/widget/**\"], auth: {scheme: bearer, secret: GH_TOKEN}}")
}

// packages are what the work is made of, in words.
func (c Choices) packages() string {
	var all []string
	for _, r := range c.Reads {
		all = append(all, r.What)
	}
	return strings.Join(all, " or ")
}

func remark(first bool, what string) string {
	if !first {
		return ""
	}
	return "   # " + what
}

func (c Choices) git(line func(string, ...any)) {
	if c.Repository.Upstream == "" {
		line("# git:            # repositories that agents clone and push to, through a gate that scans what they push")
		line("#   - {name: widget, upstream: \"git@host.example:acme/widget.git\", identity_file: ~/.ssh/id_ed25519, push: {refs: [\"refs/heads/agent/**\"]}}")
		return
	}
	line("git:              # repositories that agents clone and push to, through a gate that scans what they push")
	line("  - name: %s", scalar(c.Repository.Name()))
	line("    upstream: %s", scalar(c.Repository.Upstream))
	if c.overHTTPS() {
		line("    auth: {secret: %s}", Password)
	} else {
		line("    identity_file: %s   # stays on this host; ~/.ssh/known_hosts says whom the gate believes", scalar(c.Repository.Key))
	}
	line("    push:")
	line("      refs: [\"refs/heads/agent/**\"]   # the branches that may be pushed")
	if c.AskFirst {
		line("      mode: hold    # each push waits for you; forward sends it on at once")
	} else {
		line("      mode: forward # at once, if the gate finds nothing; hold makes each push wait for you")
	}
}

// AgentFile is the text of agents/NAME.md.
func (c Choices) AgentFile() string {
	b := &strings.Builder{}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format+"\n", args...) }
	line("---")
	line("# An agent: a bottle, and the prompt below.")
	line("bottle: %s", c.Bottle)
	line("# skills: [tdd]   # directories under ~/.claude/skills")
	line("git_identity: {name: %q, email: %q}   # in whose name it commits, and in no other", c.Agent, c.Agent+"@bottle.invalid")
	line("# args: [--model, opus]   # for the agent's own program")
	line("---")
	line("You work alone in this workspace; nobody answers at the terminal. Keep changes small, and test them.")
	if c.Repository.Upstream != "" {
		line("Commit your work, and push it to branches whose names begin with agent/.")
	}
	if c.AskFirst {
		line("When something that you need is refused, ask the operator for it with your operator tools, and go on with other work meanwhile.")
	}
	return b.String()
}
