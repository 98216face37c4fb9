package bottle

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Spec is the operator's intent: absolute paths, no defaults left to guess but
// those that only a backend knows. Use validates it before any driver sees it.
type Spec struct {
	Manifest *manifest.Manifest
	Agent    string
	Identity string // empty: Use mints one
	Resume   bool   // the bottle of Identity again: its home, its workspace, its conversation
	Cwd      string // the operator's working directory

	CopyCwd       bool // bring the repository at Cwd into the workspace
	Dirty         bool // with the changes of tracked files that are not staged
	RemoteControl bool
	Args          []string // for the agent, after the manifest's own
	TTY           bool     // the agent gets a terminal
	Term          string   // $TERM of that terminal
	Size          Size     // of that terminal; whoever attaches changes it
	Detached      bool     // nobody is about to attach to it
	Stdin         bool     // standard input will be sent to the agent
	Remove        bool     // remove home and workspace too when the agent ends
	Instead       []string // what runs in the place of the agent's program, where something else is wanted of the bottle

	Secrets SecretResolver

	// Filled in by Use.
	Resolved Resolved
}

// Resolved is what validation looked up, so that a driver does not do it again.
type Resolved struct {
	Agent   manifest.Agent
	Bottle  manifest.Bottle
	Skills  []Skill
	Secrets map[string]secret.Value

	Repositories []Repository
}

// Skill is a directory under ~/.claude/skills.
type Skill struct {
	Name, Dir string
	Target    string // where it goes in the bottle; a driver's plan says
}

// SecretResolver fetches a secret from where the manifest says it is.
type SecretResolver func(context.Context, manifest.SecretSource) (secret.Value, error)
