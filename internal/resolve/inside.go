package resolve

import (
	"maps"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// Provision collects the bottle's files and environment, in the order of DESIGN §6. roots is
// what the agent's image trusts, in PEM.
func (p Plan) Provision(ca pki.CA, roots []byte) (*provision.Archive, error) {
	a := &provision.Archive{}
	p.addProviderFiles(a)
	if err := provision.CA(a, ca.CertPEM, roots); err != nil {
		return nil, err
	}
	provision.Prompt(a, p.Prompt)
	if err := provision.Skills(a, p.Skills); err != nil {
		return nil, err
	}
	provision.Git(a, p.GitIdentity, p.Git)
	provision.Network(a)
	return a, nil
}

// addProviderFiles gives a bottle what its agent needs; a resumed one has what its agent
// goes on writing to.
func (p Plan) addProviderFiles(a *provision.Archive) {
	for _, file := range p.Provider.Files {
		if !p.Resume || p.Settle || !file.Keep {
			a.Add(file)
		}
	}
}

// Command is the agent's own, after the files of a repository that comes along were written:
// when a bottle is resumed, only if its last run had not come to it.
func (p Plan) Command() []string {
	if p.Source == nil && !p.Resume {
		return p.Provider.Argv
	}
	return append([]string{control.Binary, "guest", "checkout", "--"}, p.Provider.Argv...)
}

// Environment is what every process in the bottle sees: the manifest's own, a
// placeholder for each secret, what the provider asks for, and then what makes the
// bottle work, which nobody may override. Of two of a name the later is kept.
func (p Plan) Environment(provisioned []string) []string {
	env := make(map[string]string)
	maps.Copy(env, p.Env)
	for name, value := range p.Placeholders {
		if !slices.Contains(p.Withheld, name) {
			env[name] = value
		}
	}
	maps.Copy(env, p.Provider.Env)
	if p.Term != "" {
		env["TERM"] = p.Term
	}
	for _, variable := range provisioned {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
