package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/starter"
)

// interview fills in choices: from flags, by asking, or by what is left when nothing is asked.
type interview struct {
	app   *App
	flags initFlags
	asked int
}

func (i *interview) choices(ctx context.Context, agent string) (c starter.Choices, err error) {
	c = starter.Choices{Bottle: i.flags.bottle, Agent: agent, Reads: i.app.reads()}
	if !i.flags.yes && !isTerminal(i.app.Stdin) {
		return c, &usageError{what: "cannot ask: standard input is not a terminal", hint: "say --yes, and what matters by flags: bot-bottle init --help"}
	}
	for _, step := range []func(context.Context, *starter.Choices) error{i.program, i.credential, i.repository, i.mode} {
		if err := step(ctx, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// ask has take take what a flag says, or else an answer, until it takes one. Nothing typed is the
// suggestion.
func (i *interview) ask(ctx context.Context, flag, question, suggestion string, take func(string) error) error {
	if flag != "" || i.flags.yes {
		if err := take(cmp.Or(flag, suggestion)); err != nil {
			return &usageError{what: err.Error(), hint: "see bot-bottle init --help"}
		}
		return nil
	}
	i.asked++
	for {
		_, _ = fmt.Fprintf(i.app.Stderr, "%d. %s\n   [%s] ", i.asked, question, printable(suggestion))
		line, err := readLine(ctx, i.app.Stdin)
		if err != nil {
			_, _ = fmt.Fprintln(i.app.Stderr)
			return err
		}
		err = take(cmp.Or(strings.TrimSpace(line), suggestion))
		if err == nil {
			return nil
		}
		_, _ = fmt.Fprintln(i.app.Stderr, "   "+printable(err.Error()))
	}
}

func (i *interview) program(ctx context.Context, c *starter.Choices) error {
	return i.ask(ctx, i.flags.program, "Which agent? "+strings.Join(programs(), ", "), programs()[0], func(answer string) error {
		if !slices.Contains(programs(), answer) {
			return fmt.Errorf("%q is none of %s", answer, strings.Join(programs(), ", "))
		}
		c.Template = answer
		return nil
	})
}

func (i *interview) credential(ctx context.Context, c *starter.Choices) error {
	p, err := provider.For(c.Template)
	if err != nil {
		return err
	}
	const question = "Where is its credential? env:NAME, file:PATH, gh:HOST, keychain:SERVICE, onepassword:op://…, pass:ENTRY"
	return i.ask(ctx, i.flags.credential, question, i.likely(p), func(answer string) error {
		c.Secret, c.Source, err = credentialFrom(answer, p)
		if err != nil {
			return err
		}
		return c.Check()
	})
}

// likely is the credential that the environment has, or else the usual one.
func (i *interview) likely(p provider.Provider) string {
	for _, known := range p.Credentials {
		if i.isSet(known.Name) {
			return "env:" + known.Name
		}
	}
	return "env:" + usual(p)
}

func (i *interview) isSet(name string) bool {
	value, ok := i.app.LookupEnv(name)
	return ok && value != ""
}

// usual is the name under which most people have a program's key.
func usual(p provider.Provider) string {
	for _, known := range p.Credentials {
		if strings.HasSuffix(known.Name, "_API_KEY") {
			return known.Name
		}
	}
	return p.Credentials[0].Name
}

var namedSource = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=(.+)$`)

// credentialFrom reads [NAME=]KIND:WHERE.
func credentialFrom(answer string, p provider.Provider) (name string, s starter.Source, err error) {
	name = usual(p)
	if m := namedSource.FindStringSubmatch(answer); m != nil {
		name, answer = m[1], m[2]
	} else if variable, ok := strings.CutPrefix(answer, "env:"); ok && slices.ContainsFunc(p.Credentials, func(c provider.Credential) bool { return c.Name == variable }) {
		name = variable
	}
	s, err = starter.ParseSource(answer)
	return name, s, err
}

// noRepository is the answer for none.
const noRepository = "none"

// repository suggests where the repository at hand came from, but never takes it unasked: a
// hostile one would choose what the operator's key is for.
func (i *interview) repository(ctx context.Context, c *starter.Choices) error {
	suggestion := noRepository
	if root := i.app.repository(); root != "" && !i.flags.yes {
		suggestion = cmp.Or(provision.Origin(ctx, root), noRepository)
	}
	const question = "Which repository does it clone and push to? A URL as for git clone, or none"
	return i.ask(ctx, i.flags.repository, question, suggestion, func(answer string) error {
		c.Repository = starter.Repository{}
		if answer == noRepository {
			return nil
		}
		repository, err := i.reached(answer)
		if err != nil {
			return err
		}
		c.Repository = repository
		return c.Check()
	})
}

// reached adds the credential that a repository is reached with.
func (i *interview) reached(upstream string) (r starter.Repository, err error) {
	r.Upstream = upstream
	if strings.HasPrefix(upstream, "https://") {
		r.Source, err = starter.ParseSource(cmp.Or(i.flags.key, i.likelyToken(upstream)))
		return r, err
	}
	r.Key = cmp.Or(i.flags.key, i.likelyKey())
	return r, nil
}

// likelyToken is where a token for an https repository may be.
func (i *interview) likelyToken(upstream string) string {
	for _, name := range []string{starter.Password, "GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN"} {
		if i.isSet(name) {
			return "env:" + name
		}
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(upstream, "https://"), "/")
	if _, err := exec.LookPath("gh"); err == nil && host == "github.com" {
		return "gh:" + host
	}
	return "env:" + starter.Password
}

// likelyKey is the operator's own ssh key, as ssh(1) looks for it.
func (i *interview) likelyKey() string {
	names := []string{"id_ed25519", "id_ecdsa", "id_rsa"}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(i.app.userHome, ".ssh", name)); err == nil {
			return "~/.ssh/" + name
		}
	}
	return "~/.ssh/" + names[0]
}

func (i *interview) mode(ctx context.Context, c *starter.Choices) error {
	const question = "When it needs more: ask (it asks you, and its pushes wait for you) or allowlist (what is written down is all)"
	return i.ask(ctx, i.flags.mode, question, modeAsk, func(answer string) error {
		if answer != modeAsk && answer != modeAllowlist {
			return fmt.Errorf("%q is neither %s nor %s", answer, modeAsk, modeAllowlist)
		}
		c.AskFirst = answer == modeAsk
		return nil
	})
}

// reads are the hosts that the files of the repository at hand tell of.
func (a *App) reads() (all []starter.Reads) {
	root := a.repository()
	if root == "" {
		return nil
	}
	for _, ecosystem := range ecosystems() {
		if slices.ContainsFunc(ecosystem.files, func(name string) bool { _, err := os.Lstat(filepath.Join(root, name)); return err == nil }) {
			all = append(all, ecosystem.Reads)
		}
	}
	return all
}

type ecosystem struct {
	files []string
	starter.Reads
}

// ecosystems are where programs come from, by the file that says so.
func ecosystems() []ecosystem {
	return []ecosystem{
		{[]string{"go.mod"}, starter.Reads{What: "Go modules", Hosts: []string{"proxy.golang.org", "sum.golang.org"}}},
		{[]string{"package.json"}, starter.Reads{What: "npm packages", Hosts: []string{"registry.npmjs.org"}}},
		{[]string{"pyproject.toml", "requirements.txt", "setup.py"}, starter.Reads{What: "Python packages", Hosts: []string{"pypi.org", "files.pythonhosted.org"}}},
		{[]string{"Cargo.toml"}, starter.Reads{What: "Rust crates", Hosts: []string{"index.crates.io", "static.crates.io"}}},
		{[]string{"Gemfile"}, starter.Reads{What: "Ruby gems", Hosts: []string{"rubygems.org", "index.rubygems.org"}}},
	}
}
