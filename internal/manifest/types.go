// Package manifest reads agents and bottles: Markdown files with YAML front
// matter (DESIGN §8). It is pure but for reading the files it is pointed at; it
// resolves no secret and runs nothing. A manifest found inside a repository may
// add agents, never bottles, and can widen nothing.
package manifest

import (
	"time"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Manifest is everything under ~/.bot-bottle, with each bottle's extends already
// applied, and the agents of the repository at hand.
type Manifest struct {
	Agents   map[string]Agent  // those without a problem
	Bottles  map[string]Bottle // the same
	Problems Problems          // of every file; a start is stopped only by those of its own

	home string
	bad  map[string]Problems // file → its problems
	seen map[string]string   // "agent NAME" or "bottle NAME" → file, also of bad ones
}

// Agent is what runs in a bottle.
type Agent struct {
	Name        string
	File        string // absolute path it was read from
	Repository  bool   // came from a repository's .bot-bottle/agents
	Bottle      string
	Skills      []string
	GitIdentity GitIdentity
	Args        []string
	Prompt      string // the body, may be empty
}

// GitIdentity is the author and committer inside the bottle.
type GitIdentity struct{ Name, Email string }

// Bottle describes an isolated environment. Paths are absolute ("~" expanded,
// relative ones resolved against the file that names them), except Dockerfile,
// which is as written: it is relative to the user's working directory.
type Bottle struct {
	Name      string
	File      string
	Provider  Provider
	Runtime   Runtime
	Resources Resources
	Env       map[string]string
	Secrets   map[string]SecretSource
	Routes    []policy.Route        // as written; CA holds a *path* here until the plan reads it
	Deny      []policy.Deny         // what no route may allow
	Limits    *policy.Limits        // of all routes together; nil for none
	Scan      map[string]dlp.Action // by rule: what is done about a secret in what the bottle sends
	Proxy     *policy.Proxy         // through which egress reaches upstreams; CA holds a *path*; nil for none
	Git       []GitRepo
	Supervise bool
	Pipelock  *Pipelock // nil: the bottle has none
	Notes     string    // the body
}

// Provider chooses the agent CLI.
type Provider struct {
	Template   string // "claude" by default
	Dockerfile string // optional
	Image      string // optional: one that is run as it is, by its digest
	Archive    string // optional: the same as a file that docker save wrote, for virtual machines
	Offline    bool   // the Dockerfile's steps have no network
}

// Pipelock says which one looks at what the bottle sends. Without an image and a binary it is
// the image that the engine has of it.
type Pipelock struct {
	Image      string // by its digest
	Binary     string // absolute
	MinVersion string // "" for any
	Answers    bool   // it looks at what upstreams answer as well
}

// Runtime is the container runtime asked for.
type Runtime string

const (
	RuntimeAuto  Runtime = "auto"
	RuntimeRunc  Runtime = "runc"
	RuntimeRunsc Runtime = "runsc"
)

// Resources are limits. Zero fields mean the default of the backend.
type Resources struct {
	CPUs   float64
	Memory int64 // bytes
	PIDs   int64
}

// SecretSource says where a secret comes from; exactly one of the first five is set.
type SecretSource struct {
	Env     string
	Command []string
	File    string // absolute
	Login   string // of a command line on the host: "codex"
	Keeper  Keeper
	Entry   []string      // which of the keeper's: its name, or pairs of attribute and value for KeeperSecretService
	Account string        // with KeeperKeychain: whose entry it is; "" for any
	TTL     time.Duration // of what a command or a keeper gave; 0: it stays good
}

// Keeper is a program of the host that keeps secrets.
type Keeper string

const (
	KeeperGH            Keeper = "gh"             // GitHub's command-line program
	KeeperKeychain      Keeper = "keychain"       // of macOS
	KeeperOnePassword   Keeper = "onepassword"    // op, 1Password's command-line program
	KeeperPass          Keeper = "pass"           // the standard unix password manager
	KeeperSecretService Keeper = "secret_service" // of a Linux desktop: GNOME Keyring, KWallet, KeePassXC
)

// Keepers are all of them, in order of name.
func Keepers() []Keeper {
	return []Keeper{KeeperGH, KeeperKeychain, KeeperOnePassword, KeeperPass, KeeperSecretService}
}

// GitRepo is a declared repository. Its credential is IdentityFile for ssh, Secret for
// https.
type GitRepo struct {
	Name         string
	Upstream     string
	IdentityFile string // absolute
	KnownHosts   string // absolute
	HostKey      string // fingerprint of the server's key, "SHA256:…"
	User         string // for Secret
	Secret       string // name of the secret that is the password
	CA           string // absolute; PEM to trust as well
	SignKey      string // absolute; the key that signs what is pushed
	Push         policy.Push
}
