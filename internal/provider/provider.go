// Package provider knows the agent CLIs: what each needs in its environment, its
// files, its arguments and its routes. One file per provider; adding one is a
// file and a line in all.
//
// It is pure: it makes values, the backend carries them out. It never sees a
// real credential, only placeholders.
package provider

import (
	"bytes"
	"encoding/json"

	"github.com/bot-bottle/bot-bottle/internal/login"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Paths and users that every agent image provides.
const (
	User      = "node" // uid and gid 1000
	UID       = 1000
	Home      = "/home/node"
	Workspace = "/workspace"
)

// SuperviseURL is where the agent asks its operator for more: an MCP server, streamable HTTP.
const SuperviseURL = "http://127.0.0.1:7717/mcp"

// PromptFile is where a bottle's prompt is: readable, and not in the agent's home, so that
// it is not the agent's to change.
const PromptFile = "/etc/bot-bottle/prompt.md"

// Provider is one agent CLI. Every one passes the tests in conformance_test.go.
type Provider struct {
	Template string // its name in the manifest
	Image    string // its name in package image
	Program  string // its command; "" if the manifest's args say

	// Credentials are the environment variables that may hold the CLI's own
	// credential, in order of preference. At least one must be among the bottle's
	// secrets for the default route to carry it. None: it needs none.
	Credentials []Credential

	// Login is the one of Credentials that is the access token of a login with an account;
	// "" for none.
	Login string

	// Skills is the directory in which it looks for skills, one directory with a SKILL.md
	// each; "" if it knows none, and the prompt tells of them.
	Skills string

	// Busy is what its terminal shows near its end while it works, and only then, whether it
	// prints or not. "" if it does not say.
	Busy string

	// Remote says that it can be controlled from its vendor's app.
	Remote bool

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
	Credential    string            // the one of Credentials that was chosen, "" for none
	Placeholders  map[string]string // secret name → placeholder
	Account       login.Account     // of a credential that is a login; its zero value for none
	Prompt        string            // "" when the agent has none; it is also in PromptFile
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
	Keep bool // once written it is the agent's own: a resumed bottle keeps what it has
}

// SkillDir is where a skill is copied to.
func (p Provider) SkillDir(name string) string {
	if p.Skills == "" {
		return Home + "/skills/" + name
	}
	return p.Skills + "/" + name
}

// SkillsNote is what an agent is told whose command line knows no skills, "" if there are
// none to tell of.
func (p Provider) SkillsNote(names []string) string {
	if p.Skills != "" || len(names) == 0 {
		return ""
	}
	note := "You have skills, each described in a file. Before a task that one of them is about, read its file and follow it:"
	for _, name := range names {
		note += "\n- " + p.SkillDir(name) + "/SKILL.md"
	}
	return note
}

// rooted is a file that only root may change.
func rooted(path string, data []byte) File { return File{Path: path, Mode: 0o644, Data: data} }

// owned is a file that the CLI goes on writing to.
func owned(path string, data []byte) File {
	return File{Path: path, Mode: 0o600, UID: UID, Data: data, Keep: true}
}

// document is a value as JSON. It is made of strings, numbers, maps and slices.
func document(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return out.Bytes()
}
