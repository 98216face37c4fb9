package smolmachines

import "strings"

// Labels that every machine of ours carries. Nothing is done to a machine without labelOwner set
// to this $BOT_BOTTLE_HOME's own name, unless smolvm has lost them all (whose.go).
const (
	labelPrefix   = "bot-bottle."
	labelOwner    = labelPrefix + "owner"
	labelIdentity = labelPrefix + "identity"
	labelAgent    = labelPrefix + "agent"
	labelRemove   = labelPrefix + "remove"
	labelSockets  = labelPrefix + "sockets" // the directory that its mounted sockets are in, for life
	labelSchema   = labelPrefix + "schema"
)

const schema = "1"

const namePrefix = "bb-"

// machineName names a bottle's machine: lower case, digits and single hyphens, which every
// version takes. Two identities that come to one name do not run side by side: the label says
// whose it is.
func machineName(identity string) string {
	name := namePrefix + identity
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return name
}

func (p Plan) labels() map[string]string {
	remove := "false"
	if p.Remove {
		remove = "true"
	}
	return map[string]string{
		labelOwner: p.Owner, labelIdentity: p.Identity, labelAgent: p.Agent, labelRemove: remove, labelSockets: p.Dir, labelSchema: schema,
	}
}
