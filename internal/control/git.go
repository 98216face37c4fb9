package control

import (
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Where the gate keeps things in the bundle. Both are of its own uid alone.
const (
	GitDir  = "/var/lib/bot-bottle/git" // mirrors and held pushes: a volume of the bottle's
	GitKeys = "/run/bot-bottle-git"     // credentials: in memory (tmpfs)
)

// GitRewrites is a file beside the sockets, in SocketDir, which the bottle can read and not
// write: it leads git in the bottle to the gate for the repositories that are granted now.
const GitRewrites = "gitconfig"

// RewritesPath is where the gate says what is to be in GitRewrites, where the bottle sees no file
// of the bundle's. With ?known=ETAG, it waits for another one.
const RewritesPath = ".bot-bottle/v1/gitconfig"

// AlivePath is what may be asked of any service, to see whether there is one.
const AlivePath = "/.bot-bottle/v1/alive"

// GateURL is where git finds the gate inside the bottle.
const GateURL = "http://127.0.0.1:9418/"

// GitConfig is all that git-gate needs. Secrets are in clear: see the package comment.
type GitConfig struct {
	Bottle       string                `json:"bottle"`
	Repositories []GitRepository       `json:"repositories"`
	Name         string                `json:"name,omitempty"`       // that the agent's commits carry; "" for any
	Email        string                `json:"email,omitempty"`      // the same
	Known        []Secret              `json:"known,omitempty"`      // what must not be pushed, with what stands for it
	Scan         map[string]dlp.Action `json:"scan,omitempty"`       // by rule of the scanner
	Supervised   bool                  `json:"supervised,omitempty"` // the agent may ask for more: refusals say how
	Roots        string                `json:"roots,omitempty"`      // PEM, what https upstreams are trusted by: the host's roots
	Rewrites     string                `json:"rewrites,omitempty"`   // what leads the bottle's git to granted repositories
}

// GitRepository is one that the bottle may use, and how the gate reaches it.
type GitRepository struct {
	Name       string      `json:"name"`
	Upstream   string      `json:"upstream"`
	Places     []string    `json:"places"` // paths under which the bottle finds it, without slashes around them
	Key        string      `json:"key,omitempty"`
	KnownHosts string      `json:"known_hosts,omitempty"` // lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)
	HostKey    string      `json:"host_key,omitempty"`    // or the fingerprint of the only key
	User       string      `json:"user,omitempty"`        // of an https upstream
	Password   string      `json:"password,omitempty"`
	CA         string      `json:"ca,omitempty"`       // PEM, trusted besides Roots
	SignKey    string      `json:"sign_key,omitempty"` // a private key for signatures on what is pushed
	Push       policy.Push `json:"push"`

	More []requests.PushGrant `json:"more,omitempty"` // what was granted besides
}
