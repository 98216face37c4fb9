// Package control is what the host and a bottle's sidecar bundle say to each
// other: the configuration document on the bundle's standard input, the line
// with which the bundle reports that it is ready, and the control API.
//
// These documents carry secrets. They travel over pipes and streams only; they
// must never be written to a file, an environment, an argument list or a label.
package control

import (
	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Service is a sidecar daemon of a bottle.
type Service string

const (
	Egress    Service = "egress"
	GitGate   Service = "git-gate"
	Pipelock  Service = "pipelock"
	Supervise Service = "supervise"
)

// Where things are inside a bottle and its bundle. The guest and the bundle see
// one volume at SocketDir; the agent's side has it read-only.
const (
	Awaited       = "awaited"             // what a guest is told when an operator is on the way
	SessionSocket = "@bot-bottle-session" // abstract, in the bottle's own network namespace: no file that the agent could remove

	SocketDir = "/run/bot-bottle" // egress.sock, git-gate.sock, supervise.sock

	PipelockBeside    = "p"                     // of its sockets, in a bundle's directory on a host: a short name, since a path has 104 bytes
	PipelockConfigDir = "/run/pipelock-config"  // in memory, of pipelock's container
	PipelockVolume    = "/run/pipelock"         // in the bundle and in pipelock's container, nowhere else
	PipelockDir       = "/run/pipelock/sockets" // which egress alone may enter, and pipelock's own user
	BinaryDir         = "/opt/bot-bottle"       // the read-only volume that holds the binary
	Binary            = "/opt/bot-bottle/bot-bottle"
)

// EgressUID is whom egress runs as in the bundle, PipelockUID whom pipelock runs as in a
// container of its own.
const (
	EgressUID   = 10001
	PipelockUID = 65534
)

// GitGateUID is whom git-gate's files in the bundle belong to: the sidecar image knows it.
const GitGateUID = 10002

// End is the line on the bundle's standard input, after the configuration, that asks it
// to end.
const End = "end\n"

// ExitGuestGone is a service's exit status when the bottle that it serves has ended: the
// bundle ends, too.
const ExitGuestGone = 64

// BundleConfig is the one JSON document, on one line, that the bundle reads from its
// standard input first of all. The parent hands each service its own part and nothing
// else.
type BundleConfig struct {
	Bottle string        `json:"bottle"` // identity
	Log    Log           `json:"log"`
	Egress *EgressConfig `json:"egress,omitempty"`
	Git    *GitConfig    `json:"git,omitempty"` // nil: the bottle has no repositories

	Requests  []requests.Request `json:"requests,omitempty"`  // of a bottle that is resumed
	Supervise bool               `json:"supervise,omitempty"` // whether the agent may ask for more; the service needs no configuration
}

// Log is what the bottle's audit log holds already: a bottle that is resumed continues it.
type Log struct {
	After audit.Head `json:"after"`
	Cut   int64      `json:"cut,omitempty"` // bytes of a line without an end that a crash had left there
}

// EgressConfig is all that egress needs. Secrets are in clear: see the package
// comment.
type EgressConfig struct {
	Bottle     string                `json:"bottle"`
	Routes     []policy.Route        `json:"routes"`
	Deny       []policy.Deny         `json:"deny,omitempty"`
	Limits     *policy.Limits        `json:"limits,omitempty"`
	Proxy      *policy.Proxy         `json:"upstream_proxy,omitempty"` // CA holds PEM; nil for none
	Scan       map[string]dlp.Action `json:"scan,omitempty"`           // by rule of the scanner
	Supervised bool                  `json:"supervised,omitempty"`     // the agent may ask for more: refusals say how

	// Used is what was used of grants before egress started, by policy.GrantAccount. It counts
	// at the start only.
	Used map[string]policy.Usage `json:"used,omitempty"`

	Pipelock *PipelockConfig `json:"pipelock,omitempty"` // nil: there is no second scanner

	CACert  string   `json:"ca_cert"` // PEM, the bottle's own CA
	CAKey   string   `json:"ca_key"`  // PEM (PKCS #8, P-256)
	Roots   string   `json:"roots"`   // PEM, what egress trusts upstream: the host's roots
	Secrets []Secret `json:"secrets"`
}

// PipelockConfig is where egress finds pipelock, and what it insists on.
type PipelockConfig struct {
	Dir        string `json:"dir,omitempty"`         // of its sockets; "": the bundle runs it itself
	Binary     string `json:"binary,omitempty"`      // that the bundle runs then, on its host
	Hash       string `json:"hash,omitempty"`        // of Binary, in hex (SHA-256)
	MinVersion string `json:"min_version,omitempty"` // of its engine
	Answers    bool   `json:"answers,omitempty"`     // it is asked about what upstreams answer as well
	Program    string `json:"program"`               // what runs there, for the log: an image by its digest, or a file by its hash
}

// RunsItself reports whether the bundle runs pipelock, as a process beside its services.
func (c *PipelockConfig) RunsItself() bool { return c != nil && c.Binary != "" }

// Policy is the part that decides.
func (c EgressConfig) Policy() policy.Policy {
	return policy.Policy{Routes: c.Routes, Deny: c.Deny, Limits: c.Limits}
}

// WithPolicy is the same with another policy.
func (c EgressConfig) WithPolicy(p policy.Policy) EgressConfig {
	c.Routes, c.Deny, c.Limits = p.Routes, p.Deny, p.Limits
	return c
}

// Secret is a real credential and the placeholder that stands for it in the
// bottle.
type Secret struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Placeholder string `json:"placeholder"`
}

// Ready is the first line (JSON) that the bundle prints on its standard output,
// once every service listens. Error is set instead when it could not start.
// All later lines of standard output are the audit log, as audit.Chain makes it.
type Ready struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}
