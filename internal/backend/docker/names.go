package docker

import (
	"strconv"
)

// Labels that every resource of ours carries. Cleanup removes nothing without
// labelOwner set to this $BOT_BOTTLE_HOME's own name.
const (
	labelOwner    = "bot-bottle.owner"
	labelIdentity = "bot-bottle.identity"
	labelAgent    = "bot-bottle.agent"
	labelRole     = "bot-bottle.role"
	labelServices = "bot-bottle.services"
	labelRemove   = "bot-bottle.remove"
	labelTerminal = "bot-bottle.terminal"
)

// role says what a resource is for.
type role string

const (
	roleAgent     role = "agent"
	roleSidecar   role = "sidecar"
	roleHome      role = "home"
	roleWorkspace role = "workspace"
	roleSockets   role = "sockets"
	roleGit       role = "git" // mirrors, and pushes that wait for the operator
	roleBinary    role = "binary"
	roleHelper    role = "helper" // a container that is never started, to copy files through
	roleNetwork   role = "network"
	rolePipelock  role = "pipelock" // its container, and the volume of its sockets
)

// networkName is the one bridge that all bundles share: creating a network takes
// longer than starting a container. Its containers cannot reach each other.
const networkName = "bot-bottle"

// resource names a bottle's container or volume.
func resource(identity string, r role) string { return "bot-bottle-" + identity + "-" + string(r) }

// labels for a bottle's own resource. The com.docker.compose ones make `docker
// compose ls` and `docker ps` show a bottle in the usual way.
func (p Plan) labels(r role) map[string]string {
	return map[string]string{
		labelOwner:    p.Owner,
		labelIdentity: p.Identity,
		labelAgent:    p.Agent,
		labelRole:     string(r),
		labelServices: p.ServiceList(),
		labelRemove:   strconv.FormatBool(p.Remove),

		"com.docker.compose.project":          "bot-bottle-" + p.Identity,
		"com.docker.compose.service":          string(r),
		"com.docker.compose.oneoff":           "False",
		"com.docker.compose.container-number": "1",
	}
}
