package provision

import (
	"fmt"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Git makes the agent's commits carry its own name (git(1), environment variables), and
// leads git to the gate for every repository that the bottle has, however it is spelt
// (git-config(1), url.<base>.insteadOf). For all others ssh says what to do instead.
func Git(a *Archive, id manifest.GitIdentity, repositories []bottle.Repository) {
	if id.Name != "" {
		a.Setenv("GIT_AUTHOR_NAME", id.Name)
		a.Setenv("GIT_COMMITTER_NAME", id.Name)
	}
	if id.Email != "" {
		a.Setenv("GIT_AUTHOR_EMAIL", id.Email)
		a.Setenv("GIT_COMMITTER_EMAIL", id.Email)
	}
	a.Add(provider.File{Path: "/etc/gitconfig", Mode: 0o644, Data: []byte(gitConfig(id, repositories))})
}

// gitConfig is the bottle's system-wide one.
func gitConfig(id manifest.GitIdentity, repositories []bottle.Repository) string {
	b := &strings.Builder{}
	section := func(name string, lines ...string) {
		_, _ = fmt.Fprintf(b, "[%s]\n\t%s\n", name, strings.Join(lines, "\n\t"))
	}
	section("safe", "directory = *") // whoever owns it: all in here is one user's
	section("core", "sshCommand = "+control.Binary+" guest no-ssh")
	section("ssh", "variant = ssh") // or git would try the command out first
	if id.Name != "" {
		section("user", "name = "+manifest.QuotedValue(id.Name))
	}
	if id.Email != "" {
		section("user", "email = "+manifest.QuotedValue(id.Email))
	}
	section("url "+manifest.QuotedValue(control.GateURL), "insteadOf = git://") // which has no other way out; the gate says how to ask
	for _, r := range repositories {
		b.WriteString(r.Address.Rewrite(control.GateURL))
	}
	section("include", "path = "+control.SocketDir+"/"+control.GitRewrites) // those that are granted while it runs
	return b.String()
}

// GitNote tells an agent of its repositories; "" if it has none.
func GitNote(repositories []bottle.Repository) string {
	if len(repositories) == 0 {
		return ""
	}
	b := &strings.Builder{}
	b.WriteString("Use plain git for these repositories, under their usual URLs and without credentials (clone, fetch, pull, push):\n")
	for _, r := range repositories {
		_, _ = fmt.Fprintf(b, "- %s (%s): %s\n", r.Name, r.Upstream, r.Push)
	}
	b.WriteString("What you push is searched for secrets, and a refusal says what to mend. \"NOT PUSHED YET\" means that the operator looks at it first. " +
		"For any other repository git fails, and says how to ask for it.")
	return b.String()
}
