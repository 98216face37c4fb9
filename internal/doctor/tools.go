package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// tool is a program of the host.
type tool struct {
	argv    []string // that print its version
	install string   // what Debian and Homebrew call it
	purpose string   // what is missing without it
	least   [2]int   // major and minor; zero: any
	must    bool
}

func tools() []tool {
	return []tool{
		{argv: []string{"git", "--version"}, install: "git", purpose: "start --cwd and pull", least: [2]int{2, 30}, must: true},
		{argv: []string{"ssh", "-V"}, install: "openssh-client", purpose: "engines at ssh:// addresses"},
		{argv: []string{"tmux", "-V"}, install: "tmux", purpose: "the dashboard's panes; without it the dashboard steps aside while an agent is open"},
	}
}

func (h Host) tools(ctx context.Context) (all []bottle.Finding) {
	for _, t := range tools() {
		all = append(all, t.look(ctx))
	}
	return all
}

func (t tool) look(ctx context.Context) bottle.Finding {
	name := t.argv[0]
	if _, err := exec.LookPath(name); err != nil {
		missing := note
		if t.must {
			missing = problem
		}
		return missing(name, "there is none on PATH: "+t.purpose, "install "+t.install)
	}
	version := versionOf(ctx, t.argv)
	if version == "" {
		return note(name, "it does not say its version", "see what "+strings.Join(t.argv, " ")+" says")
	}
	if older(version, t.least) {
		return problem(name, fmt.Sprintf("version %s is too old: %s needs %d.%d", version, t.purpose, t.least[0], t.least[1]), "install a newer "+t.install)
	}
	return ok(name, "version "+version)
}

var number = regexp.MustCompile(`[0-9]+\.[0-9]+[0-9a-z.+-]*`)

// versionOf is the first number with a dot that a program says of itself, on either stream.
func versionOf(ctx context.Context, argv []string) string {
	shell := append([]string{"sh", "-c", `exec "$@" 2>&1`, "sh"}, argv...)
	out, err := hostcmd.Output(ctx, "/", shell)
	if err != nil {
		return ""
	}
	return number.FindString(string(out))
}

func older(version string, least [2]int) bool {
	var has [2]int
	if _, err := fmt.Sscanf(version, "%d.%d", &has[0], &has[1]); err != nil {
		return false
	}
	return has[0] < least[0] || has[0] == least[0] && has[1] < least[1]
}

// keepers are the programs that a manifest can fetch secrets with. None is needed.
func (h Host) keepers(context.Context) []bottle.Finding {
	programs := []string{"gh", "op", "pass", "secret-tool"}
	if runtime.GOOS == "darwin" {
		programs = append(programs, "security")
	}
	var found []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return []bottle.Finding{note("secrets", "no program that keeps secrets is on PATH ("+strings.Join(programs, ", ")+"): the manifest can still name variables, files and commands", "see docs/secrets.md")}
	}
	return []bottle.Finding{ok("secrets", "can also come from "+strings.Join(found, ", "))}
}
