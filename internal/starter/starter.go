// Package starter writes the text of a first bottle and a first agent, with comments for
// whoever goes on from there. It is pure; the files are the caller's to write.
package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Choices are what is asked for. The zero value of a field leaves it out.
type Choices struct {
	Bottle, Agent string // names of the two
	Template      string // of the agent's program: claude, codex, gemini, opencode
	Secret        string // name of the variable that holds its credential
	Source        Source // where that is
	Repository    Repository
	AskFirst      bool    // the agent may ask for more, and pushes wait; otherwise what is written down is all
	Reads         []Reads // hosts that the work needs
}

// Repository is one that the agent clones and pushes to.
type Repository struct {
	Upstream string // as git takes it; "" for none
	Key      string // identity file, for ssh
	Source   Source // of the password, for https
}

// Reads are hosts that may be read from.
type Reads struct {
	What  string // for people: "Go modules"
	Hosts []string
}

// Source says where a secret is: a key of the manifest's secrets, and its value.
type Source struct{ Kind, Value string }

// ParseSource reads "env:NAME", "file:PATH" and the like: the manifest's own keys, those
// that have one word.
func ParseSource(s string) (Source, error) {
	kind, value, _ := strings.Cut(s, ":")
	if kind == "op" {
		kind, value = string(manifest.KeeperOnePassword), s
	}
	if !slices.Contains(Kinds(), kind) || strings.TrimSpace(value) == "" {
		return Source{}, fmt.Errorf("%q is none of %s", s, strings.Join(Kinds(), ":…, ")+":…")
	}
	return Source{kind, strings.TrimSpace(value)}, nil
}

// Kinds are the sources that ParseSource knows.
func Kinds() []string {
	kinds := []string{"env", "file"}
	for _, k := range manifest.Keepers() {
		if k != manifest.KeeperSecretService { // has more than a word
			kinds = append(kinds, string(k))
		}
	}
	return kinds
}

// YAML is the source as the manifest has it.
func (s Source) YAML() string { return "{" + s.Kind + ": " + scalar(s.Value) + "}" }

// String is the source as ParseSource reads it.
func (s Source) String() string { return s.Kind + ":" + s.Value }

var plainScalar = regexp.MustCompile(`^[A-Za-z_./~][A-Za-z0-9_./~@-]*$`)

// scalar is a YAML scalar; JSON's strings are YAML's.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "~"}, strings.ToLower(s)) {
		return s
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(quoted)
}

// Check refuses choices that the manifest would not take, before anything is written.
func (c Choices) Check() error {
	p, err := provider.For(c.Template)
	if err != nil {
		return err
	}
	names := make([]string, len(p.Credentials))
	for i, known := range p.Credentials {
		names[i] = known.Name
	}
	if c.Secret != "" && !slices.Contains(names, c.Secret) {
		return fmt.Errorf("%s takes its credential as %s, not as %s", c.Template, strings.Join(names, " or "), c.Secret)
	}
	if c.Repository.Upstream == "" {
		return nil
	}
	if err := manifest.CheckUpstream(c.Repository.Upstream); err != nil {
		return fmt.Errorf("the repository %s: %w", c.Repository.Upstream, err)
	}
	if !c.overHTTPS() && c.Repository.Key == "" {
		return errors.New("an ssh repository needs an identity file")
	}
	return nil
}

func (c Choices) overHTTPS() bool { return strings.HasPrefix(c.Repository.Upstream, "https://") }

// Name is what the bottle calls the repository.
func (r Repository) Name() string {
	base := strings.TrimSuffix(strings.TrimRight(r.Upstream, "/"), ".git")
	base = base[strings.LastIndexAny(base, "/:")+1:]
	base = strings.Trim(strings.Map(nameRune, strings.ToLower(base)), "-")
	if base == "" {
		return "work"
	}
	return base[:min(len(base), 24)]
}

func nameRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}
