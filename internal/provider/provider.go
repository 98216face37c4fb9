// Package provider knows the agent CLIs: what each needs in its environment, its
// files, its arguments and its routes. One file per provider; adding one is a
// file and a line in All.
//
// It is pure: it makes values, the backend carries them out. It never sees a
// real credential, only placeholders.
package provider

import "github.com/bot-bottle/bot-bottle/internal/policy"

// Paths and users that every agent image provides.
const (
	User      = "node" // uid and gid 1000
	UID       = 1000
	Home      = "/home/node"
	Workspace = "/workspace"
)

// SuperviseURL is where the agent asks its operator for more: an MCP server, streamable HTTP.
const SuperviseURL = "http://127.0.0.1:7717/mcp"

// Provider is one agent CLI.
type Provider struct {
	Template string // its name in the manifest
	Image    string // its name in package image

	// Credentials are the environment variables that may hold the CLI's own
	// credential, in order of preference. At least one must be among the bottle's
	// secrets for the default route to carry it.
	Credentials []Credential

	// Placeholder makes a worthless value shaped like the credential name: random,
	// unique, accepted by the CLI's own checks.
	Placeholder func(name string) string

	// Setup says what one bottle needs.
	Setup func(Input) Setup
}

// Credential is an environment variable that the CLI reads, and the route that
// its real value is for.
type Credential struct {
	Name  string
	Route policy.Route
}

// Input is what a provider is told about a bottle.
type Input struct {
	Placeholders  map[string]string // secret name → placeholder
	PromptFile    string            // path in the bottle, "" when the agent has no prompt
	RemoteControl bool
	Supervise     bool     // there is an MCP server at SuperviseURL
	Continue      bool     // the agent's last conversation, if there is one, goes on
	Interactive   bool     // a terminal is attached or may be attached later
	Args          []string // the manifest's args, then the operator's
}

// Setup is what a provider asks for.
type Setup struct {
	Argv  []string
	Env   map[string]string
	Files []File
}

// File is written into the bottle before its first process starts.
type File struct {
	Path string // absolute
	Mode int64  // permission bits
	UID  int    // owner and group
	Data []byte
}
