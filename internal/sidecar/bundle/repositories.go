package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// declare takes over what the manifest says of repositories.
func (o *operator) declare(c *control.GitConfig) {
	o.keys = make(map[string]control.GitRepository)
	if c == nil {
		return
	}
	o.git, o.mayGate = *c, true
	for _, r := range c.Repositories {
		have := requests.Repository{Name: r.Name, Upstream: r.Upstream, Push: r.Push}
		if r.Key != "" || r.Password != "" {
			have.Credential = r.Name
		}
		o.ledger.Declared = append(o.ledger.Declared, have)
	}
}

// remember keeps the credential of a granted repository, until its grant ends.
func (o *operator) remember(id string, c *requests.Credential) {
	if c != nil {
		o.keys[id] = control.GitRepository{Key: c.Key, KnownHosts: c.KnownHosts, HostKey: c.HostKey, User: c.User, Password: c.Password, CA: c.CA}
	}
}

// gateDocument is what the gate is to go by: what is declared, and what is granted.
func (o *operator) gateDocument() ([]byte, error) {
	c := o.git
	c.Repositories = nil
	for _, r := range o.ledger.Repositories() {
		to := o.credential(r)
		to.Name, to.Upstream, to.Push, to.More = r.Name, r.Upstream, r.Push, r.More
		if r.Grant != "" {
			to.Places = []string{r.Name}
		}
		c.Repositories = append(c.Repositories, to)
	}
	c.Rewrites = o.rewritesNow()
	return json.Marshal(c)
}

// credential is what reaches a repository: of one that is granted, what the operator
// supplied, or that of a declared one, as was shown.
func (o *operator) credential(r requests.Repository) control.GitRepository {
	name := r.Name
	if r.Grant != "" {
		if own, ok := o.keys[r.Grant]; ok {
			return own
		}
		name = r.Credential
	}
	if i := slices.IndexFunc(o.git.Repositories, func(have control.GitRepository) bool { return have.Name == name }); i >= 0 {
		return o.git.Repositories[i]
	}
	return control.GitRepository{}
}

// enforceGate puts what is granted of repositories in force, or reports why it is not.
func (o *operator) enforceGate() error {
	data, err := o.gateDocument()
	if err != nil {
		return err
	}
	if o.gate == nil {
		err = o.firstGate(data)
	} else {
		err = o.gate.change(data)
	}
	if err != nil {
		return err
	}
	o.rewrite()
	return nil
}

// firstGate starts the gate of a bottle that has had no repository until now.
func (o *operator) firstGate(config []byte) error {
	if o.startGate == nil {
		return errors.New("this bottle can have no git-gate")
	}
	if err := o.startGate(config); err != nil {
		o.gate = nil
		return fmt.Errorf("cannot start the git-gate: %w", err)
	}
	return nil
}

// closeGate takes what has ended out of force, whatever state the gate is in.
func (o *operator) closeGate() {
	if data, err := o.gateDocument(); err == nil && o.gate != nil {
		o.gate.must(data)
	}
	o.rewrite()
}

// countForGate has a gate that is started again know how often grants were used.
func (o *operator) countForGate() {
	limited := func(r requests.Repository) bool {
		return slices.ContainsFunc(r.More, func(g requests.PushGrant) bool { return g.Uses > 0 })
	}
	if data, err := o.gateDocument(); err == nil && o.gate != nil && slices.ContainsFunc(o.ledger.Repositories(), limited) {
		o.gate.must(data)
	}
}

// lookFor has the gate look for credentials in what is pushed, before egress sends the first one. It
// goes on to look for those that were before: they may be good elsewhere.
func (o *operator) lookFor(all ...control.Secret) {
	before := len(o.git.Known)
	for _, s := range all {
		if !slices.ContainsFunc(o.git.Known, func(known control.Secret) bool { return known.Value == s.Value }) {
			o.git.Known = append(slices.Clip(o.git.Known), s)
		}
	}
	if len(o.git.Known) == before || o.gate == nil {
		return
	}
	if data, err := o.gateDocument(); err == nil {
		o.gate.must(data)
	}
}

// rewrite writes what leads the bottle's git to granted repositories under their usual
// URLs. Should it fail, they are found under the gate's own, which the agent is told.
func (o *operator) rewrite() {
	if o.mayGate {
		_ = replaceFile(o.rewrites, []byte(o.rewritesNow()))
	}
}

func (o *operator) rewritesNow() string {
	var b strings.Builder
	for _, r := range o.ledger.Repositories() {
		if address, ok := manifest.ParseAddress(r.Upstream); ok && r.Grant != "" {
			b.WriteString(address.Rewrite(control.GateURL))
		}
	}
	return b.String()
}

// replaceFile writes a file that all may read, in one step.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
