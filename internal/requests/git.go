package requests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Git is what is asked for of a repository: the repository itself, if the bottle does not
// have it, and what may be pushed to it.
type Git struct {
	Repository string      `json:"repository"` // its name; of a new one its place, host/path
	Upstream   string      `json:"upstream"`
	New        bool        `json:"new,omitempty"` // the manifest does not declare it
	Of         string      `json:"of,omitempty"`  // the request that gave the bottle the repository, and ends this
	Push       policy.Push `json:"push"`
	Credential string      `json:"credential,omitempty"` // of a new one: the declared repository whose credential reaches it, Supplied, or none
}

// Supplied stands for a credential that the operator brought along with the decision.
const Supplied = "(supplied)"

// Repository is one that a bottle may use.
type Repository struct {
	Name       string      `json:"name"`
	Upstream   string      `json:"upstream"`
	Push       policy.Push `json:"push"`
	Grant      string      `json:"grant,omitempty"`      // the request that gave it; "": it is declared
	Credential string      `json:"credential,omitempty"` // of a granted one: as in Git; of a declared one that has any: its own name
	More       []PushGrant `json:"more,omitempty"`       // what was granted besides Push
}

// PushGrant is a right to push, until its grant ends.
type PushGrant struct {
	Grant string      `json:"grant"`
	Push  policy.Push `json:"push"`
	Uses  int64       `json:"uses,omitempty"` // pushes; 0: any number
	Used  int64       `json:"used,omitempty"`
}

// Credential is what reaches a new repository, as the operator supplies it. It holds values
// in clear: the caller keeps it, the ledger does not. All empty, it is none, on purpose.
type Credential struct {
	Key        string `json:"key,omitempty"` // of ssh, with how the host is known: one of the next two
	KnownHosts string `json:"known_hosts,omitempty"`
	HostKey    string `json:"host_key,omitempty"`
	User       string `json:"user,omitempty"` // of https
	Password   string `json:"password,omitempty"`
	CA         string `json:"ca,omitempty"`
}

// maxRefs bounds how many refs a request names.
const maxRefs = 16

// takeGit takes what an agent may name of a repository; locate adds what there is.
func (r *Request) takeGit(a Ask) error {
	if a.Git == nil || a.Git.Repository == "" {
		return invalid("name the repository: its name, or its URL")
	}
	if len(a.Git.Push.Refs) > maxRefs {
		return invalid("name at most %d refs; a glob covers many: agent/**", maxRefs)
	}
	push := policy.Push{Force: a.Git.Push.Force, Delete: a.Git.Push.Delete}
	for _, ref := range a.Git.Push.Refs {
		full, err := fullRef(ref)
		if err != nil {
			return err
		}
		push.Refs = append(push.Refs, full)
	}
	slices.Sort(push.Refs)
	push.Refs = slices.Compact(push.Refs)
	if len(push.Refs) == 0 && (push.Force || push.Delete) {
		return invalid("say which refs it is that you want to force or delete")
	}
	r.Git = &Git{Repository: a.Git.Repository, Push: push}
	return nil
}

// fullRef is a ref by its full name. A branch may be named as people do.
func fullRef(ref string) (string, error) {
	full := ref
	if !strings.HasPrefix(ref, "refs/") {
		full = "refs/heads/" + ref
	}
	if len(full) > maxRefName || strings.ContainsFunc(full, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", invalid("a ref is at most %d plain characters", maxRefName)
	}
	if err := manifest.CheckRefs(full); err != nil {
		return "", invalid("%q %v", full, err)
	}
	kind, rest, _ := strings.Cut(strings.TrimPrefix(full, "refs/"), "/")
	if kind != "heads" && kind != "tags" {
		return "", invalid("only branches (refs/heads/) and tags (refs/tags/) can be pushed")
	}
	if first, _, _ := strings.Cut(rest, "/"); rest == "" || strings.HasPrefix(first, "*") {
		return "", invalid("%s is everybody's: name the branch, or a prefix of your own: agent/**", full)
	}
	return full, nil
}

const maxRefName = 200

// Repositories are all that the bottle may use: those that the manifest declares, and those
// that are granted, each with what may be pushed.
func (l *Ledger) Repositories() []Repository {
	all := make([]Repository, 0, len(l.Declared))
	for _, r := range l.Declared {
		r.More = nil
		all = append(all, r)
	}
	for _, r := range l.requests {
		if r.Kind != Repo || !r.Grant.live() {
			continue
		}
		i := slices.IndexFunc(all, func(have Repository) bool { return have.Name == r.Git.Repository })
		switch {
		case i < 0 && r.Git.New && r.Git.Of == "":
			all = append(all, Repository{Name: r.Git.Repository, Upstream: r.Git.Upstream, Grant: r.ID, Credential: r.Git.Credential})
			i = len(all) - 1
		case i < 0 || all[i].Grant != r.Git.Of:
			continue // what it was a part of has ended
		}
		if len(r.Git.Push.Refs) > 0 {
			all[i].More = append(all[i].More, PushGrant{Grant: r.ID, Push: r.Git.Push, Uses: r.Grant.Uses, Used: r.Grant.Used})
		}
	}
	return all
}

// locate finds the repository that is asked for, or makes a new one of its URL.
func (l *Ledger) locate(r *Request) error {
	g := r.Git
	address, isURL := manifest.ParseAddress(g.Repository)
	for _, have := range l.Repositories() {
		known, _ := manifest.ParseAddress(have.Upstream)
		if !strings.EqualFold(have.Name, g.Repository) && !(isURL && known.Place() == address.Place()) && known.Place() != strings.ToLower(g.Repository) {
			continue
		}
		p := have.Push
		p.Refs, p.Force, p.Delete = g.Push.Refs, g.Push.Force, g.Push.Delete
		*g = Git{Repository: have.Name, Upstream: have.Upstream, New: have.Grant != "", Of: have.Grant, Push: p, Credential: g.Credential}
		if g.New {
			g.Credential = have.Credential
		}
		return granted(have, g.Push)
	}
	if !isURL {
		return invalid("%q is none of the bottle's repositories: give its URL, as in https://github.com/acme/widget", clean(g.Repository))
	}
	return l.fromURL(g, address)
}

// granted refuses to ask for what the bottle has.
func granted(have Repository, want policy.Push) error {
	switch {
	case len(want.Refs) == 0:
		return &Refusal{"already_allowed", fmt.Sprintf("the bottle has it: use plain git with %s. To push, name the refs", have.Upstream)}
	case have.Push.Covers(want) || slices.ContainsFunc(have.More, func(g PushGrant) bool { return g.Uses == 0 && g.Push.Covers(want) }):
		return &Refusal{"already_allowed", fmt.Sprintf("these may be pushed to %s already: just push", have.Name)}
	}
	return nil
}

// fromURL is a repository that the bottle does not have.
func (l *Ledger) fromURL(g *Git, address manifest.Address) error {
	if address.Scheme != "ssh" && address.Scheme != "https" {
		return invalid("only ssh:// and https:// upstreams are reached")
	}
	if err := manifest.CheckUpstream(g.Repository); err != nil {
		return invalid("the URL cannot be used: %v", err)
	}
	route, err := policy.Route{Host: address.Host}.Normalize()
	if err != nil {
		return invalid("%s is no host's name", clean(address.Host))
	}
	if why := absurd(route.Host); why != nil {
		return why
	}
	if len(g.Repository) > maxRefName || strings.Trim(strings.ToLower(address.Path), "abcdefghijklmnopqrstuvwxyz0123456789._~/+-") != "" || slices.Contains(strings.Split(address.Path, "/"), "..") {
		return invalid("a repository's path is at most %d letters, digits and . _ ~ + - /", maxRefName)
	}
	*g = Git{Repository: address.Place(), Upstream: g.Repository, New: true, Push: g.Push, Credential: l.offered(address)}
	return nil
}

// offered is the declared repository whose credential would reach an address, "" if there
// is none: it must be the same server, spoken to in the same way.
func (l *Ledger) offered(address manifest.Address) string {
	for _, have := range l.Declared {
		known, ok := manifest.ParseAddress(have.Upstream)
		if ok && have.Credential != "" && known.Scheme == address.Scheme && known.Host == address.Host && known.Port == address.Port && (known.User == address.User || address.Scheme == "https") {
			return have.Name
		}
	}
	return ""
}

// mergeGit adds refs to a pending request for the same repository.
func (r *Request) mergeGit(with *Request) bool {
	a, b := r.Git, with.Git
	if r.Edited || r.For != with.For || a.Repository != b.Repository || a.Push.Force != b.Push.Force || a.Push.Delete != b.Push.Delete {
		return false
	}
	refs := slices.Concat(a.Push.Refs, b.Push.Refs)
	slices.Sort(refs)
	if refs = slices.Compact(refs); len(refs) > maxRefs {
		return false
	}
	merged := *a
	merged.Push.Refs = refs
	r.Git = &merged
	r.saying(with.Why)
	return true
}

// editGit puts the operator's choice of refs in the place of what was asked for.
func (r *Request) editGit(push *policy.Push) error {
	if push == nil {
		return fmt.Errorf("a request for a repository has what may be pushed to it")
	}
	asked := Request{}
	if err := asked.takeGit(Ask{Git: &Git{Repository: r.Git.Repository, Push: *push}}); err != nil {
		return err
	}
	if !r.Git.New && len(push.Refs) == 0 {
		return fmt.Errorf("without refs there is nothing to grant: reject it")
	}
	edited := *r.Git
	edited.Push.Refs, edited.Push.Force, edited.Push.Delete = asked.Git.Push.Refs, push.Force, push.Delete
	r.Git, r.Edited = &edited, true
	return nil
}

// checkGit refuses a decision that could not be carried out. It notes which credential it
// comes with.
func (l *Ledger) checkGit(r *Request, d Decision) (Git, error) {
	g := *r.Git
	if given := slices.IndexFunc(l.Repositories(), func(have Repository) bool { return have.Name == g.Repository && have.Grant != g.Of }); given >= 0 && g.New {
		return g, fmt.Errorf("%s: the bottle was given the repository meanwhile: reject this, and let the agent ask for what it lacks", r.ID)
	}
	address, _ := manifest.ParseAddress(g.Upstream)
	switch c := d.Credential; {
	case c != nil && (!g.New || g.Of != ""):
		return g, fmt.Errorf("%s: the bottle has the repository, with its credential", r.ID)
	case c != nil && address.Scheme == "ssh" && (c.Key == "" || c.KnownHosts == "" && c.HostKey == ""):
		return g, fmt.Errorf("%s: an ssh upstream needs a key, and its host's", r.ID)
	case c != nil && *c == (Credential{CA: c.CA}) && c.CA == "":
		g.Credential = ""
	case c != nil:
		g.Credential = Supplied
	case g.New && g.Credential == "" && address.Scheme == "ssh":
		return g, fmt.Errorf("%s: no credential of the bottle's reaches %s: supply a key", r.ID, address.Host)
	}
	if d.Scope.Uses > 0 && len(g.Push.Refs) == 0 {
		return g, fmt.Errorf("%s is a repository to read, which is granted for a time, not for a number of uses", r.ID)
	}
	return g, nil
}

// stale reports whether a grant of an earlier run is about what is not there any more.
func (l *Ledger) stale(r *Request) bool {
	if r.Kind != Repo {
		return false
	}
	declared := func(name string) bool {
		return slices.ContainsFunc(l.Declared, func(have Repository) bool { return have.Name == name && (r.Git.New || have.Upstream == r.Git.Upstream) })
	}
	switch {
	case !r.Git.New:
		return !declared(r.Git.Repository)
	case r.Git.Credential == Supplied:
		return true
	}
	return r.Git.Credential != "" && !declared(r.Git.Credential)
}

// orphaned reports whether a grant is of a repository whose own grant has ended.
func (l *Ledger) orphaned(r *Request) bool {
	if r.Kind != Repo || r.Git.Of == "" || !r.Grant.live() {
		return false
	}
	of, err := l.find(r.Git.Of)
	return err != nil || !of.Grant.live()
}
