package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Push is what may be pushed to a repository. Its zero value allows nothing.
type Push struct {
	Refs    []string              `json:"refs,omitempty"` // globs of full ref names
	Force   bool                  `json:"force,omitempty"`
	Delete  bool                  `json:"delete,omitempty"`
	Hold    bool                  `json:"hold,omitempty"`    // every push waits for the operator
	Protect []string              `json:"protect,omitempty"` // globs of branches that only their full name in Refs opens; nil: Protected()
	Paths   map[string]PathAction `json:"paths,omitempty"`   // by glob; before SensitivePaths()
	Others  bool                  `json:"others,omitempty"`  // commits may carry other names than the agent's
}

// PathAction is what becomes of a push that changes a path.
type PathAction string

// What may be done about a change of a path; the later ones win.
const (
	AllowPath  PathAction = "allow"
	HoldPath   PathAction = "hold"
	RefusePath PathAction = "refuse"
)

// Protected are the branches that people build and release from, by the names that they
// usually have. The upstream's default branch is always one of them.
func Protected() []string {
	return []string{"main", "master", "trunk", "develop", "staging", "production", "release", "release/**", "releases/**", "stable", "gh-pages"}
}

// SensitivePaths are held: what a server, a reviewer's tools or the next checkout acts on.
func SensitivePaths() []string {
	return []string{
		".github", ".gitlab", ".gitea", ".forgejo", // as a link to elsewhere
		".github/workflows/**", ".github/actions/**", ".github/dependabot.yml", ".gitea/workflows/**", ".forgejo/workflows/**",
		".gitlab-ci.yml", ".gitlab/ci/**", ".circleci/**", ".buildkite/**", ".travis.yml", ".drone.yml", ".woodpecker.yml", ".woodpecker/**",
		"azure-pipelines.yml", "bitbucket-pipelines.yml", "appveyor.yml", "jenkinsfile", "**/action.yml", "**/action.yaml",
		"**/codeowners", "**/.gitattributes", "**/.gitmodules", "**/.lfsconfig",
		".githooks/**", ".husky/**", "**/.pre-commit-config.yaml", "**/lefthook.yml", "hooks/**",
		"**/.envrc", "**/.mcp.json", "**/.claude/**", "**/.vscode/**", "**/.idea/**", "**/.devcontainer/**", "**/.devcontainer.json",
		"**/.gemini/**", "**/.codex/**", "**/.opencode/**", "**/opencode.json", "**/opencode.jsonc", "**/.cursor/**", "**/.zed/**", "**/*.code-workspace", "**/.bot-bottle/**",
	}
}

// Refs is what an upstream has.
type Refs struct {
	Default  string            `json:"default"`  // full name of the branch that HEAD is; "" if unknown
	IDs      map[string]string `json:"ids"`      // by full name
	Symbolic map[string]string `json:"symbolic"` // refs that stand for another one
}

// RefUpdate is one change that a push asks for. Old or New is "" where there was or will
// be none.
type RefUpdate struct {
	Ref    string `json:"ref"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
	Forced bool   `json:"forced,omitempty"` // New does not continue Old
}

// CheckUpdate says why an update is refused, for whoever pushes. It goes by what the
// update does to the upstream, whatever the client believes (ATTACKS F1, F2).
func (p Push) CheckUpdate(u RefUpdate, have Refs) error {
	if err := checkRefName(u.Ref, have); err != nil {
		return err
	}
	if !slices.ContainsFunc(p.Refs, func(glob string) bool { return matchRef(glob, u.Ref) }) {
		return fmt.Errorf("it is none of those that may be pushed (%s)", orNothing(p.Refs))
	}
	branch, isBranch := strings.CutPrefix(u.Ref, "refs/heads/")
	switch {
	case isBranch && p.protects(branch, u.Ref, have) && !slices.Contains(p.Refs, u.Ref):
		return errors.New("it is a protected branch: push to another one, and let a person merge it")
	case u.New == "" && !p.Delete:
		return errors.New("refs may not be deleted here")
	case u.New != "" && u.Old != "" && u.Forced && !p.Force:
		return errors.New("history may not be rewritten here: continue what is upstream (git pull --rebase), or push another branch")
	case !isBranch && u.New != "" && u.Old != "" && !p.Force:
		return errors.New("a tag that is upstream may not be moved")
	}
	return nil
}

// String is one line for people.
func (p Push) String() string {
	if len(p.Refs) == 0 {
		return "nothing may be pushed"
	}
	text := "push to " + strings.Join(p.Refs, " ")
	for _, more := range []struct {
		on   bool
		what string
	}{{p.Force, "also by force"}, {p.Delete, "also to delete"}, {p.Others, "in anybody's name"}, {p.Hold, "held for the operator"}} {
		if more.on {
			text += ", " + more.what
		}
	}
	return text
}

func orNothing(globs []string) string {
	if len(globs) == 0 {
		return "nothing may"
	}
	return strings.Join(globs, ", ")
}

// Protects reports whether a ref is a protected branch.
func (p Push) Protects(ref string, have Refs) bool {
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	return isBranch && p.protects(branch, ref, have)
}

func (p Push) protects(branch, ref string, have Refs) bool {
	globs := p.Protect
	if globs == nil {
		globs = Protected()
	}
	return strings.EqualFold(ref, have.Default) || slices.ContainsFunc(globs, func(glob string) bool {
		return matchPath(strings.Split(strings.ToLower(glob), "/"), strings.Split(strings.ToLower(branch), "/"), matchText)
	})
}

// checkRefName takes plain branches and tags. Names that some program reads as something
// else are refused, whatever the policy says: reviews (refs/for), pull requests, notes,
// replacements, what looks like an object id or an option, and what differs from a ref of
// the upstream in nothing but case.
func checkRefName(ref string, have Refs) error {
	short, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if !isBranch {
		var isTag bool
		if short, isTag = strings.CutPrefix(ref, "refs/tags/"); !isTag {
			return errors.New("only branches (refs/heads/) and tags (refs/tags/) can be pushed")
		}
	}
	if err := oddName(short); err != nil {
		return err
	}
	if to, symbolic := have.Symbolic[ref]; symbolic {
		return fmt.Errorf("upstream it stands for %s", to)
	}
	for other := range have.IDs {
		if other != ref && strings.EqualFold(other, ref) {
			return fmt.Errorf("upstream has %s, which differs in nothing but case", other)
		}
	}
	return nil
}

const maxRefName = 200

func oddName(short string) error {
	switch {
	case len(short) > maxRefName:
		return fmt.Errorf("its name is longer than %d characters", maxRefName)
	case strings.HasPrefix(short, "-") || strings.HasPrefix(short, "refs/") || strings.EqualFold(short, "HEAD") || objectID(short):
		return errors.New("its name could be taken for something else")
	}
	for i := range len(short) {
		if c := short[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"'$&();<>|!{}%:~^?*[\`+"`", c) >= 0 {
			return errors.New("its name holds more than letters, digits and . _ - + = @ # , /")
		}
	}
	for part := range strings.SplitSeq(short, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") || strings.Contains(part, "..") {
			return errors.New("its name has a part that git keeps for itself: an empty one, one with .. in it, one that begins or ends with . or ends with .lock")
		}
	}
	return nil
}

// CheckTogether says why updates do not go together: a ref that is named twice, or two that
// differ in nothing but case.
func CheckTogether(updates []RefUpdate) error {
	seen := make(map[string]string, len(updates))
	for _, u := range updates {
		folded := strings.ToLower(u.Ref)
		switch other, known := seen[folded]; {
		case known && other == u.Ref:
			return errors.New("it names a ref twice")
		case known:
			return errors.New("it names two refs that differ in nothing but case")
		}
		seen[folded] = u.Ref
	}
	return nil
}

func objectID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// matchRef: what ends in "/**" are the refs below, not one of that very name.
func matchRef(glob, ref string) bool {
	if strings.HasSuffix(glob, "/**") {
		glob += "/*"
	}
	return matchPath(strings.Split(glob, "/"), strings.Split(ref, "/"), matchText)
}

// PathAction says what becomes of a push that changes a file, and by which glob. Case does
// not count: on some file systems it does not. Where one may take the path for another one, the
// worse of both counts (ATTACKS F7).
func (p Push) PathAction(path string) (action PathAction, glob string) {
	path = strings.ToLower(path)
	action, glob = p.pathAction(path)
	if taken := takenFor(path); taken != path {
		if a, g := p.pathAction(taken); worse(a, action) {
			action, glob = a, g
		}
	}
	return action, glob
}

// worse reports whether one action wins over another; "" is none.
func worse(a, b PathAction) bool {
	rank := func(a PathAction) int { return slices.Index([]PathAction{"", AllowPath, HoldPath, RefusePath}, a) }
	return rank(a) > rank(b)
}

func (p Push) pathAction(path string) (action PathAction, glob string) {
	segments := strings.Split(path, "/")
	for g, a := range p.Paths {
		if worse(a, action) && matchPath(strings.Split(strings.ToLower(g), "/"), segments, matchText) {
			action, glob = a, g
		}
	}
	if action != "" {
		return action, glob
	}
	for _, g := range SensitivePaths() {
		if matchPath(strings.Split(g, "/"), segments, matchText) {
			return HoldPath, g
		}
	}
	if hasShortName(path) {
		return HoldPath, "**/*~1/**"
	}
	return AllowPath, ""
}
