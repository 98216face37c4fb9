package bottle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Problems is everything that is wrong with a Spec, so that the operator mends it
// in one go.
type Problems []string

func (p Problems) Error() string { return strings.Join(p, "\n") }

func (p *Problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// validate checks a Spec against the host and fills in Resolved. It creates nothing.
func validate(ctx context.Context, s Spec) (Spec, error) {
	agent, err := s.Manifest.Agent(s.Agent)
	if err != nil {
		return s, err
	}
	described, err := s.Manifest.Bottle(agent.Bottle)
	if err != nil {
		return s, fmt.Errorf("agent %s: %w", agent.Name, err)
	}
	if s.Identity == "" {
		s.Identity = NewIdentity(agent.Name)
	}
	var problems Problems
	if !ValidIdentity(s.Identity) {
		problems.add("%q is not an identity (they look like implementer-k7x2m4)", s.Identity)
	}
	s.Resolved = Resolved{Agent: agent, Bottle: described}
	s.Resolved.Skills = findSkills(agent.Skills, &problems)
	checkFiles(described, s.Cwd, &problems)
	s.Resolved.Secrets = resolveSecrets(ctx, described.Secrets, s.Secrets, &problems)
	s.Resolved.Repositories = findRepositories(described.Git, s.Resolved.Secrets, &problems)
	for _, r := range s.Resolved.Repositories {
		if r.SignKey != "" && (agent.GitIdentity.Name == "" || agent.GitIdentity.Email == "") {
			problems.add("git %s: sign_key vouches for agent %s, which has no git_identity with a name and an email", r.Name, agent.Name)
		}
	}
	if len(problems) > 0 {
		return s, problems
	}
	return s, nil
}

func findSkills(names []string, problems *Problems) []Skill {
	if len(names) == 0 {
		return nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		problems.add("cannot find the home directory for skills: %v", err)
		return nil
	}
	var found []Skill
	for _, name := range names {
		dir := filepath.Join(home, ".claude", "skills", name)
		if name != filepath.Base(name) || name == "." || name == ".." {
			problems.add("skill %q: a skill's name is one directory under ~/.claude/skills", name)
		} else if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			problems.add("skill %q: there is no directory %s", name, dir)
		} else {
			found = append(found, Skill{Name: name, Dir: dir})
		}
	}
	return found
}

func checkFiles(b manifest.Bottle, cwd string, problems *Problems) {
	if b.Provider.Dockerfile != "" {
		path := b.Provider.Dockerfile
		if !filepath.IsAbs(path) {
			path = filepath.Join(cwd, path)
		}
		if !regular(path) {
			problems.add("bottle %s: agent_provider.dockerfile %s is not a file", b.Name, path)
		}
	}
	for _, route := range b.Routes {
		if route.CA != "" && !regular(route.CA) {
			problems.add("bottle %s: route %s: ca %s is not a file", b.Name, route.Host, route.CA)
		}
	}
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// advice is what to do about an error, as the end of a line; "" if it does not say.
func advice(err error) string {
	if what := HintOf(err); what != "" {
		return "; " + what
	}
	return ""
}

// HintOf is what to do about an error, "" if it does not say.
func HintOf(err error) string {
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) {
		return ""
	}
	return hinter.Hint()
}

func resolveSecrets(ctx context.Context, sources map[string]manifest.SecretSource, resolve SecretResolver, problems *Problems) map[string]secret.Value {
	values := make(map[string]secret.Value, len(sources))
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value, err := resolve(ctx, sources[name])
		if err != nil {
			problems.add("secret %s: %v%s", name, err, advice(err))
			continue
		}
		values[name] = value
	}
	return values
}
